//! Who floods the beacon gains nothing: its memory stays bounded and neighbours get through.
//!
//! The beacon is a process of its own, so that its memory can be read. Goodput is counted and not
//! timed: of the sessions that a neighbour opens while the attack goes on, as many must succeed at
//! the first try as on a quiet day, and each must be exact.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cloudtaser_relay::{
    client::Client,
    proto::{frame, ticket::ClientTag},
};
use cloudtaser_tls::raw::{self, KeyPair};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    abuse::{FakeBridge, hello, hello_as},
    road::noise,
    support::{
        DOMAIN, Keys, PATIENCE, Place, Served, any, beacon, echo, echoes, get, roomy, serve,
    },
};

/// What an attack may add to the beacon's memory.
const MOST_GROWTH: u64 = 64 << 20;
const SESSIONS: usize = 30;
/// Of [`SESSIONS`], those that have to succeed at once: nine of ten.
const LEAST: usize = SESSIONS * 9 / 10;

/// A beacon that is a process of its own.
pub(crate) struct Process {
    child: Child,
    pub(crate) place: Place,
    log: PathBuf,
    /// Its own, where it has one.
    _folder: Option<tempfile::TempDir>,
}

impl Process {
    pub(crate) fn start(limits: &str) -> Self {
        Self::start_by(limits, |_| {})
    }

    /// One that has so many descriptors, and gets no more of them.
    fn with_descriptors(count: u32) -> Self {
        Self::start_by("", |command| {
            let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            let mut limited = Command::new("/bin/sh");
            limited.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &count.to_string(), BEACON]);
            *command = limited;
            command.args(words);
        })
    }

    fn start_by(limits: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = settle(folder.path());
        configure(folder.path(), "127.0.0.1:0".parse().unwrap(), &format!("[limits]\n{limits}"));
        let mut command = words(&[]);
        change(&mut command);
        let mut started = Self::of(command, folder.path(), &key, "log");
        started._folder = Some(folder);
        started
    }

    /// Starts one in a folder that is there, and waits until it listens.
    pub(crate) fn begin(folder: &Path, key: &KeyPair, log: &str, words: &[&str]) -> Self {
        Self::of(self::words(words), folder, key, log)
    }

    fn of(command: Command, folder: &Path, key: &KeyPair, log: &str) -> Self {
        let log = folder.join(log);
        let mut child = placed(command, folder, &log).spawn().unwrap();
        let (address, admin) = addresses(&log, &mut child);
        Self { child, place: Place { key: key.clone(), address, admin }, log, _folder: None }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// Bytes of memory that are its own.
    pub(crate) fn resident(&self) -> u64 {
        let statm = self.proc("statm");
        statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    /// What it has used of the CPU, in all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        Duration::from_nanos(tasks.map(|task| of(task.unwrap())).sum())
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub(crate) async fn refused(&self, reason: &str) -> u64 {
        let name = format!("cloudtaser_beacon_refused_total{{reason=\"{reason}\"}} ");
        let text = get(self.place.admin, "/metrics").await;
        let found = text.lines().find_map(|line| line.strip_prefix(&name));
        found.map_or(0, |count| count.parse().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A beacon's key in a folder of its own.
pub(crate) fn settle(folder: &Path) -> KeyPair {
    let (key, pem) = KeyPair::generate().unwrap();
    fs::write(folder.join("beacon.pem"), pem.expose()).unwrap();
    key
}

/// Writes its configuration, with some words more.
pub(crate) fn configure(folder: &Path, listen: SocketAddr, more: &str) {
    let config = format!(
        "listen = \"{listen}\"\nadmin = \"127.0.0.1:0\"\nkey_file = \"beacon.pem\"\n\
         any_bridge = true\n{more}\n"
    );
    fs::write(folder.join("beacon.toml"), config).unwrap();
}

const BEACON: &str = env!("CARGO_BIN_EXE_cloudtaser-beacon");

/// One that was not started yet.
pub(crate) fn command(folder: &Path, log: &Path, words: &[&str]) -> Command {
    placed(self::words(words), folder, log)
}

fn words(more: &[&str]) -> Command {
    let mut command = Command::new(BEACON);
    command.args(["serve", "--config", "beacon.toml"]).args(more);
    command
}

fn placed(mut command: Command, folder: &Path, log: &Path) -> Command {
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(File::create(log).unwrap());
    command
}

/// Where it says that it listens.
fn addresses(log: &Path, child: &mut Child) -> (SocketAddr, SocketAddr) {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        let words = text.split(['"', '(', ')', '=', ' ', ',']);
        let found: Vec<SocketAddr> = words.filter_map(|word| word.parse().ok()).collect();
        if let (true, [address, admin]) = (text.ends_with('\n'), &found[..]) {
            return (*address, *admin);
        }
        let ended = child.try_wait().unwrap();
        assert!(began.elapsed() < PATIENCE && ended.is_none(), "{ended:?}: {text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A beacon under attack, and a neighbour of whoever attacks it.
struct Town {
    keys: Arc<Keys>,
    beacon: Process,
    neighbour: Arc<Client>,
    before: u64,
    _bridge: Served,
}

impl Town {
    async fn new(limits: &str) -> Self {
        Self::of(Process::start(limits)).await
    }

    async fn of(beacon: Process) -> Self {
        let keys = Arc::new(Keys::new());
        let openbao = echo().await;
        let bridge = keys.bridge(&[&beacon.place], openbao);
        let neighbour = Arc::new(keys.client(&[&beacon.place]));
        drop(neighbour.open(PATIENCE).await.unwrap());
        let mut town = Self { keys, beacon, neighbour, before: 0, _bridge: bridge };
        assert_eq!(town.sessions().await, SESSIONS, "a quiet day");
        town.before = town.beacon.resident();
        town
    }

    /// How many of the neighbour's sessions came about at the first try and were exact.
    async fn sessions(&self) -> usize {
        let mut good = 0;
        for number in 0..SESSIONS {
            if let Ok(mut session) = self.neighbour.open_once().await {
                echoes(&mut session, &noise(2000, 1 + number as u64)).await;
                good += 1;
            }
        }
        good
    }

    /// Attacks for as long as the neighbour needs, and looks at what it cost.
    async fn under<F>(&self, attack: impl Fn(SocketAddr) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (over, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut attackers = JoinSet::new();
        for _ in 0..4 {
            let (over, rounds) = (Arc::clone(&over), Arc::clone(&rounds));
            let attack = attack(self.beacon.place.address);
            attackers.spawn(async move {
                tokio::select! {
                    () = attack => {}
                    () = async {
                        while !over.load(Ordering::Relaxed) {
                            rounds.fetch_add(1, Ordering::Relaxed);
                            sleep(Duration::from_millis(5)).await;
                        }
                    } => {}
                }
            });
        }
        sleep(Duration::from_millis(1300)).await;
        let mut most = 0;
        let good = {
            let watched = async {
                loop {
                    most = most.max(self.beacon.resident());
                    sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::select! {
                good = self.sessions() => good,
                never = watched => never,
            }
        };
        over.store(true, Ordering::Relaxed);
        while attackers.join_next().await.is_some() {}
        let growth = most.saturating_sub(self.before);
        println!("{good} of {SESSIONS} sessions, {} KiB more memory", growth >> 10);
        assert!(good >= LEAST, "{good} of {SESSIONS} sessions under attack");
        assert!(growth < MOST_GROWTH, "{growth} bytes more");
    }
}

/// Connects from one of many addresses of the loopback, so that no source has too many.
async fn connect(to: SocketAddr, number: u64) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    let from = format!("127.0.{}.{}:0", 1 + number / 200 % 200, 1 + number % 200);
    socket.bind(from.parse().unwrap()).ok()?;
    timeout(Duration::from_secs(2), socket.connect(to)).await.ok()?.ok()
}

/// Opens connections without an end, keeps the last of them, and says something on each.
async fn keep_opening(to: SocketAddr, say: Vec<u8>, keep: usize) {
    keep_saying(to, move || say.clone(), keep).await;
}

/// The same, and something else each time.
async fn keep_saying(to: SocketAddr, say: impl Fn() -> Vec<u8>, keep: usize) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mut kept = std::collections::VecDeque::new();
    loop {
        if let Some(mut stream) = connect(to, NUMBER.fetch_add(1, Ordering::Relaxed)).await {
            drop(stream.write_all(&say()).await);
            kept.push_back(stream);
        }
        if kept.len() > keep {
            kept.pop_front();
        }
        // A few thousand in a second, which leaves something of two cores to those who watch.
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_that_say_nothing_drives_out_itself() {
    let town = Town::new("pending = 200").await;
    // One byte of a leg is as little as none.
    for say in [Vec::new(), vec![b'B']] {
        let before = town.beacon.refused("Evicted").await;
        town.under(|to| keep_opening(to, say.clone(), 150)).await;
        let evicted = town.beacon.refused("Evicted").await - before;
        assert!(evicted > 100, "only {evicted} were driven out: this was no flood");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_more_connections_than_there_are_descriptors_keeps_nobody_out() {
    let town = Town::of(Process::with_descriptors(300)).await;
    for say in [Vec::new(), vec![b'B']] {
        let before = town.beacon.refused("Evicted").await;
        town.under(|to| keep_opening(to, say.clone(), 150)).await;
        let evicted = town.beacon.refused("Evicted").await - before;
        assert!(evicted > 100, "only {evicted} were driven out: there were descriptors for all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_would_have_the_beacon_prove_its_key_leave_others_their_sessions() {
    let town = Town::new("").await;
    // Every hello of a bridge has it exchange keys and sign, before it can know who that is.
    let mut config =
        raw::client_config(&KeyPair::generate().unwrap().0, town.beacon.place.key.public());
    config.as_mut().unwrap().alpn_protocols = vec![frame::PROTOCOL.to_vec()];
    let name = ServerName::try_from(format!("ctl.{DOMAIN}")).unwrap();
    let mut bytes = Vec::new();
    let stranger = rustls::ClientConnection::new(Arc::new(config.unwrap()), name);
    stranger.unwrap().write_tls(&mut bytes).unwrap();
    // Nor do they go on with the handshake, which keeps memory.
    town.under(|to| keep_opening(to, bytes.clone(), 1000)).await;
    let refused = town.beacon.refused("BeaconLimit").await;
    assert!(refused > 100, "only {refused}: this was no flood");
    // And the bridge, which was here before, comes back meanwhile.
    let mut flood = JoinSet::new();
    for _ in 0..4 {
        flood.spawn(keep_opening(town.beacon.place.address, bytes.clone(), 20));
    }
    let again = town.keys.bridge(&[&town.beacon.place], echo().await);
    let began = Instant::now();
    while !get(town.beacon.place.admin, "/metrics").await.contains("beacon_bridges 2\n") {
        assert!(began.elapsed() < PATIENCE, "the bridge does not come back");
        sleep(Duration::from_millis(20)).await;
    }
    drop((again, flood));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_hellos_that_never_end_cost_little() {
    let town = Town::new("hello_seconds = 1").await;
    let half = hello(&town.keys, |_| {})[..700].to_vec();
    town.under(|to| keep_opening(to, half.clone(), 3000)).await;
    // One that ends there is gone at once, and nobody turns in circles until the deadline.
    let before = town.beacon.cpu();
    for _ in 0..20 {
        let mut stream = connect(town.beacon.place.address, 1).await.unwrap();
        stream.write_all(&half).await.unwrap();
        stream.shutdown().await.unwrap();
        super::support::is_closed_in_silence(&mut stream).await;
    }
    let spent = town.beacon.cpu() - before;
    assert!(spent < Duration::from_millis(500), "{spent:?} of the CPU for twenty half hellos");
    let began = Instant::now();
    while town.beacon.descriptors() > 100 {
        assert!(began.elapsed() < PATIENCE, "{} descriptors", town.beacon.descriptors());
        sleep(Duration::from_millis(50)).await;
    }
    assert!(town.beacon.refused("Slow").await > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_false_tickets_at_full_speed_cost_little() {
    let town = Town::new("").await;
    let forged = hello(&town.keys, |ticket| ticket.max_tunnels = 33);
    let stranger = hello(&Keys::new(), |_| {});
    let garbage = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    for bytes in [forged, stranger, garbage] {
        town.under(|to| keep_opening(to, bytes.clone(), 1)).await;
    }
    for reason in ["Ticket", "Name", "Garbage"] {
        let refused = town.beacon.refused(reason).await;
        assert!(refused > 100, "{reason}: only {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_is_repeated_without_an_end_costs_little() {
    let town = Town::new("").await;
    let good = hello(&town.keys, |_| {});
    // The first of them is let in, and the bridge finds nobody behind it.
    town.under(|to| keep_opening(to, good.clone(), 1)).await;
    let refused = town.beacon.refused("Replay").await;
    assert!(refused > 100, "only {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_client_file_has_the_bridge_work_until_its_client_is_denied_and_no_other() {
    let town = Town::new("").await;
    let thieves = ClientTag([0x7f; 8]);
    // Every ticket is fresh and true; what is missing is the client's key.
    town.under(|to| {
        let keys = Arc::clone(&town.keys);
        async move { keep_saying(to, || hello_as(&keys, thieves), 1).await }
    })
    .await;
    let denied = town.beacon.refused("Denied").await;
    assert!(denied > 100, "only {denied} were turned away by the beacon");
}

/// More than there are pipes, and more than a hundred of them hold one.
const STALLED: u8 = 140;

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_do_not_read_cost_bounded_memory_and_leave_others_their_bulk() {
    const MOST_HELD: usize = 3 << 20;
    let town = Town::new("").await;
    let keys = Keys::new();
    let mut fake = FakeBridge::connect(&town.beacon.place, &keys.bridge).await;
    let (session, _) = fake.register_with(&keys.tickets, 1000).await.unwrap();
    let mut filling = JoinSet::new();
    for number in 0..STALLED {
        let mut leg = small(&town.beacon.place, &fake.preamble(session, number.into())).await;
        let bytes = hello_as(&keys, ClientTag([number; 8]));
        let client = small(&town.beacon.place, &bytes).await;
        timeout(PATIENCE, leg.read_exact(&mut vec![0; 48 + bytes.len()])).await.unwrap().unwrap();
        filling.spawn(async move {
            let (part, mut taken) = (noise(1 << 20, 3), 0);
            while let Ok(Ok(len)) = timeout(Duration::from_secs(1), leg.write(&part)).await {
                taken += len;
            }
            (leg, client, taken)
        });
    }
    let (mut stalled, mut held) = (Vec::new(), 0);
    while let Some(full) = filling.join_next().await {
        let (leg, client, taken) = full.unwrap();
        held = held.max(taken);
        stalled.push((leg, client));
    }
    println!("at most {} KiB of one tunnel are somewhere", held >> 10);
    assert!(held < MOST_HELD, "{held} bytes of a tunnel that nobody reads");
    town.under(|_| std::future::pending()).await;
    bulk(&town.neighbour).await;
    drop(stalled);
}

/// A connection whose own end keeps next to nothing, so that what is kept is the beacon's.
async fn small(place: &Place, bytes: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(32 << 10).unwrap();
    socket.set_recv_buffer_size(32 << 10).unwrap();
    let mut stream = socket.connect(place.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// As much as has pipes taken, exact.
async fn bulk(client: &Client) {
    let sent = noise(16 << 20, 11);
    let (mut read, mut write) = tokio::io::split(client.open(PATIENCE).await.unwrap());
    let mut received = Vec::new();
    let (written, _) = tokio::join!(
        async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await
        },
        read.read_to_end(&mut received)
    );
    written.unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hog_leaves_its_neighbours_their_sessions() {
    let town = Town::new("").await;
    let client = Arc::clone(&town.neighbour);
    town.under(|_| {
        let client = Arc::clone(&client);
        async move {
            let (mut read, mut write) = tokio::io::split(client.open(PATIENCE).await.unwrap());
            let part = noise(1 << 20, 9);
            tokio::join!(async { while write.write_all(&part).await.is_ok() {} }, async {
                let mut sink = vec![0; 1 << 20];
                while read.read(&mut sink).await.is_ok_and(|len| len > 0) {}
            });
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_beacon_that_was_killed_come_back_spread_out_and_all_succeed() {
    const CLIENTS: usize = 300;
    let keys = Keys::new();
    let openbao = echo().await;
    let (place, first) = beacon(roomy(), any(), None);
    let mut config = keys.config(&[&place], openbao);
    config.max_sessions = 1000;
    let _bridge = serve(config);
    let client = Arc::new(keys.client_with(&[&place], &keys.client, 1000));
    drop(client.open(PATIENCE).await.unwrap());
    first.kill();
    let mut waiting = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = Arc::clone(&client);
        waiting.spawn(async move {
            let mut session = client.open(PATIENCE).await.unwrap();
            echoes(&mut session, b"back").await;
        });
    }
    let _again = loop {
        if let Ok(free) = std::net::TcpListener::bind(place.address) {
            drop(free);
            break beacon(roomy(), any(), Some(&place));
        }
        sleep(Duration::from_millis(10)).await;
    };
    while let Some(done) = waiting.join_next().await {
        done.unwrap();
    }
}
