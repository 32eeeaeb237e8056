//! What is left when the agent is gone, who may come after it, and what one sees meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cloudtaser_core::names::AGENT_SOCKET;
use cloudtaser_sys::roads;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

use crate::processes::{AGENT, GUEST, NEEDLE, Running, denied, denied_by, plain, read, status};
use crate::processes::{CLI, start_target};
use crate::scale::eventually;
use crate::scenario::{PATIENCE, Scenario};

pub(crate) const PINS: &str = "/sys/fs/bpf/cloudtaser";
const UPGRADES: u32 = 3;
/// Fewer reads would not have met every moment of an upgrade.
const READS: u64 = 10_000;

impl Scenario {
    /// Ends the agent by the ways that no hook sees, and has it come back.
    pub(crate) fn outlives(&mut self, mut agent: Running, expected: &str) {
        self.pins_stay("guarded");
        let refused = run(&["run", "--once"]);
        self.refused("no-second-agent", &refused, "in force");
        let refused = run(&["run", "--leave-open", "bpf", "--replace"]);
        self.refused("no-weaker-agent-beside-it", &refused, "weaker than what is pinned");
        let target = start_target(true);
        let race = while_reading(target.pid(), || {
            end_by_cgroup(&mut agent.0);
            self.check("agent-is-gone", yes(status().starts_with("OFF"), status));
            self.still_denied("orphaned", &target);
            self.pins_stay("orphaned");
            self.strangers(expected);
            thread::sleep(Duration::from_secs(2));
            self.comes_back(expected)
        });
        let mut agent = self.nothing_read(
            "one process while its agent is killed and comes back",
            expected,
            race,
        );
        self.still_denied("again", &target);
        self.upgrades(&target, &mut agent, expected);
        self.interrupted(&target, expected);
        self.mark_is_lost_by_exec();
        self.still_denied("upgraded", &target);
        self.pins_stay("upgraded");
        let stranger = read(plain(&[GUEST, "load"]));
        self.check("upgraded-unlisted-loader", yes(stranger == "Err(EPERM)", || stranger.clone()));
    }

    /// Root tries to take the pins away, by name and by mount.
    fn pins_stay(&mut self, when: &str) {
        let set = fs::read_dir(PINS).unwrap().filter_map(Result::ok).map(|entry| entry.path());
        let set = set.into_iter().find(|path| path.to_string_lossy().contains("set-")).unwrap();
        let link = fs::read_dir(&set).unwrap().next().unwrap().unwrap().path();
        let map = Path::new(PINS).join("maps/ct_tasks");
        self.check(&format!("{when}-pin-unlink"), denied(fs::remove_file(&link)));
        self.check(&format!("{when}-pin-unlink-map"), denied(fs::remove_file(&map)));
        self.check(
            &format!("{when}-pin-rename"),
            denied(fs::rename(&link, format!("{PINS}/moved"))),
        );
        self.check(
            &format!("{when}-pin-rename-folder"),
            denied(fs::rename(&set, "/sys/fs/bpf/moved")),
        );
        self.check(&format!("{when}-pin-rmdir"), denied(fs::remove_dir(&set)));
        self.check(
            &format!("{when}-pin-map-by-path"),
            denied_by(roads::open_pinned(&map).map(drop)),
        );
        // Nothing sees this one; what it gives is good for nothing.
        let opened = roads::open_pinned(&link);
        let number = opened.as_ref().map_or(-1, std::os::fd::AsRawFd::as_raw_fd);
        self.check(&format!("{when}-pinned-link-detach"), denied_by(roads::detach_link(number)));
        self.check(
            &format!("{when}-pinned-link-update"),
            denied_by(roads::update_link(number, number)),
        );
        self.check(&format!("{when}-agent-file-unlink"), denied(fs::remove_file(AGENT)));
        self.check(&format!("{when}-agent-file-rename"), denied(fs::rename(AGENT, "/bin/old")));
        fs::write("/bin/new", "x").unwrap();
        self.check(
            &format!("{when}-agent-file-rename-over"),
            denied(fs::rename("/bin/new", AGENT)),
        );
        let opened = OpenOptions::new().write(true).open(AGENT);
        // While an agent runs, the kernel says that it is busy before any hook is asked.
        let busy = opened.as_ref().is_err_and(|error| error.raw_os_error() == Some(26));
        let outcome = if busy { Ok(()) } else { denied(opened) };
        self.check(&format!("{when}-agent-file-write"), outcome);
        for mount in ["/sys/fs/bpf", "/sys"] {
            let done = plain(&["/bin/umount", "-l", mount]).stderr(Stdio::null()).status().unwrap();
            let right = !done.success() && map.exists();
            self.check(&format!("{when}-umount-{mount}"), yes(right, || "it went".to_owned()));
        }
        // Moved below another mount, which then goes with what is on it.
        fs::create_dir_all("/tmp/other").unwrap();
        let script = "mount -t tmpfs none /tmp/other && mkdir /tmp/other/bpf && \
                      mount --move /sys/fs/bpf /tmp/other/bpf && ! umount -l /tmp/other && \
                      mount --move /tmp/other/bpf /sys/fs/bpf && umount /tmp/other";
        let done = plain(&["/bin/sh", "-c", script]).stderr(Stdio::null()).status().unwrap();
        let right = done.success() && map.exists();
        self.check(&format!("{when}-umount-below-a-moved-mount"), yes(right, || format!("{done}")));
    }

    /// Every road that the agent closes, by itself.
    fn still_denied(&mut self, when: &str, target: &Running) {
        let pid = target.pid();
        let process = roads::open_process(Pid::from_raw(pid)).unwrap();
        let stolen = roads::take_descriptor(std::os::fd::AsFd::as_fd(&process), 0);
        let read = |path: &str| denied(File::open(path));
        let write = |path: &str| denied(OpenOptions::new().write(true).open(path));
        let checks = [
            ("environ", read(&format!("/proc/{pid}/environ"))),
            ("mem", read(&format!("/proc/{pid}/mem"))),
            ("maps", read(&format!("/proc/{pid}/maps"))),
            ("vm-readv", denied_by(roads::read_memory(Pid::from_raw(pid), 8, &mut [0]).map(drop))),
            ("pidfd-getfd", denied_by(stolen.map(drop))),
            ("ptrace", denied_by(roads::Attached::to(Pid::from_raw(pid)).map(drop))),
            ("kcore", read("/proc/kcore")),
            ("dev-mem", read("/dev/mem")),
            ("ftrace-switch", write("/proc/sys/kernel/ftrace_enabled")),
            ("bpf-program", denied_by(roads::load_program())),
            ("init-module", denied_by(roads::offer_module())),
            ("kexec", denied_by(roads::offer_kernel())),
            ("uprobe", denied_by(roads::place_uprobe(Pid::from_raw(pid)))),
            ("core-limit", denied_by(roads::rewrite_core_limit(Pid::from_raw(pid)))),
        ];
        for (road, outcome) in checks {
            let outcome = if outcome.as_ref().is_err_and(|why| why.contains("No such file")) {
                Ok(()) // this kernel does not have it
            } else {
                outcome
            };
            self.check(&format!("{when}-{road}"), outcome);
        }
        let mut probe = plain(&[CLI, "probe", "--json", "--canary-file", NEEDLE]);
        let output = probe.arg(pid.to_string()).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        self.check(
            &format!("{when}-probe"),
            yes(report["found"] == Value::Bool(false), || report.to_string()),
        );
    }

    /// Who may not take over, and on which terms nobody may.
    fn strangers(&mut self, expected: &str) {
        fs::copy(AGENT, "/bin/stranger").unwrap();
        let output = Command::new("/bin/stranger").arg("run").output().unwrap();
        self.refused("stranger-may-not-take-over", &output, "may not take over");
        self.check("traced-heir-may-not-take-over", run_traced());
        let user = plain(&[GUEST, "as-user", AGENT, "run"]).output().unwrap();
        self.refused("user-may-not-take-over", &user, "not root");
        let tier = if expected.contains("(lsm") { "fmod_ret" } else { "lsm" };
        let weaker: [&[&str]; 3] = [
            &["run", "--leave-open", "kernel_read_file"],
            &["run", "--allow-loader", "/bin/sleep"],
            &["run", "--tier", tier],
        ];
        for flags in weaker {
            self.refused(&format!("weaker{}", flags[1]), &run(flags), "weaker than what is pinned");
        }
    }

    fn refused(&mut self, name: &str, output: &std::process::Output, why: &str) {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let right = output.status.code() == Some(71) && said.contains(why);
        self.check(name, yes(right, || said.clone()));
    }

    fn comes_back(&mut self, expected: &str) -> Running {
        let agent = start(&["run", "--canary-every", "5"], "/tmp/again.log");
        let said = wait_for(|said| said.starts_with(expected));
        let log = fs::read_to_string("/tmp/again.log").unwrap();
        self.check("comes-back", yes(said.starts_with(expected), || format!("{said} {log}")));
        self.check("says-it-was-away", yes(said.contains("no agent ran"), || said.clone()));
        let told = log.contains(r#""held":true"#) && log.contains("since_boot_s");
        self.check("says-what-held", yes(told, || log.clone()));
        agent
    }

    /// A reader as root tries without a pause while agents follow one another.
    fn upgrades(&mut self, target: &Running, agent: &mut Running, expected: &str) {
        let over = AtomicBool::new(false);
        let race = while_reading(target.pid(), || {
            thread::scope(|scope| {
                let dialler = scope.spawn(|| nobody_listened(&over));
                for number in 0..UPGRADES {
                    let log = format!("/tmp/upgrade-{number}.log");
                    let next = start(&["run", "--canary-every", "5", "--replace"], &log);
                    let ended = wait_for_end(&mut agent.0);
                    let said = wait_for(|said| said.starts_with(expected));
                    let right =
                        ended && said.starts_with(expected) && !said.contains("no agent ran");
                    let words = || format!("{said} {}", fs::read_to_string(&log).unwrap());
                    self.check(&format!("upgrade-{number}"), yes(right, words));
                    *agent = next;
                }
                over.store(true, Ordering::Relaxed);
                dialler.join().unwrap()
            })
        });
        let race_of = format!("one process through {UPGRADES} upgrades");
        let (tries, refused) = self.nothing_read(&race_of, expected, race);
        let words = || format!("{refused} of {tries} found nobody");
        self.check("somebody-listens-through-upgrades", yes(tries > 0 && refused == 0, words));
        self.check("one-set-is-left", yes(sets() == 1, || sets().to_string()));
    }

    /// Tells of a race, and checks that nobody won it.
    pub(crate) fn nothing_read<T>(&mut self, race: &str, expected: &str, read: Read<T>) -> T {
        let Read { tries, found, result } = read;
        println!("@@RACE\t{race}, by four roads\t{tries}\t{found}");
        let right = found == 0 || expected.starts_with("DEGRADED");
        let name = format!("nothing-read-{}", race.replace(' ', "-"));
        self.check(&name, yes(right, || format!("{found} of {tries}")));
        result
    }

    /// Agents that are ended at some moment of an upgrade, whichever it is.
    fn interrupted(&mut self, target: &Running, expected: &str) {
        let environ = format!("/proc/{}/environ", target.pid());
        for after_ms in [50, 200, 400, 700, 1000, 1500] {
            let mut next = start(&["run", "--replace"], "/tmp/interrupted.log");
            thread::sleep(Duration::from_millis(after_ms));
            end_by_cgroup(&mut next.0);
            let name = format!("upgrade-ended-after-{after_ms}-ms");
            self.check(&name, denied(File::open(&environ)));
            self.check(&format!("{name}-load"), denied_by(roads::load_program()));
        }
        let _agent = start(&["run", "--canary-every", "5", "--replace"], "/tmp/interrupted.log");
        // The one before may be there still, and answer.
        let log = || fs::read_to_string("/tmp/interrupted.log").unwrap();
        eventually(|| log().contains(r#""event":"state""#));
        let said = wait_for(|said| said.starts_with(expected));
        let words = || format!("{said} {}", log());
        self.check("upgrade-after-those", yes(said.starts_with(expected), words));
        let until = Instant::now() + PATIENCE;
        while sets() > 1 && Instant::now() < until {
            thread::sleep(Duration::from_millis(100));
        }
        self.check("one-set-after-those", yes(sets() == 1, || sets().to_string()));
    }

    /// Root has the agent's own file execute something else, by a socket of root's.
    fn mark_is_lost_by_exec(&mut self) {
        let socket = Path::new("/tmp/false-agent.sock");
        let own = socket_of_packets(socket);
        let answering = thread::spawn(move || {
            let (mut peer, _nameless) = own.accept().unwrap();
            assert!(peer.read(&mut [0; 256]).unwrap() > 0);
            peer.write_all(br#"{"done":true,"state":"enforcing","text":""}"#).unwrap();
        });
        let path = socket.to_str().unwrap();
        let said = read(plain(&[AGENT, "--socket", path, "guard", "--", GUEST, "load"]));
        answering.join().unwrap();
        self.check("heir-loses-its-mark-by-exec", yes(said == "Err(EPERM)", || said.clone()));
    }
}

/// What a reader without a pause got, and what was done meanwhile.
pub(crate) struct Read<T> {
    tries: u64,
    found: u64,
    pub(crate) result: T,
}

/// Root tries four roads to a process again and again, for as long as the work takes and longer.
pub(crate) fn while_reading<T>(pid: i32, work: impl FnOnce() -> T) -> Read<T> {
    let over = AtomicBool::new(false);
    let secret = fs::read_to_string(NEEDLE).unwrap();
    let (over, secret) = (&over, &secret);
    let process = Pid::from_raw(pid);
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let (mut tries, mut found) = (0_u64, 0_u64);
            while !over.load(Ordering::Relaxed) || tries < READS {
                tries += 1;
                let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let hit = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
                let reached = File::open(format!("/proc/{pid}/mem")).is_ok()
                    || roads::read_memory(process, 8, &mut [0]) != Err(Errno::EPERM)
                    || roads::load_program().is_ok();
                found += u64::from(hit || reached);
            }
            (tries, found)
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        let (tries, found) = reader.join().unwrap();
        Read { tries, found, result }
    })
}

/// Connects to the agent without a pause; how often, and how often nobody was there.
fn nobody_listened(over: &AtomicBool) -> (u64, u64) {
    let (mut tries, mut refused) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let flags = SockFlag::SOCK_CLOEXEC;
        let own = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        tries += 1;
        let connected = connect(own.as_raw_fd(), &UnixAddr::new(AGENT_SOCKET).unwrap());
        refused += u64::from(connected.is_err());
        // An agent hears so many of root's and no more, and others ask as well.
        thread::sleep(Duration::from_millis(5));
    }
    (tries, refused)
}

/// Sets of programs that are pinned.
fn sets() -> usize {
    let entries = fs::read_dir(PINS).unwrap().filter_map(Result::ok);
    entries.filter(|entry| entry.file_name().to_string_lossy().contains("set-")).count()
}

fn socket_of_packets(path: &Path) -> UnixListener {
    let flags = SockFlag::SOCK_CLOEXEC;
    let own = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    bind(own.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&own, Backlog::new(1).unwrap()).unwrap();
    own.into()
}

fn yes(right: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    right.then_some(()).ok_or_else(words)
}

fn run(arguments: &[&str]) -> std::process::Output {
    Command::new(AGENT).args(arguments).output().unwrap()
}

fn start(arguments: &[&str], log: &str) -> Running {
    let log = File::create(log).unwrap();
    Running(Command::new(AGENT).args(arguments).stderr(log).spawn().unwrap())
}

fn wait_for(right: impl Fn(&str) -> bool) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let said = status();
        if right(&said) || Instant::now() > until {
            return said;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

pub(crate) fn wait_for_end(child: &mut Child) -> bool {
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
    true
}

/// As a runtime ends a container: no signal that a hook could refuse.
pub(crate) fn end_by_cgroup(agent: &mut Child) {
    let group = Path::new("/sys/fs/cgroup/agent");
    fs::create_dir_all(group).unwrap();
    fs::write(group.join("cgroup.procs"), agent.id().to_string()).unwrap();
    fs::write(group.join("cgroup.kill"), "1").unwrap();
    assert!(wait_for_end(agent), "it survived cgroup.kill");
}

/// The agent's own file, under a tracer from its first instruction on.
fn run_traced() -> Result<(), String> {
    let log = File::create("/tmp/traced.log").unwrap();
    let traced = Running(plain(&[GUEST, "traced"]).stderr(log).spawn().unwrap());
    let pid = Pid::from_raw(traced.pid());
    loop {
        match waitpid(pid, None).unwrap() {
            WaitStatus::Exited(_, code) => {
                let said = fs::read_to_string("/tmp/traced.log").unwrap();
                return yes(code == 71 && said.contains("may not take over"), || said.clone());
            }
            WaitStatus::Signaled(..) => return Err("killed".to_owned()),
            _ => ptrace::cont(pid, None).unwrap(),
        }
    }
}
