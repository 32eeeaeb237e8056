//! A beacon that is not honest: it cuts, delays, mixes up, repeats and asks for too much. The worst
//! that it reaches is that there is no session.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloudtaser_relay::proto::{
    frame::{self, BeaconToBridge, BridgeToBeacon, SessionId},
    hello::{self, Peek},
    leg::{FIRST_BYTE, Go, PREAMBLE_LEN},
    ticket::ClientTag,
};
use cloudtaser_tls::raw::{self, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::support::{Keys, PATIENCE, Place, Served, echoes};

/// What it does is what a test does with the sockets that it has.
struct Liar {
    keys: Keys,
    place: Place,
    clients: mpsc::UnboundedReceiver<TcpStream>,
    legs: mpsc::UnboundedReceiver<TcpStream>,
    say: mpsc::UnboundedSender<Vec<u8>>,
    /// How often somebody connected to OpenBao.
    reached: Arc<AtomicUsize>,
    _bridge: Served,
}

impl Liar {
    async fn new() -> Self {
        let keys = Keys::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let place = Place { key: KeyPair::generate().unwrap().0, address, admin: address };
        let server = raw::server_config(&place.key, raw::Peers::AnyKey, &[frame::PROTOCOL]);
        let acceptor = TlsAcceptor::from(Arc::new(server.unwrap()));
        let ((client, clients), (leg, legs)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let (say, said) = mpsc::unbounded_channel();
        let said = Arc::new(Mutex::new(said));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, leg) = (client.clone(), leg.clone());
                let (acceptor, said) = (acceptor.clone(), Arc::clone(&said));
                tokio::spawn(async move { sort(stream, client, leg, acceptor, said).await });
            }
        });
        let (openbao, reached) = counting_echo().await;
        let _bridge = keys.bridge(&[&place], openbao);
        Self { keys, place, clients, legs, say, reached, _bridge }
    }

    /// A client and a leg on which the bridge waits for it.
    async fn pair(&mut self) -> (TcpStream, TcpStream) {
        let client = timeout(PATIENCE, self.clients.recv()).await.unwrap().unwrap();
        (client, self.leg().await)
    }

    async fn leg(&mut self) -> TcpStream {
        let mut leg = timeout(PATIENCE, self.legs.recv()).await.unwrap().unwrap();
        let client = "192.0.2.1:1".parse().unwrap();
        let go = Go { tunnel: [1; 16], tag: ClientTag([2; 8]), client };
        leg.write_all(&go.encode()).await.unwrap();
        leg
    }
}

async fn sort(
    stream: TcpStream,
    client: mpsc::UnboundedSender<TcpStream>,
    leg: mpsc::UnboundedSender<TcpStream>,
    acceptor: TlsAcceptor,
    said: Arc<Mutex<mpsc::UnboundedReceiver<Vec<u8>>>>,
) {
    stream.set_nodelay(true).unwrap();
    let mut bytes = [0; hello::MAX_LEN];
    let (mut stream, protocols) = loop {
        let len = stream.peek(&mut bytes).await.unwrap_or_default();
        if len == 0 || bytes[0] == FIRST_BYTE {
            break (stream, None);
        }
        match hello::peek(&bytes[..len]) {
            Peek::Hello(hello) => break (stream, Some(hello.protocols)),
            _more => sleep(Duration::from_millis(1)).await,
        }
    };
    let Some(protocols) = protocols else {
        let mut preamble = [0; PREAMBLE_LEN];
        if stream.read_exact(&mut preamble).await.is_ok() {
            drop(leg.send(stream));
        }
        return;
    };
    if protocols.iter().any(|name| name == frame::PROTOCOL) {
        control(acceptor.accept(stream).await.unwrap(), said).await;
    } else {
        drop(client.send(stream));
    }
}

/// Registers whoever comes, and then says what the test wants said.
async fn control(
    mut stream: tokio_rustls::server::TlsStream<TcpStream>,
    said: Arc<Mutex<mpsc::UnboundedReceiver<Vec<u8>>>>,
) {
    let mut said = said.lock().await;
    let mut received = Vec::new();
    loop {
        while let Some(frame) = BridgeToBeacon::decode(&mut received).unwrap() {
            let answer = match frame {
                BridgeToBeacon::Register { .. } => {
                    let session = SessionId([7; 16]);
                    BeaconToBridge::Registered { session, max_legs: 64, others: 0 }
                }
                BridgeToBeacon::Ping(echo) => BeaconToBridge::Pong(echo),
                _ => continue,
            };
            let mut bytes = Vec::new();
            answer.encode(&mut bytes);
            stream.write_all(&bytes).await.unwrap();
        }
        tokio::select! {
            read = stream.read_buf(&mut received) => match read {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            },
            Some(bytes) = said.recv() => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// An OpenBao that counts who comes.
async fn counting_echo() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
        }
    });
    (address, reached)
}

/// Where one direction is cut, in bytes.
#[derive(Clone, Copy, Debug)]
struct Cut {
    up: usize,
    down: usize,
}

const NEVER: Cut = Cut { up: usize::MAX, down: usize::MAX };

/// Carries until the cut, and how much went either way.
async fn carry(mut client: TcpStream, mut leg: TcpStream, cut: Cut, pace: Pace) -> (usize, usize) {
    let (mut up, mut down) = (0, 0);
    let (mut above, mut below) = (vec![0; pace.part()], vec![0; pace.part()]);
    loop {
        let read = tokio::select! {
            len = client.read(&mut above) => len.map(|len| {
                let part = len.min(cut.up - up);
                up += len;
                (&mut leg, above[..part].to_vec(), len)
            }),
            len = leg.read(&mut below) => len.map(|len| {
                let part = len.min(cut.down - down);
                down += len;
                (&mut client, below[..part].to_vec(), len)
            }),
        };
        let Ok((to, part, len)) = read else { break };
        pace.wait().await;
        if len == 0 || to.write_all(&part).await.is_err() || part.len() < len {
            break;
        }
        if up == cut.up || down == cut.down {
            break;
        }
    }
    if (cut.up ^ cut.down) & 1 == 1 {
        // Half of the cuts look like a failure, the others like an end.
        client.set_zero_linger().unwrap();
        leg.set_zero_linger().unwrap();
    }
    (up, down)
}

#[derive(Clone, Copy, Debug)]
enum Pace {
    Full,
    Slow,
}

impl Pace {
    const fn part(self) -> usize {
        match self {
            Self::Full => 16 << 10,
            Self::Slow => 7,
        }
    }

    async fn wait(self) {
        match self {
            Self::Full => {}
            Self::Slow => sleep(Duration::from_millis(1)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_cut_at_any_byte_of_its_beginning_is_no_session() {
    const AT_ONCE: usize = 16;
    let mut liar = Liar::new().await;
    let client = Arc::new(liar.keys.client(&[&liar.place]));

    let whole = Arc::clone(&client);
    let opened = tokio::spawn(async move { drop(whole.open_once().await.unwrap()) });
    let (near, far) = liar.pair().await;
    let (up, down) = carry(near, far, NEVER, Pace::Full).await;
    opened.await.unwrap();
    // What the client says after it was let in (close_notify) is not of the beginning.
    let up = up - 24;
    assert!(up > 1200 && down > 1200, "{up} bytes up and {down} down");

    let cuts = (1..up).map(|up| Cut { up, ..NEVER });
    let cuts: Vec<Cut> = cuts.chain((1..down).map(|down| Cut { down, ..NEVER })).collect();
    let count = cuts.len();
    let mut clients = JoinSet::new();
    for number in 0..AT_ONCE {
        let client = Arc::clone(&client);
        let share = count / AT_ONCE + usize::from(number < count % AT_ONCE);
        clients.spawn(async move {
            for _ in 0..share {
                let opened = timeout(PATIENCE, client.open_once()).await.expect("an answer");
                assert!(opened.is_err(), "a session that was cut is taken for whole");
            }
        });
    }
    let mut carried = JoinSet::new();
    for cut in cuts {
        let (near, far) = liar.pair().await;
        carried.spawn(carry(near, far, cut, Pace::Full));
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    println!("{count} cuts");

    // The bridge has lost nothing by it.
    let again = tokio::spawn(async move {
        echoes(&mut client.open_once().await.unwrap(), b"after all cuts").await;
    });
    let (near, far) = liar.pair().await;
    carry(near, far, NEVER, Pace::Full).await;
    again.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beacon_that_delays_and_cuts_into_pieces_changes_nothing() {
    let mut liar = Liar::new().await;
    let client = liar.keys.client(&[&liar.place]);
    let opened = tokio::spawn(async move {
        let mut session = client.open_once().await.unwrap();
        echoes(&mut session, &[0x5a; 3000]).await;
    });
    let (near, far) = liar.pair().await;
    carry(near, far, NEVER, Pace::Slow).await;
    opened.await.unwrap();
}

/// Both sockets, and what the client said.
type Carried = (TcpStream, TcpStream, Vec<u8>);

/// Carries until told to stop, and gives the sockets back.
fn carried(
    mut client: TcpStream,
    mut leg: TcpStream,
) -> (oneshot::Sender<()>, JoinHandle<Carried>) {
    let (stop, mut stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let (mut above, mut below) = (vec![0; 16 << 10], vec![0; 16 << 10]);
        let mut record = Vec::new();
        loop {
            tokio::select! {
                biased;
                len = client.read(&mut above) => {
                    let len = len.unwrap();
                    record.extend_from_slice(&above[..len]);
                    leg.write_all(&above[..len]).await.unwrap();
                }
                len = leg.read(&mut below) => {
                    let len = len.unwrap();
                    client.write_all(&below[..len]).await.unwrap();
                }
                _ = &mut stopped => return (client, leg, record),
            }
        }
    });
    (stop, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_that_are_swapped_break_and_bring_nothing_to_the_other() {
    let mut liar = Liar::new().await;
    let client = Arc::new(liar.keys.client(&[&liar.place]));
    let mut ends = Vec::new();
    for text in [&b"the first one's"[..], b"the second one's"] {
        let client = Arc::clone(&client);
        let opened = tokio::spawn(async move {
            let mut session = client.open_once().await.unwrap();
            echoes(&mut session, text).await;
            session
        });
        let (near, far) = liar.pair().await;
        let (stop, task) = carried(near, far);
        let session = opened.await.unwrap();
        stop.send(()).unwrap();
        let (near, far, _) = task.await.unwrap();
        ends.push((session, near, far));
    }
    let (mut second, near_of_second, far_of_second) = ends.pop().unwrap();
    let (mut first, near_of_first, far_of_first) = ends.pop().unwrap();
    tokio::spawn(carry(near_of_first, far_of_second, NEVER, Pace::Full));
    tokio::spawn(carry(near_of_second, far_of_first, NEVER, Pace::Full));
    for session in [&mut first, &mut second] {
        drop(session.write_all(b"whose is this?").await);
    }
    for session in [&mut first, &mut second] {
        let mut heard = Vec::new();
        let end = timeout(PATIENCE, session.read_to_end(&mut heard)).await.expect("an end");
        assert!(end.is_err(), "a break looks like an end");
        assert!(heard.is_empty(), "the other's bytes came: {heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_played_again_never_reaches_openbao() {
    let mut liar = Liar::new().await;
    let client = liar.keys.client(&[&liar.place]);
    let opened = tokio::spawn(async move {
        let mut session = client.open_once().await.unwrap();
        echoes(&mut session, b"once").await;
        session
    });
    let (near, far) = liar.pair().await;
    let (stop, task) = carried(near, far);
    let _session = opened.await.unwrap();
    stop.send(()).unwrap();
    let (_near, _far, record) = task.await.unwrap();
    assert_eq!(liar.reached.load(Ordering::SeqCst), 1);
    assert!(record.len() > 1200);
    for _ in 0..3 {
        let mut leg = liar.leg().await;
        leg.write_all(&record).await.unwrap();
        let mut heard = Vec::new();
        // It ends by itself: the second flight is sealed with keys that this handshake lacks.
        drop(timeout(PATIENCE, leg.read_to_end(&mut heard)).await.expect("an end"));
    }
    assert_eq!(liar.reached.load(Ordering::SeqCst), 1, "a repeated session reached OpenBao");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beacon_that_asks_for_more_and_more_gets_a_bounded_number_of_legs() {
    let mut liar = Liar::new().await;
    let mut want = Vec::new();
    for _ in 0..100 {
        BeaconToBridge::Want { legs: u16::MAX }.encode(&mut want);
    }
    liar.say.send(want).unwrap();
    let mut legs = Vec::new();
    while let Ok(Some(leg)) = timeout(Duration::from_secs(2), liar.legs.recv()).await {
        legs.push(leg);
    }
    assert!((2..=128).contains(&legs.len()), "{} legs", legs.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beacon_that_sends_away_again_and_again_gets_a_bounded_number_of_legs() {
    const TIMES: usize = 10;
    let mut liar = Liar::new().await;
    let mut legs = Vec::new();
    for _ in 0..TIMES {
        for _ in 0..2 {
            legs.push(timeout(PATIENCE, liar.legs.recv()).await.expect("a leg").unwrap());
        }
        let mut drain = Vec::new();
        BeaconToBridge::Drain { min_ms: 0, max_ms: 0, left_seconds: 0 }.encode(&mut drain);
        liar.say.send(drain).unwrap();
    }
    for _ in 0..2 {
        legs.push(timeout(PATIENCE, liar.legs.recv()).await.expect("a leg").unwrap());
    }
    // Those of the connection that stands and of the one before it are kept, and no others.
    let (last, earlier) = (legs.split_off(2 * (TIMES - 1)), legs);
    for mut leg in earlier {
        let end = timeout(PATIENCE, leg.read(&mut [0])).await.expect("it was given up");
        assert!(matches!(end, Ok(0) | Err(_)));
    }
    for mut leg in last {
        let client = "192.0.2.1:1".parse().unwrap();
        let go = Go { tunnel: [1; 16], tag: ClientTag([2; 8]), client };
        leg.write_all(&go.encode()).await.unwrap();
        leg.write_all(b"no hello").await.unwrap();
        // It has become a session, which hears what is said and ends by that.
        let mut heard = Vec::new();
        timeout(PATIENCE, leg.read_to_end(&mut heard)).await.expect("an end").unwrap_or_default();
        assert_eq!(heard.first(), Some(&21), "an alert of TLS: {heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beacon_that_breaks_the_protocol_is_left_and_tried_again() {
    let mut liar = Liar::new().await;
    for _ in 0..2 {
        liar.legs.recv().await.unwrap();
    }
    // A frame that says it is longer than frames may be.
    liar.say.send(vec![68, 0, 0xff, 0xff]).unwrap();
    let again = timeout(PATIENCE, liar.legs.recv()).await.expect("the bridge comes back");
    assert!(again.is_some());
}
