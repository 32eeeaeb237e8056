//! Every connection, until it is known what it wants.
//!
//! Before that it costs a socket, a task and no buffer: its first bytes are looked at where the
//! kernel keeps them. It has one deadline for all of them, so that a sender gains nothing by being
//! slow, and it is closed without a byte where it is not let in.

use std::{
    future::poll_fn, io, net::SocketAddr, os::fd::AsRawFd as _, sync::Arc, task::Poll,
    time::Duration,
};

use nix::sys::socket::{MsgFlags, recv};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout_at},
};

use super::{
    Shared, control,
    handover::Undecided,
    metrics::{Kind, Refusal},
    pending::{Place, Seat},
    session::Idle,
    tunnel,
};
use crate::{
    counted::Counted,
    net,
    proto::{
        frame,
        hello::{self, Hello, Peek, Refused},
        leg::{FIRST_BYTE, PREAMBLE_LEN, Preamble},
    },
};

/// How long to wait when the kernel has no descriptor left, and nobody can be sent away.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
/// How many are sent away then, and how long they have to be gone.
const EVICTED_AT_ONCE: usize = 16;
const EVICTED_PAUSE: Duration = Duration::from_millis(1);

/// Whom a listener is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Door {
    /// Bridges: their control connections and legs.
    Bridges,
    /// Clients.
    Clients,
    /// Whoever may come in.
    Everybody,
    /// Clients of this process.
    Inside,
}

impl Door {
    const fn is_for_bridges(self) -> bool {
        matches!(self, Self::Bridges | Self::Everybody)
    }

    const fn is_for_clients(self) -> bool {
        !matches!(self, Self::Bridges)
    }
}

/// Takes connections for as long as it is polled.
pub(super) async fn serve(listener: &TcpListener, door: Door, shared: &Arc<Shared>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_exhausted) => {
                // SECURITY: or as many who say nothing as there are descriptors would keep all
                // others out, whatever the limit of those that wait.
                let pending = shared.pending.evict(EVICTED_AT_ONCE);
                let proving = shared.proving.evict(EVICTED_AT_ONCE.saturating_sub(pending));
                let evicted = pending.saturating_add(proving);
                sleep(if evicted > 0 { EVICTED_PAUSE } else { EXHAUSTED_PAUSE }).await;
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
pub(super) fn begin(stream: TcpStream, peer: SocketAddr, door: Door, shared: &Arc<Shared>) {
    let peer = net::canonical(peer);
    // Those of this process are counted by whoever sent them.
    let source = match door {
        Door::Inside => None,
        Door::Bridges | Door::Clients | Door::Everybody => match shared.sources.enter(peer.ip()) {
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
    let mut undecided = shared.succession.enter();
    let purpose = tokio::select! {
        biased;
        purpose = timeout_at(deadline, purpose(&stream)) => purpose,
        () = seat.evicted() => return shared.metrics.refuse(Refusal::Evicted),
        heir = undecided.heir() => return heir.gets(stream).await,
    };
    match purpose {
        Ok(Ok(Purpose::Leg)) if !door.is_for_bridges() => shared.metrics.refuse(Refusal::Door),
        Ok(Ok(Purpose::Leg)) => {
            drop(undecided);
            // SECURITY: it has said one byte; whoever says no more is as those who say nothing.
            tokio::select! {
                () = leg(stream, &shared, deadline) => {}
                () = seat.evicted() => shared.metrics.refuse(Refusal::Evicted),
            }
        }
        Ok(Ok(Purpose::Tls(hello))) => {
            let of_a_bridge = hello.protocols.iter().any(|name| name == frame::PROTOCOL);
            if !(if of_a_bridge { door.is_for_bridges() } else { door.is_for_clients() }) {
                return shared.metrics.refuse(Refusal::Door);
            }
            if of_a_bridge {
                drop((seat, undecided));
                if !shared.handshakes.may_begin(peer.ip(), Instant::now().into_std()) {
                    return shared.metrics.refuse(Refusal::BeaconLimit);
                }
                // A handshake is memory: its place is given up when the key is proved.
                let places = (shared.proving.enter(), source);
                // Boxed, or each tunnel's task would be as big as a bridge's.
                Box::pin(control::serve(stream, peer, &shared, places)).await;
            } else {
                let places = Places { seat, source, undecided };
                tunnel::serve((stream, peer), hello, places, &shared).await;
            }
        }
        Ok(Ok(Purpose::None(reason))) => shared.metrics.refuse(reason),
        // It went away by itself.
        Ok(Err(_gone)) => {}
        Err(_late) => shared.metrics.refuse(Refusal::Slow),
    }
}

/// What a connection has until it is known whether it becomes a tunnel.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) seat: Seat,
    pub(super) source: Option<Place>,
    pub(super) undecided: Undecided,
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
        assert!(shared.sources.is_empty(), "a place is lost");
        serving.abort();
    }
}
