//! An agent with limits: few processes, few destinations. It is a trial, which leaves nothing.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cloudtaser_sys::roads;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use serde_json::Value;

use crate::outlive;
use crate::processes::{AGENT, GUEST, NEEDLE, SMALL, denied, guard, plain, read, status};
use crate::scale::{eventually, open_environ, started, yes};
use crate::scenario::{PATIENCE, Scenario};

/// Processes that may be guarded at once, those of the canary's round included.
const MOST: usize = 12;
/// Guarded programs that are started under a reader's eyes while the table is full.
const STARTS: usize = 4;

impl Scenario {
    /// Both limits, with one start of an agent.
    pub(crate) fn limits(&mut self, expected: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let open = read(plain(&[GUEST, "reach", &port]));
        let mut agent = start(expected);
        self.egress("unguarded", &open);
        let unguarded = read(plain(&[GUEST, "reach", &port]));
        self.check(
            "egress-of-others-is-as-before",
            (unguarded == open).then_some(()).ok_or(unguarded),
        );
        let guarded = read(guard(&[GUEST, "reach", &port]));
        self.egress("guarded", &guarded);
        self.table(expected, &agent);
        drop(agent.stdin.take());
        assert!(agent.wait().unwrap().success());
        self.check("trial-leaves-nothing", {
            let said = status();
            said.starts_with("OFF").then_some(()).ok_or(said)
        });
    }

    /// Root reads without a pause: first while more processes are started under the guard than fit,
    /// then while nobody takes the reports, until they find no room either.
    fn readers_of_a_full_table(&mut self, expected: &str, agent: &Child, pids: &[&str]) {
        let pid = pids.first().unwrap().parse().unwrap();
        let race = outlive::while_reading(pid, || {
            let turns = (0..STARTS).map(|_| {
                // What has itself guarded and executes takes no place; what it forks does.
                let (late, _said) = started(guard(&[SMALL, "hold", "late"]));
                let open = denied(open_environ(late.pid())).err();
                let (_forking, made) = started(guard(&[SMALL, "crowd", "3"]));
                (open, made)
            });
            turns.collect::<Vec<_>>()
        });
        let turns = &race.result;
        let right = turns.iter().all(|(open, made)| open.is_none() && made == "0")
            || expected.starts_with("DEGRADED");
        self.check(
            "full-table-guards-who-comes-and-lets-none-fork",
            yes(right, || format!("{turns:?}")),
        );
        self.nothing_read("one process while the table is full", expected, race);
        frozen(agent, true);
        let race = outlive::while_reading(pid, || ());
        frozen(agent, false);
        let name = "one process while table and reports are full";
        self.nothing_read(name, expected, race);
        let report = read(plain(&[AGENT, "status", "--json"]));
        let report: Value = serde_json::from_str(&report).unwrap();
        let lost = report["lost_reports"].as_u64().unwrap();
        self.check("full-reports-are-counted", yes(lost > 0, || report.to_string()));
    }

    fn egress(&mut self, who: &str, said: &str) {
        let refused: Vec<&str> =
            said.lines().filter_map(|line| line.strip_suffix(" refused")).collect();
        let wanted: &[&str] = if who == "guarded" {
            &[
                "tcp-other-port",
                "tcp-unlisted",
                "tcp-unlisted-6",
                "udp-connect-unlisted",
                "udp-send-unlisted",
                "udp-send-unspecified",
                "tcp-fast-open-unlisted",
                "raw",
                "packet",
                "sctp",
            ]
        } else {
            &[]
        };
        let right = refused == wanted && said.lines().count() == 14;
        self.check(&format!("egress-{who}"), right.then_some(()).ok_or_else(|| said.to_owned()));
    }

    /// The table of processes is full: what does not fit does not start, and nothing is unguarded.
    fn table(&mut self, expected: &str, agent: &Child) {
        let mut start = guard(&[GUEST, "crowded"]);
        start.env("GUEST_SECRET", fs::read_to_string(NEEDLE).unwrap());
        let mut crowded = start.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(crowded.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let pids: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        self.readers_of_a_full_table(expected, agent, &pids);
        let few = !pids.is_empty() && pids.len() <= MOST;
        self.check("a-full-table-refuses-the-fork", few.then_some(()).ok_or_else(|| line.clone()));
        let open =
            pids.iter().find(|pid| denied(File::open(format!("/proc/{pid}/environ"))).is_err());
        self.check(
            "all-that-started-is-guarded",
            open.map_or(Ok(()), |pid| Err(format!("{pid} is open"))),
        );
        let report = read(plain(&[AGENT, "status", "--json"]));
        let unguarded = report.contains(r#""unguarded": 0"#);
        self.check("no-child-is-unguarded", unguarded.then_some(()).ok_or(report));
        writeln!(crowded.stdin.take().unwrap()).unwrap();
        let again = lines.next().unwrap().unwrap();
        self.check("there-is-room-again", (again == "started").then_some(()).ok_or(again));
        drop(crowded.wait());
    }
}

/// Stops the agent, or lets it go on; its cgroup asks no hook.
fn frozen(agent: &Child, stop: bool) {
    let group = Path::new("/sys/fs/cgroup/frozen");
    fs::create_dir_all(group).unwrap();
    fs::write(group.join("cgroup.procs"), agent.id().to_string()).unwrap();
    fs::write(group.join("cgroup.freeze"), if stop { "1" } else { "0" }).unwrap();
    let events = || fs::read_to_string(group.join("cgroup.events")).unwrap();
    let wanted = if stop { "frozen 1" } else { "frozen 0" };
    assert!(eventually(|| events().contains(wanted)), "it does not freeze: {}", events());
}

fn start(expected: &str) -> Child {
    let log = File::create("/tmp/trial.log").unwrap();
    let mut agent = Command::new(AGENT);
    agent.args(["run", "--while-stdin-open", "--canary-every", "1000", "--most-processes"]);
    agent.arg(MOST.to_string()).args(["--allow-egress", "192.0.2.0/24:443"]);
    agent.args(["--allow-egress", "[2001:db8::]/32:1-1000"]);
    let agent = agent.stdin(Stdio::piped()).stderr(log).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    // What is degraded for other reasons is no less limited.
    while status().starts_with("OFF") {
        let said = || fs::read_to_string("/tmp/trial.log").unwrap_or_default();
        assert!(Instant::now() < until, "no {expected}: {}", said());
        thread::sleep(Duration::from_millis(200));
    }
    agent
}

/// Forks until it is refused, says whom it has, lets them go and forks again.
pub(crate) fn crowded() {
    let mut children = Vec::new();
    let refused = loop {
        assert!(children.len() < 10 * MOST, "nothing is refused");
        match Command::new("/bin/sleep").arg("300").spawn() {
            Ok(child) => children.push(child),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::WouldBlock, "{refused}");
    let pids: Vec<String> = children.iter().map(|child| child.id().to_string()).collect();
    println!("{}", pids.join(" "));
    std::io::stdin().read_exact(&mut [0]).unwrap();
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let again = Command::new("/bin/sleep").arg("0").status();
    println!("{}", again.map_or_else(|error| error.to_string(), |_| "started".to_owned()));
}

/// Tries each way out; one line each, `refused` where that was for lack of permission.
pub(crate) fn reach(port: &str) {
    let own: u16 = port.parse().unwrap();
    let tell = |name: &str, result: std::io::Result<()>| {
        let refused = result.is_err_and(|error| matches!(error.raw_os_error(), Some(1 | 13)));
        println!("{name} {}", if refused { "refused" } else { "went" });
    };
    let connect = |to: &str| {
        let address = to.parse().unwrap();
        TcpStream::connect_timeout(&address, Duration::from_millis(50)).map(drop)
    };
    tell("loopback", connect(&format!("127.0.0.1:{own}")));
    tell("tcp-listed", connect("192.0.2.7:443"));
    tell("tcp-listed-6", connect("[2001:db8::7]:8"));
    tell("tcp-other-port", connect("192.0.2.7:80"));
    tell("tcp-unlisted", connect("198.51.100.7:443"));
    tell("tcp-unlisted-6", connect("[2001:db9::7]:8"));
    let udp = || UdpSocket::bind("0.0.0.0:0").unwrap();
    tell("udp-connect-unlisted", udp().connect("198.51.100.7:53"));
    tell("udp-send-unlisted", udp().send_to(b"x", "198.51.100.7:53").map(drop));
    let name = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 53);
    tell("udp-send-unspecified", roads::send_unspecified(&udp(), name, b"x").map_err(Into::into));
    tell("tcp-fast-open-unlisted", {
        let (kind, flags) = (SockType::Stream, SockFlag::SOCK_NONBLOCK);
        socket(AddressFamily::Inet, kind, flags, None)
            .and_then(|own| roads::send_fast(own.as_fd(), name, b"x"))
            .map_err(Into::into)
    });
    let make = |family, kind, protocol| {
        let made: Result<_, Errno> = socket(family, kind, SockFlag::empty(), protocol);
        made.map(drop).map_err(Into::into)
    };
    tell("raw", make(AddressFamily::Inet, SockType::Raw, Some(SockProtocol::Icmp)));
    tell("packet", make(AddressFamily::Packet, SockType::Raw, None));
    tell("sctp", make(AddressFamily::Inet, SockType::SeqPacket, None));
    tell("unix", UnixStream::pair().map(drop));
}
