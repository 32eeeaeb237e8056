//! Every connection, until it is known what it wants.
//!
//! Before that it costs a socket, a task and no buffer: its first bytes are looked at where the
//! kernel keeps them. It has one deadline for all of them, so that a sender gains nothing by being
//! slow, and it is closed without a byte where it is not let in.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use nix::sys::socket::{MsgFlags, recv};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Shared, control,
    metrics::{Counted, Kind, Refusal},
    session::Idle,
    tunnel,
};
use crate::{
    net,
    proto::{
        frame,
        hello::{self, Hello, Peek, Refused},
        leg::{FIRST_BYTE, PREAMBLE_LEN, Preamble},
    },
};

/// How long to wait when the kernel has no descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Whom a listener is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Door {
    /// Bridges: their control connections and legs.
    Bridges,
    /// Clients of this process.
    Clients,
    /// Whoever may come in.
    Everybody,
}

/// Takes connections for as long as it is polled.
pub(super) async fn serve(listener: &TcpListener, door: Door, shared: &Arc<Shared>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_exhausted) => {
                sleep(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        begin(stream, peer, door, shared);
    }
}

/// Takes those who have connected already, and waits for nobody.
pub(super) async fn the_rest(listener: &TcpListener, door: Door, shared: &Arc<Shared>) {
    poll_fn(|context| {
        while let Poll::Ready(Ok((stream, peer))) = listener.poll_accept(context) {
            begin(stream, peer, door, shared);
        }
        Poll::Ready(())
    })
    .await;
}

/// One connection has come.
fn begin(stream: TcpStream, peer: SocketAddr, door: Door, shared: &Arc<Shared>) {
    let peer = net::canonical(peer);
    // Those of this process are counted by whoever sent them.
    let source = match door {
        Door::Clients => None,
        Door::Bridges | Door::Everybody => match shared.sources.enter(peer.ip()) {
            None => return shared.metrics.refuse(Refusal::BeaconLimit),
            source => source,
        },
    };
    let seat = shared.pending.enter();
    tokio::spawn(serve_one(stream, (peer, door), Arc::clone(shared), (seat, source)));
}

async fn serve_one(
    stream: TcpStream,
    (peer, door): (SocketAddr, Door),
    shared: Arc<Shared>,
    (seat, source): (Seat, Option<Place>),
) {
    let wait = Duration::from_secs(shared.config.limits.hello_seconds.into());
    let deadline = Instant::now() + wait;
    let purpose = tokio::select! {
        biased;
        purpose = timeout_at(deadline, purpose(&stream)) => purpose,
        () = seat.evicted() => return shared.metrics.refuse(Refusal::Evicted),
    };
    drop(seat);
    match purpose {
        Ok(Ok(Purpose::Leg)) if door == Door::Clients => shared.metrics.refuse(Refusal::Door),
        Ok(Ok(Purpose::Leg)) => leg(stream, &shared, deadline).await,
        Ok(Ok(Purpose::Tls(hello))) => {
            let of_a_bridge = hello.protocols.iter().any(|name| name == frame::PROTOCOL);
            if door == (if of_a_bridge { Door::Clients } else { Door::Bridges }) {
                return shared.metrics.refuse(Refusal::Door);
            }
            if of_a_bridge {
                // A handshake is work: its place is given up when the key is proved.
                let Ok(work) = Arc::clone(&shared.handshakes).try_acquire_owned() else {
                    return shared.metrics.refuse(Refusal::BeaconLimit);
                };
                // Boxed, or each tunnel's task would be as big as a bridge's.
                Box::pin(control::serve(stream, peer, &shared, (work, source))).await;
            } else {
                drop(source);
                tunnel::serve(stream, peer, hello, &shared).await;
            }
        }
        Ok(Ok(Purpose::None(reason))) => shared.metrics.refuse(reason),
        // It went away by itself.
        Ok(Err(_gone)) => {}
        Err(_late) => shared.metrics.refuse(Refusal::Slow),
    }
}

enum Purpose {
    Leg,
    None(Refusal),
    Tls(Hello),
}

/// Looks at the first bytes without taking them.
async fn purpose(stream: &TcpStream) -> io::Result<Purpose> {
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        let judged = stream.try_io(Interest::READABLE, || judge(stream, ready.is_read_closed()));
        match judged {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            decided => return decided,
        }
    }
}

/// "Would block" has the runtime wait for the kernel's word that more has come; the bytes that are
/// there do not wake it.
fn judge(stream: &TcpStream, ended: bool) -> io::Result<Purpose> {
    let mut bytes = [0; hello::MAX_LEN];
    let len = recv(stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_PEEK)?;
    let bytes = bytes.get(..len).unwrap_or_default();
    match bytes.first() {
        None => return Err(io::ErrorKind::UnexpectedEof.into()),
        Some(&FIRST_BYTE) => return Ok(Purpose::Leg),
        Some(_) => {}
    }
    match hello::peek(bytes) {
        Peek::Hello(hello) => Ok(Purpose::Tls(hello)),
        // SECURITY: an end is told again and again, so one who sends half a hello and ends would
        // keep a core busy until the deadline.
        Peek::More { .. } if ended => Err(io::ErrorKind::UnexpectedEof.into()),
        Peek::More { .. } => Err(io::ErrorKind::WouldBlock.into()),
        Peek::Refused(Refused::NotTls) => Ok(Purpose::None(Refusal::Garbage)),
        Peek::Refused(_) => Ok(Purpose::None(Refusal::Hello)),
    }
}

async fn leg(stream: TcpStream, shared: &Shared, deadline: Instant) {
    let preamble = match timeout_at(deadline, preamble(&stream)).await {
        Ok(Ok(preamble)) => preamble,
        Ok(Err(_gone)) => None,
        Err(_late) => return shared.metrics.refuse(Refusal::Slow),
    };
    let taken = preamble.is_some_and(|preamble| {
        let idle = Idle { stream, counted: Counted::new(&shared.metrics.legs) };
        let session = shared.registry.session(preamble.session);
        session.is_some_and(|session| session.offer(shared.digest, &preamble, idle))
    });
    if taken {
        shared.metrics.accept(Kind::Leg);
    } else {
        shared.metrics.refuse(Refusal::Leg);
    }
}

/// What a leg shows; `None` where it is none, or says more than that.
async fn preamble(stream: &TcpStream) -> io::Result<Option<Preamble>> {
    // One more than it has, so that a whole one is known to be all that is there.
    let mut bytes = [0; PREAMBLE_LEN + 1];
    let mut len = 0;
    while len < PREAMBLE_LEN {
        stream.readable().await?;
        match net::read(stream, bytes.get_mut(len..).unwrap_or_default()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    #[cfg(test)]
    assert_ne!(bytes[..PREAMBLE_LEN], tests::FAULT, "a defect, as far as the test goes");
    let whole = bytes.first_chunk().filter(|_| len == PREAMBLE_LEN);
    Ok(whole.and_then(Preamble::decode))
}

/// The connections that have not said what they want, in the order in which they came.
///
/// SECURITY: where there are too many, the oldest goes: whoever means to be served says what it
/// wants within a round trip, so those that fill the places drive out one another.
#[derive(Debug)]
pub(super) struct Pending {
    max: usize,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    seats: BTreeMap<u64, Arc<Notify>>,
}

/// A connection's place among all that have not said what they want.
#[derive(Debug)]
struct Seat {
    number: u64,
    evicted: Arc<Notify>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Pending {
    pub(super) fn new(max: usize) -> Self {
        Self { max, waiting: Arc::default() }
    }

    fn enter(&self) -> Seat {
        let evicted = Arc::new(Notify::new());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.seats.len() >= self.max
            && let Some((_, oldest)) = waiting.seats.pop_first()
        {
            oldest.notify_one();
        }
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        waiting.seats.insert(number, Arc::clone(&evicted));
        Seat { number, evicted, waiting: Arc::clone(&self.waiting) }
    }
}

impl Seat {
    async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.seats.remove(&self.number);
    }
}

/// How many connections of each source have not said what they want.
#[derive(Debug)]
pub(super) struct Sources {
    max: u32,
    pending: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
}

/// A connection's place among those of its source, for as long as this is kept.
#[derive(Debug)]
pub(super) struct Place {
    source: IpAddr,
    pending: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
}

impl Sources {
    pub(super) fn new(max: u32) -> Self {
        Self { max, pending: Arc::default() }
    }

    /// `None` where the source has as many as it may.
    fn enter(&self, address: IpAddr) -> Option<Place> {
        let source = source_of(address);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let open = pending.entry(source).or_default();
        if *open >= self.max {
            return None;
        }
        *open += 1;
        Some(Place { source, pending: Arc::clone(&self.pending) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = pending.get_mut(&self.source) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                pending.remove(&self.source);
            }
        }
    }
}

/// Who has an IPv6 address has the 2^64 beside it.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{
        beacon::{Beacon, config::Config},
        panics,
    };

    /// A preamble that has the beacon panic.
    pub(super) const FAULT: [u8; PREAMBLE_LEN] = {
        let mut bytes = [0xee; PREAMBLE_LEN];
        bytes[0] = FIRST_BYTE;
        bytes
    };

    #[tokio::test]
    async fn a_panic_in_one_connection_ends_that_one_alone_and_is_counted() {
        panics::count();
        let config = Config::development("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let beacon = Beacon::bind(config).unwrap();
        let (address, shared) = (beacon.address().unwrap(), Arc::clone(&beacon.shared));
        let serving = tokio::spawn(beacon.serve(std::future::pending()));
        let connect = || TcpStream::connect(address);
        let (mut before, mut faulty) = (connect().await.unwrap(), connect().await.unwrap());
        before.write_all(&[FIRST_BYTE]).await.unwrap();
        let seen = panics::seen();
        faulty.write_all(&FAULT).await.unwrap();
        let mut byte = [0];
        assert!(matches!(faulty.read(&mut byte).await, Ok(0) | Err(_)));
        assert_eq!(panics::seen(), seen + 1);
        assert!(shared.metrics.text().contains("cloudtaser_beacon_panics_total"));
        // Both are legs of nobody, and refused as such.
        before.write_all(&[0; PREAMBLE_LEN - 1]).await.unwrap();
        let mut after = connect().await.unwrap();
        after.write_all(&[FIRST_BYTE; PREAMBLE_LEN]).await.unwrap();
        for stream in [&mut before, &mut after] {
            assert!(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)));
        }
        assert!(shared.metrics.text().contains("refused_total{reason=\"Leg\"} 2"));
        assert!(shared.sources.pending.lock().unwrap().is_empty(), "a place is lost");
        serving.abort();
    }

    #[tokio::test]
    async fn where_too_many_wait_the_oldest_goes_and_nothing_is_kept_of_it() {
        let pending = Pending::new(2);
        let (first, second) = (pending.enter(), pending.enter());
        let third = pending.enter();
        first.evicted().await;
        drop(first);
        assert_eq!(pending.waiting.lock().unwrap().seats.len(), 2);
        drop((second, third));
        assert!(pending.waiting.lock().unwrap().seats.is_empty());
    }

    #[test]
    fn a_source_is_an_address_or_the_network_that_one_customer_has() {
        let sources = Sources::new(2);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = sources.enter(address("2001:db8::1"));
        let second = sources.enter(address("2001:db8::ffff:2"));
        assert!(first.is_some() && second.is_some());
        assert!(sources.enter(address("2001:db8::3")).is_none());
        assert!(sources.enter(address("2001:db8:0:1::3")).is_some());
        assert!(sources.enter(address("192.0.2.1")).is_some());
        drop(first);
        assert!(sources.enter(address("2001:db8::3")).is_some());
        drop(second);
        assert!(sources.pending.lock().unwrap().is_empty(), "nothing is kept of who is gone");
    }
}
