//! The canary: a guarded child that holds nothing, and the round in which it is attacked.
//!
//! Each round has a canary and an attacker of its own, so that nothing of an earlier one speaks for
//! this one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use cloudtaser_sys::roads::{self, Code, Shared};
use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Pid;

use crate::bpf::{Own, Tier};
use crate::host;
use crate::pins::Decoy;
use crate::road::Attack;
use crate::table::Table;

/// An attack takes milliseconds; a loaded machine or an emulated one takes some seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many attackers are remembered, for reports that are read late.
const REMEMBERED: usize = 64;

/// Our own attackers, whose denials are no news.
///
/// SECURITY: each with the time in which its number was its own. Root can have a process started
/// under a number that is free again, and would otherwise attack unreported.
#[derive(Debug, Default)]
pub(crate) struct Attackers(Mutex<VecDeque<(u32, Range<Duration>)>>);

impl Attackers {
    /// Whether the process of this number was one of ours at that time after boot.
    pub(crate) fn has(&self, pid: u32, at: Duration) -> bool {
        self.lock().iter().any(|(known, lived)| *known == pid && lived.contains(&at))
    }

    fn remember(&self, pid: u32, from: Duration) {
        let mut known = self.lock();
        known.push_back((pid, from..Duration::MAX));
        if known.len() > REMEMBERED {
            known.pop_front();
        }
    }

    fn ended(&self, pid: u32, until: Duration) {
        if let Some((_, lived)) = self.lock().iter_mut().rev().find(|(known, _)| *known == pid) {
            lived.end = until;
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u32, Range<Duration>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits to be guarded, maps code, and waits until the agent closes its standard input.
pub(crate) fn wait() -> anyhow::Result<()> {
    // Without a guard it is killed by a signal that dumps core; it has nothing to dump.
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // Says that the limit is set.
    io::stdout().write_all(b"!")?;
    io::stdout().flush()?;
    io::stdin().read_exact(&mut [0]).context("nobody guards it")?;
    let memfd = File::from(memfd_create(c"canary", MFdFlags::empty())?);
    (&memfd).write_all(b"0")?;
    let (file, _code) = match runs_code() {
        Some(both) => both,
        None => (memfd.try_clone()?, Code::of(&memfd)?),
    };
    let shared = Shared::with(b"0")?;
    writeln!(io::stdout(), "{} {} {}", file.as_raw_fd(), memfd.as_raw_fd(), shared.name())?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A file without a name, on a file system where files can be run, with its code.
fn runs_code() -> Option<(File, Code)> {
    ["/run", "/tmp", "/dev/shm"].into_iter().find_map(|folder| {
        let mut options = File::options();
        options.read(true).write(true).mode(0o600).custom_flags(OFlag::O_TMPFILE.bits());
        let written = options.open(folder).ok()?;
        written.set_len(1).ok()?;
        // Who maps it has nobody with it open for writing.
        let file = File::open(format!("/proc/self/fd/{}", written.as_raw_fd())).ok()?;
        drop(written);
        let code = Code::of(&file).ok()?;
        Some((file, code))
    })
}

/// How an attacker goes about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// It walks all roads itself.
    Alone,
    /// It sends a child on each, which the tier may kill.
    Each,
}

impl Way {
    /// What this tier takes.
    pub(crate) const fn of(tier: Tier) -> Self {
        if tier.refuses() { Self::Alone } else { Self::Each }
    }
}

/// One round: a canary, its mark, an attacker, the answer.
pub(crate) fn round(
    table: &Table,
    attackers: &Attackers,
    own: Own,
    decoy: Option<&Decoy>,
    way: Way,
) -> anyhow::Result<Attack> {
    let mut canary = Ended(child(&["canary"])?);
    let mut ready = canary.0.stdout.take().context("no pipe")?;
    ready.read_exact(&mut [0]).context("the canary did not start")?;
    let pid = Pid::from_raw(i32::try_from(canary.0.id())?);
    table.guard(pid, &roads::open_process(pid)?)?;
    canary.0.stdin.as_mut().context("no pipe")?.write_all(b"\n")?;
    let mut files = String::new();
    BufReader::new(ready).read_line(&mut files)?;
    let files: Vec<&str> = files.split_whitespace().collect();
    let [code, memfd, shared] = files[..] else { bail!("the canary has no code") };
    let agent = Pid::this().to_string();
    let canary = pid.to_string();
    let arguments = ["attack", "--agent", &agent, "--canary", &canary];
    let files = ["--code", code, "--memfd", memfd, "--shared", shared];
    let numbers = [own.map, own.program, own.link].map(|id| id.to_string());
    let [map, program, link] = &numbers;
    let ids = ["--map", map, "--program", program, "--link", link];
    let born = host::since_boot();
    let folder = decoy.map(Decoy::renew).transpose()?;
    let folder = folder.map(|folder| folder.to_string_lossy().into_owned());
    let pin: Vec<&str> = folder.iter().flat_map(|folder| ["--decoy", folder]).collect();
    let each: &[&str] = if way == Way::Each { &["--each"] } else { &[] };
    let mut attacker =
        Ended(child(&[&arguments[..], &files[..], &ids[..], &pin[..], each].concat())?);
    attackers.remember(attacker.0.id(), born);
    // SECURITY: a stranger to the canary all the same, but nobody makes it say what it did not see.
    let pid = Pid::from_raw(i32::try_from(attacker.0.id())?);
    table.guard(pid, &roads::open_process(pid)?)?;
    let mut answer = attacker.0.stdout.take().context("no pipe")?;
    drop(attacker.0.stdin.take().map(|mut word| word.write_all(b"\n")));
    let reader = thread::spawn(move || {
        let mut text = String::new();
        answer.read_to_string(&mut text).map(|_len| text)
    });
    let waited = attacker.wait();
    attackers.ended(attacker.0.id(), host::since_boot());
    waited?;
    let Ok(text) = reader.join() else { bail!("the answer could not be read") };
    serde_json::from_str(&text?).context("the attacker gave no answer")
}

fn child(arguments: &[&str]) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments).env_clear().current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

/// A child that does not outlive its round.
struct Ended(Child);

impl Ended {
    fn wait(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.0.try_wait()?.is_none() {
            ensure!(Instant::now() < until, "the attacker did not end in time");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_somebody_else_has_by_now_is_news() {
        let attackers = Attackers::default();
        let at = Duration::from_millis;
        attackers.remember(7, at(10));
        assert!(attackers.has(7, at(15)) && !attackers.has(7, at(5)) && !attackers.has(8, at(15)));
        attackers.ended(7, at(20));
        assert!(attackers.has(7, at(19)) && !attackers.has(7, at(20)));
    }
}
