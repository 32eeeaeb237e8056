//! The tier that refuses nothing and kills: what those who are killed had by then, measured through
//! memory that they shared with somebody who lives on.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::outlive;
use crate::processes::{
    AGENT, GUEST, LOADER, NEEDLE, Running, SMALL, SMALL_32, STORM, guard, plain, read,
    start_target, status, write_needle,
};
use crate::scale::yes;
use crate::scenario::Scenario;

const KILLED: i32 = 9;
const BTF: &str = "/sys/kernel/btf";

/// What came of one attack.
struct Got {
    /// Whether whoever attacked was killed.
    killed: bool,
    /// Bytes that it left to the one that lives.
    bytes: usize,
    secret: bool,
}

/// The whole of it.
pub(crate) fn run(expected: &str) {
    let mut own = Scenario::new();
    write_needle();
    own.without_types(expected);
    let before = Attacks::on(false);
    let agent = own.agent("state", expected, &["--tier", "kprobe", "--allow-loader", LOADER]);
    own.show_canary();
    own.compare(&before, &Attacks::on(true));
    own.children_too();
    own.starts();
    own.programs();
    own.cores();
    own.neighbours();
    let said = status();
    own.check("state-at-the-end", yes(said.starts_with(expected), || said.clone()));
    println!("@@STATE\t{}", status());
    own.nothing_outlives_it(agent);
    own.end();
}

impl Scenario {
    /// A kernel that does not describe its types: the tier is chosen without being asked for.
    fn without_types(&mut self, expected: &str) {
        fs::copy(format!("{BTF}/vmlinux"), "/tmp/btf").unwrap();
        let done = |command: &[&str]| assert!(plain(command).status().unwrap().success());
        done(&["/bin/mount", "-t", "tmpfs", "none", BTF]);
        let output = plain(&[AGENT, "run", "--once"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let right = output.status.code() == Some(71) && said.contains("no BTF");
        self.check("without-types-is-said", yes(right, || said.clone()));
        let output = plain(&[AGENT, "run", "--once", "--btf", "/tmp/btf"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let right = output.status.success() && said.contains(expected);
        self.check("with-types-from-a-file", yes(right, || said.clone()));
        done(&["/bin/umount", BTF]);
    }

    fn compare(&mut self, without: &Attacks, with: &Attacks) {
        for ((road, before), (_, now)) in without.0.iter().zip(&with.0) {
            println!("@@KILL\t{road}\t{}\t{}", before.words(), now.words());
            let name = road.replace([' ', ','], "-");
            self.check(
                &format!("open-{name}"),
                yes(!before.killed && before.bytes > 0, || before.words()),
            );
            self.check(&format!("killed-{name}"), yes(now.killed && !now.secret, || now.words()));
        }
    }

    fn children_too(&mut self) {
        let mut shell = guard(&["/bin/sh", "-c", "/bin/sleep 300 & echo $!; wait"]);
        shell.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut shell = Running(shell.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(shell.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let got = attack(&[SMALL, "shared-attack", &format!("/proc/{}/environ", line.trim())]);
        self.check("child-is-guarded", yes(got.killed && got.bytes == 0, || got.words()));
        let said = read(guard(&[GUEST, "look-around"]));
        self.check("own-tree-stays-open", yes(said == "Ok(())", || said.clone()));
    }

    /// Every process there is, again and again, while guarded ones come and go.
    fn starts(&mut self) {
        let over = AtomicBool::new(false);
        let (tries, found) = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut tries, mut found) = (0_u64, 0_u64);
                while !over.load(Ordering::Relaxed) {
                    let entries = fs::read_dir("/proc").unwrap().flatten();
                    for pid in entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()) {
                        let path = format!("/proc/{pid}/environ");
                        found += u64::from(attack(&[SMALL, "shared-attack", &path]).secret);
                        tries += 1;
                    }
                }
                (tries, found)
            });
            assert!(guard(&[GUEST, "storm"]).status().unwrap().success());
            over.store(true, Ordering::Relaxed);
            reader.join().unwrap()
        });
        println!("@@RACE\tenviron of {STORM} starts\t{tries}\t{found}");
        self.check("starts-give-nothing", yes(found == 0, || format!("{found} of {tries}")));
    }

    fn programs(&mut self) {
        let unlisted = plain(&[GUEST, "load"]).output().unwrap();
        self.check("unlisted-loader-is-killed", yes(is_killed(&unlisted), || words(&unlisted)));
        let said = read(plain(&[LOADER, "load"]));
        self.check("listed-loader", yes(said == "Ok(())", || said.clone()));
        let tracer = plain(&[GUEST, "trace", "1"]);
        // Nobody is hindered in what concerns nobody who is guarded.
        let mut tracer = Running({ tracer }.stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(tracer.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.check("unguarded-is-traced", yes(line.trim() == "attached", || line.clone()));
    }

    /// Nothing is pinned, which the state says.
    fn nothing_outlives_it(&mut self, mut agent: Running) {
        let target = start_target(true);
        outlive::end_by_cgroup(&mut agent.0);
        drop(agent);
        let environ = File::open(format!("/proc/{}/environ", target.pid()));
        self.check("open-without-the-agent", environ.map(drop).map_err(|e| e.to_string()));
        let left = fs::exists("/sys/fs/bpf/cloudtaser").unwrap();
        self.check("no-pin-is-left", yes(!left, || "a pin is left".to_owned()));
    }
}

/// By road, in order.
struct Attacks(Vec<(&'static str, Got)>);

impl Attacks {
    fn on(guarded: bool) -> Self {
        let target = start_target(guarded);
        let pid = target.pid().to_string();
        let file = |name: &str| format!("/proc/{pid}/{name}");
        let start = start_of_environment(&pid);
        let (environ, auxv, maps) = (file("environ"), file("auxv"), file("maps"));
        let roads: [(&str, &[&str]); 8] = [
            ("environ", &[SMALL, "shared-attack", &environ]),
            ("environ by a 32-bit program", &[SMALL_32, "shared-attack", &environ]),
            ("environ, descriptors shared", &[SMALL, "relayed", &environ]),
            ("auxv, descriptors shared", &[SMALL, "relayed", &auxv]),
            ("maps, descriptors shared", &[SMALL, "relayed", &maps]),
            ("process-vm-readv", &[SMALL, "shared-peek", &pid, &start]),
            ("kcore", &[SMALL, "shared-attack", "/proc/kcore"]),
            ("kcore, descriptors shared", &[SMALL, "relayed", "/proc/kcore"]),
        ];
        Self(roads.into_iter().map(|(road, command)| (road, attack(command))).collect())
    }
}

impl Got {
    fn words(&self) -> String {
        match (self.killed, self.secret, self.bytes) {
            (_, true, _) => "GOT IT".to_owned(),
            (true, false, 0) => "killed, had nothing".to_owned(),
            (true, false, bytes) => format!("killed, had {bytes} bytes without the secret"),
            (false, false, bytes) => format!("{bytes} bytes"),
        }
    }
}

/// Where the environment begins, from a file that everybody may read.
fn start_of_environment(pid: &str) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let behind = stat.rsplit_once(") ").unwrap().1;
    // The 50th field of proc(5), of which the third is the first behind the name.
    behind.split(' ').nth(50 - 3).unwrap().to_owned()
}

fn attack(command: &[&str]) -> Got {
    let output = plain(command).stdin(Stdio::null()).output().unwrap();
    let mut rest = output.stdout.splitn(3, |byte| *byte == b'\n');
    let number = |line: Option<&[u8]>| -> i64 {
        String::from_utf8_lossy(line.unwrap_or_default()).parse().unwrap_or(-1)
    };
    let (signal, bytes) = (number(rest.next()), number(rest.next()));
    let secret = fs::read(NEEDLE).unwrap();
    let found = output.stdout.windows(secret.len()).any(|part| part == secret);
    Got {
        killed: signal == i64::from(KILLED),
        bytes: usize::try_from(bytes).unwrap_or(0),
        secret: found,
    }
}

fn is_killed(output: &Output) -> bool {
    output.status.signal() == Some(KILLED)
}

fn words(output: &Output) -> String {
    format!("{} {}", output.status, String::from_utf8_lossy(&output.stdout))
}
