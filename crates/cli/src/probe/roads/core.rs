//! A core file by the kernel: the target is killed with a signal that dumps core.
//!
//! Tried only when the caller allows the target's death. The kernel's pattern is not touched: a
//! pattern that pipes, or a limit that forbids core files, is the answer for this machine.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};

use super::{
    super::{
        needle::Search,
        report::{Access, RoadResult},
        road::Road,
    },
    Subject,
};

/// Writing a core of ordinary size takes well under a second.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether the target may be killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Destruction {
    /// It may.
    Allowed,
    /// It must live.
    Forbidden,
}

/// Kills the target so that the kernel dumps it, searches the file, wipes and removes it.
pub(crate) fn by_signal(subject: Subject<'_>, destruction: Destruction) -> RoadResult {
    let road = Road::KernelCore;
    if destruction == Destruction::Forbidden {
        return RoadResult::new(road, Access::Skipped, "ends the target: --destructive");
    }
    let Some(place) = core_place(subject) else {
        return RoadResult::new(
            road,
            Access::Skipped,
            "core_pattern names a program or a place that this probe does not follow",
        );
    };
    raise_limit(subject);
    let before = fs::metadata(&place).ok().map(|metadata| metadata.len());
    if before.is_some() {
        let note = format!("{} is there already", place.display());
        return RoadResult::new(road, Access::Skipped, note);
    }
    if let Err(error) = kill(subject.target.nix_pid(), Signal::SIGSEGV) {
        return RoadResult::refused(road, &error.into(), "signal refused");
    }
    let until = Instant::now() + PATIENCE;
    while subject.target.name().is_ok() && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    let mut search = Search::new(subject.needle);
    match File::open(&place).and_then(|file| search.drain(file, u64::MAX)) {
        Ok(bytes) => {
            let kilobytes = bytes / 1024;
            let mut note = format!("core file of {kilobytes} kB searched");
            if let Err(error) = wipe(&place) {
                note += &format!("; it could not be wiped ({error}): remove {}", place.display());
            }
            let mut result = RoadResult::new(road, Access::Open, note);
            result.add("core", search.found());
            result
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => RoadResult::new(
            road,
            Access::Closed,
            "the kernel wrote no core file (not dumpable, or the limit is 0)",
        ),
        Err(error) => RoadResult::refused(road, &error, "core file cannot be read"),
    }
}

/// Where the kernel would write: plain names only, in the target's working directory.
fn core_place(subject: Subject<'_>) -> Option<PathBuf> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").ok()?;
    let pattern = pattern.trim();
    let simple = !pattern.contains(['|', '%', '@']) && !pattern.is_empty();
    let uses_pid = fs::read_to_string("/proc/sys/kernel/core_uses_pid").ok()?.trim() != "0";
    let directory = fs::read_link(subject.target.proc("cwd")).ok()?;
    let pid = subject.target.pid();
    let name = if uses_pid { format!("{pattern}.{pid}") } else { pattern.to_owned() };
    simple.then(|| directory.join(name))
}

/// An attacker would raise the limit first; `prlimit` is the ordinary tool for it.
fn raise_limit(subject: Subject<'_>) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &subject.target.pid().to_string(), "--core=unlimited:unlimited"]);
    // Without the tool, or the right, the limit stays: the road then ends at no core file.
    let _raised = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let filter = subject.target.proc("coredump_filter");
    // 0xff: every kind of mapping that the kernel can dump.
    let _widened = fs::write(filter, "0xff");
}

fn wipe(place: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(place)?;
    let length = file.metadata()?.len();
    io::copy(&mut io::Read::take(io::repeat(0), length), &mut file)?;
    file.sync_all()?;
    fs::remove_file(place)
}
