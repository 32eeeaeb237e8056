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

use super::{
    super::{
        needle::Search,
        report::{Access, RoadResult},
        road::Road,
    },
    Subject,
};

/// gdb reads symbols of big programs for some seconds.
const PATIENCE: Duration = Duration::from_secs(25);

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
        let said = gdb(subject, &commands)?;
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
    let said = match gdb(subject, &commands) {
        Ok(said) => said,
        Err(error) => return no_gdb(road, &error),
    };
    if said.refused() {
        return refused(road, &said);
    }
    let note = if said.copies > 0 {
        "the target answered with the value"
    } else if said.lacks_symbol {
        "attached, but this program has no symbols to call"
    } else {
        "attached and called; the answer was another one"
    };
    let mut result = RoadResult::new(road, Access::Open, note);
    result.add("answer of getenv", said.copies);
    result
}

/// What matters of gdb's output; the output itself may hold the needle and is not kept.
struct Said {
    copies: u64,
    lacks_symbol: bool,
    cannot_attach: bool,
    ended: bool,
}

impl Said {
    const fn refused(&self) -> bool {
        self.cannot_attach || !self.ended
    }
}

fn gdb(subject: Subject<'_>, commands: &[String]) -> io::Result<Said> {
    let output = memfd("gdb")?;
    let mut command = Command::new("gdb");
    command.args(["-nx", "-nh", "-q", "-batch", "-iex", "set debuginfod enabled off"]);
    command.args(["-p", &subject.target.pid().to_string()]);
    command.args(commands.iter().flat_map(|line| ["-ex", line.as_str()])).args(["-ex", "detach"]);
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
    let copies = |needle: &super::super::needle::Needle| {
        let mut search = Search::new(needle);
        (&output).rewind()?;
        search.drain(&output, u64::MAX)?;
        Ok::<_, io::Error>(search.found())
    };
    let says = |text: &str| {
        let words = zeroize::Zeroizing::new(text.as_bytes().to_vec());
        super::super::needle::Needle::new(words)
            .is_ok_and(|words| copies(&words).is_ok_and(|n| n > 0))
    };
    Ok(Said {
        copies: copies(subject.needle)?,
        lacks_symbol: says("No symbol "),
        cannot_attach: says("Could not attach") || says("ptrace: "),
        ended,
    })
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
