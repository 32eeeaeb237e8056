//! What was opened before the agent was there: closed all the same where it can be, and told.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use cloudtaser_sys::roads;

use crate::processes::{AGENT, Running, denied, denied_by, start_target};
use crate::scenario::Scenario;

/// Open handles from before the agent's start.
pub(crate) struct Earlier {
    kcore: File,
    ftrace: File,
    environ: File,
    mem: File,
    raw: File,
    tracefs: File,
    /// A program that could see what every process does, not attached yet.
    program: OwnedFd,
    target: Running,
}

impl Earlier {
    /// Opens them all.
    pub(crate) fn open() -> Self {
        let target = start_target(false);
        let open = |path: &str| File::open(path).expect(path);
        let proc = |file: &str| format!("/proc/{}/{file}", target.pid());
        Self {
            kcore: open("/proc/kcore"),
            ftrace: OpenOptions::new().write(true).open("/proc/sys/kernel/ftrace_enabled").unwrap(),
            environ: open(&proc("environ")),
            mem: open(&proc("mem")),
            raw: open("/dev/mem"),
            tracefs: OpenOptions::new()
                .append(true)
                .open("/sys/kernel/tracing/uprobe_events")
                .unwrap(),
            program: roads::load_tracer().unwrap(),
            target,
        }
    }
}

impl Scenario {
    /// None of them gives anything now.
    pub(crate) fn what_was_opened_before(&mut self, earlier: &Earlier) {
        self.check("earlier-kcore", denied(earlier.kcore.read_at(&mut [0; 64], 0)));
        self.check("earlier-ftrace-switch", denied((&earlier.ftrace).write(b"0\n")));
        let value = fs::read_to_string("/proc/sys/kernel/ftrace_enabled").unwrap();
        self.check("ftrace-is-on", (value.trim() == "1").then_some(()).ok_or(value));
        self.check("earlier-dev-mem", denied(earlier.raw.read_at(&mut [0; 64], 0)));
        self.check("earlier-tracefs", denied((&earlier.tracefs).write(b"-:nothing\n")));
        let attached = roads::attach_program(earlier.program.as_raw_fd());
        self.check("earlier-program-is-not-attached", denied_by(attached));
        let log = fs::read_to_string("/tmp/agent.log").unwrap();
        let holder = log.lines().find(|line| line.contains("descriptors from before"));
        let own = format!("\"pid\":{},", std::process::id());
        let told = holder.is_some_and(|line| {
            let each = ["bpf-prog", "/proc/kcore", "/proc/sys/kernel/ftrace_enabled", "/dev/mem"];
            line.contains(&own) && each.iter().all(|name| line.contains(name))
        });
        self.check("earlier-descriptors-are-told", told.then_some(()).ok_or(log));
        let pid = earlier.target.pid().to_string();
        let protect = Command::new(AGENT).args(["protect", &pid]).output().unwrap();
        let said = String::from_utf8_lossy(&protect.stderr).into_owned();
        self.check("protect-a-running-process", protect.status.success().then_some(()).ok_or(said));
        self.check("earlier-environ", denied(earlier.environ.read_at(&mut [0; 64], 0)));
        self.check("earlier-mem", denied(earlier.mem.read_at(&mut [0; 64], 0)));
        let opened = File::open(format!("/proc/{pid}/task/{pid}/maps"));
        self.check("late-maps", denied(opened));
    }
}
