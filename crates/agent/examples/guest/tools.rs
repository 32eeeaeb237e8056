//! Debuggers and tracers as Debian has them: each gets the secret of a process that nobody guards,
//! as root, and nothing of one that is. And what must go on beside the agent: loaders that a node
//! has anyway, another product on the same hooks, a tracer that is listed, readers of `/proc`.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::processes::{
    AGENT, GUEST, LOADER, NEEDLE, Running, denied, guard, plain, read, status, write_needle,
};
use crate::scale::yes;
use crate::scenario::Scenario;
use crate::second::{As, Second};

/// What an attacker may take, and what a tracer is let to run.
const PATIENCE: Duration = Duration::from_secs(300);
const GOT: &str = "/tmp/got";
/// The same program in a file that the operator lists; what it loads is not looked at.
const LISTED: &str = "/usr/bin/bpftrace-listed";

/// The whole of it.
pub(crate) fn run(expected: &str) {
    let mut own = Scenario::new();
    write_needle();
    drop(fs::write("/proc/sys/kernel/yama/ptrace_scope", "0"));
    fs::copy("/usr/bin/bpftrace", LISTED).unwrap();
    let first = Second::start(GUEST, As::Module);
    own.tools(false);
    let agent = own.agent("state", expected, &["--allow-loader", LOADER, "--allow-loader", LISTED]);
    own.tools(true);
    own.second("second-before-the-agent", first);
    let later = Second::start(LOADER, As::Module);
    own.second("second-after-the-agent", later);
    own.loaders_of_a_node();
    own.listed_tracer();
    own.started_under_a_tracer();
    own.readers();
    own.neighbours();
    let said = status();
    own.check("state-at-the-end", yes(said.starts_with(expected), || said.clone()));
    println!("@@STATE\t{}", status());
    drop(agent);
    own.end();
}

/// What agents of a node read of every process and thread.
const FILES: [&str; 11] = [
    "cgroup",
    "cmdline",
    "comm",
    "io",
    "limits",
    "mountinfo",
    "sched",
    "schedstat",
    "stat",
    "statm",
    "status",
];

/// One tool, in a shell; `P` is the target, `S`-`E` where its environment is.
const TOOLS: [(&str, &str); 11] = [
    ("gdb-dump", "gdb -nx -q -batch -p $P -ex \"dump binary memory /tmp/got $S $E\""),
    ("gdb-core", "gdb -nx -q -batch -p $P -ex 'generate-core-file /tmp/got'"),
    ("gcore", "gcore -o /tmp/got $P"),
    ("strace", "timeout 4 strace -f -s 200 -e trace=write -o /tmp/got -p $P"),
    (
        "perf",
        "timeout 20 perf record -e syscalls:sys_enter_write -c 1 --call-graph dwarf,32768 -o /tmp/got -p $P sleep 3",
    ),
    (
        "bpftrace",
        "timeout 240 bpftrace -e \"tracepoint:syscalls:sys_enter_write /pid == $P/ \
         { printf(\\\"%s\\\", str(args->buf)); exit(); }\" > /tmp/got",
    ),
    ("cat", "cat /proc/$P/environ > /tmp/got"),
    ("cat-task", "cat /proc/$P/task/$P/environ > /tmp/got"),
    ("dd", "dd if=/proc/$P/mem bs=1 skip=$((S)) count=$((E - S)) of=/tmp/got"),
    ("nsenter", "nsenter -t $P -p -m cat /proc/$P/environ > /tmp/got"),
    ("grep", "cat /proc/*/environ > /tmp/got"),
];

impl Scenario {
    fn tools(&mut self, guarded: bool) {
        let target = writing_target(guarded);
        let pid = target.pid();
        let (start, end) = environment_of(pid);
        for (tool, script) in TOOLS {
            for old in fs::read_dir("/tmp").unwrap().flatten() {
                if old.file_name().to_string_lossy().starts_with("got") {
                    fs::remove_file(old.path()).unwrap();
                }
            }
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", script]).env("P", pid.to_string()).current_dir("/tmp");
            shell.env("S", start.to_string()).env("E", end.to_string());
            shell.env("HOME", "/tmp").stdin(Stdio::null());
            let said = within(shell);
            let found = fs::read_dir("/tmp").unwrap().flatten().any(|entry| {
                entry.file_name().to_string_lossy().starts_with("got") && has_secret(&entry.path())
            });
            let words = || format!("found: {found}; {said}");
            let phase = if guarded { "with" } else { "without" };
            self.check(&format!("{tool}-{phase}"), yes(found != guarded, words));
            // It goes on as before, whoever was refused.
            let lives = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let lives = lives.contains(") S ") || lives.contains(") R ") || lives.contains(") D ");
            self.check(&format!("{tool}-{phase}-lives"), yes(lives, || "it does not".to_owned()));
        }
    }

    /// The other product's verdict holds beside ours, and ours beside its.
    fn second(&mut self, name: &str, second: Second) {
        fs::write("/tmp/allowed", "x").unwrap();
        let forbidden = File::create("/tmp/forbidden");
        self.check(&format!("{name}-refuses"), denied(forbidden));
        let allowed = File::open("/tmp/allowed").map(drop).map_err(|error| error.to_string());
        self.check(&format!("{name}-lets-through"), allowed);
        let target = writing_target(true);
        let environ = File::open(format!("/proc/{}/environ", target.pid()));
        self.check(&format!("{name}-beside-ours"), denied(environ));
        let other = Running(Command::new("/bin/sleep").arg("300").spawn().unwrap());
        let traced = cloudtaser_sys::roads::Attached::to(nix::unistd::Pid::from_raw(other.pid()));
        let traced = traced.map(drop).map_err(|errno| errno.to_string());
        self.check(&format!("{name}-unguarded-is-traced"), traced);
        let said = second.end();
        self.check(&format!("{name}-sees-its-hooks"), yes(said == "true", || said.clone()));
    }

    /// Systemd and runc load programs at each unit's and each pod's start.
    fn loaders_of_a_node(&mut self) {
        for program in ["/usr/lib/systemd/systemd", "/usr/bin/runc"] {
            let said = read(plain(&[program, "load"]));
            let name = program.rsplit('/').next().unwrap();
            self.check(&format!("loader-{name}"), yes(said == "Ok(())", || said.clone()));
        }
        // The same bytes by another name.
        let said = read(plain(&[GUEST, "load"]));
        self.check("loader-by-no-name", yes(said == "Err(EPERM)", || said.clone()));
    }

    /// A tracer that the operator listed sees what nobody guards.
    fn listed_tracer(&mut self) {
        let target = writing_target(false);
        let script = format!(
            "timeout 240 {LISTED} -e \"tracepoint:syscalls:sys_enter_write /pid == {}/ \
             {{ printf(\\\"%s\\\", str(args->buf)); exit(); }}\" > {GOT}",
            target.pid()
        );
        let said = within({
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &script]).env("HOME", "/tmp").stdin(Stdio::null());
            shell
        });
        let found = has_secret(GOT.as_ref());
        self.check("listed-tracer-works", yes(found, || said.clone()));
    }

    /// A tracer that was there first: nothing is started under a guard that is none.
    fn started_under_a_tracer(&mut self) {
        let mut strace = plain(&["/usr/bin/strace", "-f", "-s", "200", "-o", GOT, AGENT]);
        strace.args(["guard", "--degraded", "--", "/bin/sh", "-c", "echo $GUEST_SECRET"]);
        strace.env("GUEST_SECRET", fs::read_to_string(NEEDLE).unwrap());
        let output = strace.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let right = !output.status.success() && said.is_empty();
        self.check("traced-guard-starts-nothing", yes(right, || format!("{output:?}")));
    }

    /// As kubelet, a runtime and a profiler look at all processes, all day.
    fn readers(&mut self) {
        let target = writing_target(true);
        let threads = fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap().flatten();
        let mut folders: Vec<_> = threads.map(|entry| entry.path()).collect();
        folders.push(format!("/proc/{}", target.pid()).into());
        let mut broken = Vec::new();
        for folder in &folders {
            for file in FILES {
                match fs::read(folder.join(file)) {
                    Ok(bytes) if !bytes.is_empty() => {}
                    Ok(_) => broken.push(format!("{file} is empty")),
                    Err(error) => broken.push(format!("{file}: {error}")),
                }
            }
            for link in ["exe", "ns/cgroup", "ns/ipc", "ns/mnt", "ns/net", "ns/pid", "ns/uts"] {
                if let Err(error) = fs::read_link(folder.join(link)) {
                    broken.push(format!("{link}: {error}"));
                }
            }
            if let Err(error) = fs::read_dir(folder.join("fd")).map(Iterator::count) {
                broken.push(format!("fd: {error}"));
            }
        }
        self.check("readers-of-proc", yes(broken.is_empty(), || broken.join(", ")));
        // Addresses are zero for who may not see them; a profiler starts from them.
        let (start, end) = environment_of(target.pid());
        self.check("stat-has-its-addresses", yes(start > 0 && end > start, || start.to_string()));
        let top = read(plain(&["/bin/busybox", "top", "-b", "-n", "1"]));
        self.check("top", yes(top.contains("guest"), || top.clone()));
    }
}

/// Has the secret in its environment, and writes it down again and again.
fn writing_target(guarded: bool) -> Running {
    // A pipe that it holds open itself: a clock that needs no other process.
    const SCRIPT: &str = "exec 3<>/tmp/never; echo; \
                          while :; do echo \"$GUEST_SECRET\" > /dev/null; read -t 1 nothing <&3; done";
    if !fs::exists("/tmp/never").unwrap() {
        read(plain(&["/bin/busybox", "mkfifo", "/tmp/never"]));
    }
    let command = ["/bin/sh", "-c", SCRIPT];
    let mut start = if guarded { guard(&command) } else { plain(&command) };
    start.env_clear().env("GUEST_SECRET", fs::read_to_string(NEEDLE).unwrap()).current_dir("/tmp");
    let mut target = Running(start.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut output = BufReader::new(target.0.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    target
}

/// Start and end, from the file that everybody may read.
fn environment_of(pid: i32) -> (u64, u64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let behind = stat.rsplit_once(") ").unwrap().1;
    let field = |number: usize| behind.split(' ').nth(number - 3).unwrap().trim().parse().unwrap();
    (field(50), field(51))
}

fn has_secret(file: &std::path::Path) -> bool {
    let secret = fs::read(NEEDLE).unwrap();
    let bytes = fs::read(file).unwrap_or_default();
    bytes.windows(secret.len()).any(|part| part == secret)
}

/// What a tool said, or that it did not end.
fn within(mut start: Command) -> String {
    let log = File::create("/tmp/tool.log").unwrap();
    let mut child = Running(start.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    let until = Instant::now() + PATIENCE;
    while child.0.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            return "it did not end".to_owned();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let said = fs::read("/tmp/tool.log").unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let tail = said.chars().rev().take(300).collect::<Vec<_>>();
    tail.into_iter().rev().collect()
}
