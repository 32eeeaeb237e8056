//! Roads by a debugger, run as an attacker would: a core file made by `gcore`, and a call of
//! `getenv` inside the target.
//!
//! Both write into anonymous memory of ours, never into a file system, and are ended when they take
//! too long. gdb reads no start-up files and asks no symbol server.

use std::{
    fs::File,
    io::{self, Seek},
    os::fd::AsRawFd,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::memfd::{MFdFlags, memfd_create};
use zeroize::Zeroizing;

use super::{
    super::{
        needle::{Needle, Search},
        report::{Access, RoadResult},
        road::Road,
    },
    Subject,
};

/// gdb reads symbols of big programs for some seconds.
const PATIENCE: Duration = Duration::from_secs(25);

/// Said of a road that was open, although this attacker's tool got nothing on it.
const CANNOT_CALL: &str = "attached; this gdb cannot write this processor's registers (AMX: gdb 14 can), so it called nothing";

/// Makes a core file of the running target, all mappings included, and searches it.
pub(crate) fn gcore(subject: Subject<'_>) -> RoadResult {
    let road = Road::Gcore;
    let outcome = memfd("core").and_then(|core| {
        let path = format!("/proc/{}/fd/{}", std::process::id(), core.as_raw_fd());
        let commands = [
            "set use-coredump-filter off".to_owned(),
            "set dump-excluded-mappings on".to_owned(),
            format!("gcore {path}"),
        ];
        let said = attached(subject, &commands)?;
        Ok((core, said))
    });
    let (core, said) = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return no_gdb(road, &error),
    };
    let mut search = Search::new(subject.needle);
    match search.drain(&core, u64::MAX) {
        Ok(0) => refused(road, &said),
        Ok(bytes) => {
            let kilobytes = bytes / 1024;
            let mut result = RoadResult::new(
                road,
                Access::Open,
                format!("core file of {kilobytes} kB searched"),
            );
            result.add("core", search.found());
            result
        }
        Err(error) => RoadResult::refused(road, &error, "core file cannot be read back"),
    }
}

/// Makes the target call `getenv` and prints what it returns.
pub(crate) fn getenv(subject: Subject<'_>) -> RoadResult {
    let road = Road::GdbGetenv;
    let Some(name) = subject.variable else {
        return RoadResult::new(road, Access::Skipped, "needs the variable's name: --env NAME");
    };
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return RoadResult::new(road, Access::Skipped, "the variable's name is not plain");
    }
    let answer = match can_call() {
        Ok(true) => called(road, subject, name),
        Ok(false) => attach_only(road, subject),
        Err(error) => Err(error),
    };
    answer.unwrap_or_else(|error| no_gdb(road, &error))
}

fn called(road: Road, subject: Subject<'_>, name: &str) -> io::Result<RoadResult> {
    // gdb cannot print a sealed page, so the target copies it as well; the copy is wiped again, so that
    // later roads find only what was there before.
    let commands = [
        "set print elements 0".to_owned(),
        "set print repeats 0".to_owned(),
        format!("print (char*)getenv(\"{name}\")"),
        format!("set $copy = (char*)strdup((char*)getenv(\"{name}\"))"),
        "print $copy".to_owned(),
        "call (void*)memset($copy, 0, (unsigned long)strlen($copy))".to_owned(),
        "call (void)free($copy)".to_owned(),
    ];
    let said = attached(subject, &commands)?;
    if said.refused()? {
        return Ok(refused(road, &said));
    }
    let copies = said.copies(subject.needle)?;
    let note = if copies > 0 {
        "the target answered with the value"
    } else if said.finds("No symbol ")? > 0 {
        "attached, but this program has no symbols to call"
    } else {
        "attached and called; the answer was another one"
    };
    let mut result = RoadResult::new(road, Access::Open, note);
    result.add("answer of getenv", copies);
    Ok(result)
}

/// Whether this gdb can write all registers of this processor, which a call needs.
///
/// gdb before 14 has no room for AMX tiles: it changes what it can, fails at the rest and leaves a
/// target that dies. So it is tried on a program of our own first.
fn can_call() -> io::Result<bool> {
    let commands = ["starti", "set var $xmm0.v4_int32[0] = 5", "kill"].map(str::to_owned);
    let said = gdb("/bin/sh", &commands)?;
    Ok(said.ended && said.finds("Couldn't write ")? == 0)
}

/// What a debugger gets that can attach and look, and cannot call.
fn attach_only(road: Road, subject: Subject<'_>) -> io::Result<RoadResult> {
    let said = attached(subject, &[])?;
    if said.refused()? {
        return Ok(refused(road, &said));
    }
    Ok(RoadResult::new(road, Access::Open, CANNOT_CALL))
}

/// gdb's output, which may hold the needle: it stays in memory of ours and is only searched.
struct Said {
    output: File,
    ended: bool,
}

impl Said {
    /// How often its output has this.
    fn copies(&self, needle: &Needle) -> io::Result<u64> {
        (&self.output).rewind()?;
        let mut search = Search::new(needle);
        search.drain(&self.output, u64::MAX)?;
        Ok(search.found())
    }

    fn finds(&self, words: &str) -> io::Result<u64> {
        let words = Zeroizing::new(words.as_bytes().to_vec());
        Needle::new(words).map_or(Ok(0), |words| self.copies(&words))
    }

    fn refused(&self) -> io::Result<bool> {
        let attach = self.finds("Could not attach")? + self.finds("ptrace: ")?;
        Ok(!self.ended || attach > 0)
    }
}

/// Attaches, does as told, and lets go.
fn attached(subject: Subject<'_>, commands: &[String]) -> io::Result<Said> {
    let commands: Vec<String> = commands.iter().cloned().chain(["detach".to_owned()]).collect();
    gdb(&format!("--pid={}", subject.target.pid()), &commands)
}

fn gdb(whom: &str, commands: &[String]) -> io::Result<Said> {
    let output = memfd("gdb")?;
    let mut command = Command::new("gdb");
    command.args(["-nx", "-nh", "-q", "-batch", "-iex", "set debuginfod enabled off"]);
    command.args(commands.iter().flat_map(|line| ["-ex", line.as_str()])).arg(whom);
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    let mut child = command.spawn()?;
    let until = Instant::now() + PATIENCE;
    let ended = loop {
        if child.try_wait()?.is_some() {
            break true;
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            break false;
        }
        thread::sleep(Duration::from_millis(10));
    };
    Ok(Said { output, ended })
}

fn refused(road: Road, said: &Said) -> RoadResult {
    let note = if said.ended { "gdb could not attach" } else { "gdb did not end in time" };
    RoadResult::new(road, Access::Closed, note)
}

fn no_gdb(road: Road, error: &io::Error) -> RoadResult {
    if error.kind() == io::ErrorKind::NotFound {
        RoadResult::new(road, Access::Skipped, "gdb is not installed here")
    } else {
        RoadResult::refused(road, error, "gdb cannot be run")
    }
}

fn memfd(name: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?))
}
