//! One beacon after another, and nobody notices. The beacons are processes of their own, as they are
//! when somebody upgrades one.

use std::{
    env, fs,
    io::{self, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener, UnixStream},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cloudtaser_relay::client::Client;
use cloudtaser_tls::raw::KeyPair;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use super::{
    abuse::{hello, send},
    flood::{Process, command, configure, settle},
    support::{Keys, PATIENCE, Served, echo, echoes},
};

/// A place with a beacon in it, a bridge that goes there, and a client.
struct House {
    folder: tempfile::TempDir,
    key: KeyPair,
    beacon: Process,
    /// Beacons so far.
    count: usize,
    keys: Keys,
    client: Arc<Client>,
    _bridge: Served,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = settle(folder.path());
        write(folder.path(), "127.0.0.1:0".parse().unwrap());
        let beacon = Process::begin(folder.path(), &key, "log0", &["--take-over"]);
        assert!(beacon.log().contains("no beacon to take over from"), "{}", beacon.log());
        // Those that follow have to name the address that the first one was given.
        write(folder.path(), beacon.place.address);
        let keys = Keys::new();
        let openbao = echo().await;
        let _bridge = keys.bridge(&[&beacon.place], openbao);
        let client = Arc::new(keys.client(&[&beacon.place]));
        drop(client.open(PATIENCE).await.unwrap());
        Self { folder, key, beacon, count: 1, keys, client, _bridge }
    }

    /// A beacon in the place of the one that is there, which is returned.
    async fn follow(&mut self) -> Process {
        let (folder, key) = (self.folder.path().to_owned(), self.key.clone());
        let log = format!("log{}", self.count);
        self.count += 1;
        let begin = move || Process::begin(&folder, &key, &log, &["--take-over"]);
        let next = spawn_blocking(begin).await.unwrap();
        assert_eq!(next.place.address, self.beacon.place.address);
        std::mem::replace(&mut self.beacon, next)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("handover")
    }
}

fn write(folder: &Path, listen: SocketAddr) {
    let more = "handover_socket = \"handover\"\n[limits]\ndrain_seconds = 60\n\
                pending_per_source = 10000";
    configure(folder, listen, more);
}

/// Waits for its end, which has to be a good one.
async fn ends(mut beacon: Process) {
    let began = Instant::now();
    while beacon.ended().is_none() {
        assert!(began.elapsed() < PATIENCE, "it goes on: {}", beacon.log());
        sleep(Duration::from_millis(10)).await;
    }
    assert!(beacon.ended().unwrap().success(), "{}", beacon.log());
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_beacons_follow_one_another_under_those_who_dial_without_a_pause_and_none_is_reset()
{
    const TIMES: u64 = 20;
    const DIALLERS: usize = 4;
    let mut house = House::new().await;
    let (over, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut dialling = JoinSet::new();
    for number in 0..DIALLERS {
        let (over, good) = (Arc::clone(&over), Arc::clone(&good));
        let client = Arc::clone(&house.client);
        dialling.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                // Once, so that nothing that went wrong is made good by another try.
                let mut session = client.open_once().await.expect("a session at the first try");
                echoes(&mut session, &[u8::try_from(number).unwrap(); 100]).await;
                good.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // Others have connected and take their time to say what they want.
    let address = house.beacon.place.address;
    for _ in 0..TIMES {
        let before = good.load(Ordering::Relaxed);
        let slow = TcpStream::connect(address).await.unwrap();
        let old = house.follow().await;
        speak(slow, &hello(&house.keys, |_| {})).await;
        until("sessions at the next one", || {
            if let Some(done) = dialling.try_join_next() {
                done.unwrap();
            }
            good.load(Ordering::Relaxed) >= before + 8
        })
        .await;
        ends(old).await;
    }
    over.store(true, Ordering::Relaxed);
    while let Some(done) = dialling.join_next().await {
        done.unwrap();
    }
    println!("{} sessions over {TIMES} beacons", good.load(Ordering::Relaxed));
    assert!(good.load(Ordering::Relaxed) >= 8 * TIMES);
}

/// Says a hello and hears the bridge's first byte.
async fn speak(mut stream: TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    let mut answer = [0];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(answer, [22], "the bridge's hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_half_said_to_one_beacon_is_heard_whole_by_the_next() {
    let mut house = House::new().await;
    let bytes = hello(&house.keys, |_| {});
    let (first, second) = bytes.split_at(700);
    let halves = send(&house.beacon.place, first).await;
    let old = house.follow().await;
    let given = "\"given\":1";
    until("that it was given", || old.log().contains(given)).await;
    speak(halves, second).await;
    ends(old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_stays_with_its_beacon_which_ends_with_it() {
    let mut house = House::new().await;
    let mut session = house.client.open(PATIENCE).await.unwrap();
    echoes(&mut session, b"before").await;
    let mut old = house.follow().await;
    echoes(&mut house.client.open_once().await.unwrap(), b"at the one that follows").await;
    echoes(&mut session, b"at the one that goes").await;
    assert!(old.ended().is_none(), "{}", old.log());
    drop(session);
    ends(old).await;
    // The same socket leads to the one that is there now.
    let old = house.follow().await;
    echoes(&mut house.client.open_once().await.unwrap(), b"and at the third").await;
    ends(old).await;
}

/// What a beacon says on its socket: a word, and what comes along.
fn hear(stream: &UnixStream) -> io::Result<(u8, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0];
    let into = &mut [IoSliceMut::new(&mut word)];
    let got = recvmsg(stream, into, &mut along, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let sent = along.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((word[0], sent))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_dies_at_any_step_leaves_the_place_to_the_one_that_was_there() {
    let mut house = House::new().await;
    for last in ["connected", "LISTENER", "READY", "YOURS", "another word"] {
        let socket = house.socket();
        spawn_blocking(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            if last == "connected" {
                return;
            }
            let (word, listener) = hear(&stream).unwrap();
            assert!(word == b'L' && listener.is_some());
            if last == "LISTENER" {
                return;
            }
            stream.write_all(if last == "another word" { b"?" } else { b"R" }).unwrap();
            match last {
                "YOURS" => assert_eq!(hear(&stream).unwrap().0, b'Y'),
                "another word" => drop(hear(&stream).unwrap_err()),
                _ => {}
            }
        })
        .await
        .unwrap();
        echoes(&mut house.client.open_once().await.unwrap(), last.as_bytes()).await;
        assert!(house.beacon.ended().is_none(), "{last}: {}", house.beacon.log());
    }
    // One that means it is not kept out by that.
    let old = house.follow().await;
    echoes(&mut house.client.open_once().await.unwrap(), b"followed").await;
    ends(old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beacon_of_another_address_and_a_folder_of_everybody_are_refused() {
    let house = House::new().await;
    let folder = house.folder.path();
    let run = |words: &[&str]| {
        let log = folder.join("refused");
        let status = command(folder, &log, words).status().unwrap();
        (status.code(), fs::read_to_string(log).unwrap())
    };
    write(folder, "127.0.0.1:1".parse().unwrap());
    let (code, said) = run(&["--take-over"]);
    assert_eq!(code, Some(69), "{said}");
    let there = house.beacon.place.address.to_string();
    assert!(said.contains(&there) && said.contains("127.0.0.1:1"), "{said}");

    // Without being asked to, none takes another's place.
    write(folder, house.beacon.place.address);
    let (code, said) = run(&[]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("cannot listen on"), "{said}");

    configure(folder, "127.0.0.1:0".parse().unwrap(), "");
    let (code, said) = run(&["--take-over"]);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("handover_socket"), "{said}");

    fs::create_dir(folder.join("open")).unwrap();
    fs::set_permissions(folder.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
    configure(folder, "127.0.0.1:0".parse().unwrap(), "handover_socket = \"open/handover\"");
    let (code, said) = run(&[]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("mode 777"), "{said}");
    echoes(&mut house.client.open_once().await.unwrap(), b"and it goes on").await;
}

/// What this program does as another user, if it is told to by its environment.
const ROLE: &str = "CT_TEST_OTHER_USER";
const NOBODY: u32 = 65534;

/// This test, as another user; `None` where this one cannot become another.
fn as_nobody(role: &str, socket: &Path) -> Option<Command> {
    const NAME: &str = "handover::a_process_of_another_user_gives_nothing_and_gets_nothing";
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", NAME, "--nocapture"]).env(ROLE, role).env("CT_TEST_SOCKET", socket);
    command.uid(NOBODY).gid(NOBODY).stdin(Stdio::piped()).stdout(Stdio::piped());
    Some(command)
}

fn in_the_place_of_another(role: &str, socket: &Path) {
    match role {
        "ask" => {
            let stream = UnixStream::connect(socket).unwrap();
            let heard = hear(&stream);
            assert!(heard.is_err(), "{heard:?}");
        }
        _ => {
            let listener = UnixListener::bind(socket).unwrap();
            fs::set_permissions(socket, fs::Permissions::from_mode(0o777)).unwrap();
            println!("listens");
            let (mut stream, _) = listener.accept().unwrap();
            let mut said = Vec::new();
            // It may end without a word, or with a reset for what it was not asked.
            drop(stream.read_to_end(&mut said));
            assert!(said.is_empty(), "{said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_another_user_gives_nothing_and_gets_nothing() {
    if let Ok(role) = env::var(ROLE) {
        let socket = env::var_os("CT_TEST_SOCKET").unwrap();
        return in_the_place_of_another(&role, Path::new(&socket));
    }
    let house = House::new().await;
    let socket = house.socket();
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let Some(mut asks) = as_nobody("ask", &socket) else {
        return println!("SKIP: only root can be another user");
    };
    // As if neither folder nor socket kept him out.
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    open(house.folder.path());
    open(&socket);
    let output = spawn_blocking(move || asks.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    until("a line about him", || house.beacon.log().contains("of user 65534")).await;
    echoes(&mut house.client.open_once().await.unwrap(), b"as before").await;

    let folder = tempfile::tempdir().unwrap();
    open(folder.path());
    settle(folder.path());
    configure(folder.path(), "127.0.0.1:0".parse().unwrap(), "handover_socket = \"handover\"");
    let mut listens = as_nobody("listen", &folder.path().join("handover")).unwrap();
    let mut listens = listens.spawn().unwrap();
    let there = folder.path().join("handover");
    until("a socket of another user", || {
        fs::metadata(&there).is_ok_and(|it| it.permissions().mode() & 0o777 == 0o777)
    })
    .await;
    let log = folder.path().join("log");
    let status = command(folder.path(), &log, &["--take-over"]).status().unwrap();
    let said = fs::read_to_string(log).unwrap();
    assert_eq!(status.code(), Some(69), "{said}");
    assert!(said.contains("user 65534"), "{said}");
    assert!(listens.wait().unwrap().success());
}
