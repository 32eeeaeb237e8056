//! Reports of a confidential machine, as Linux hands them out: `configfs-tsm-report`, Linux 6.7, for
//! AMD SEV-SNP and Intel TDX alike. A machine that is none has no such folder, or nobody behind it,
//! and that is said; nothing is made up in its place.
//!
//! Each report has an entry of its own, which is what the kernel's document advises. The kernel takes
//! what is written when the file is *closed*, and then a refusal reaches nobody: so its count of
//! writes (`generation`) is read before, between and after, and a report that another write came
//! between is thrown away.
//!
//! Source: Documentation/ABI/testing/configfs-tsm-report.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nix::errno::Errno;

/// Where configfs is mounted.
pub(crate) const REPORTS: &str = "/sys/kernel/config/tsm/report";
/// Longer ones are none that anybody verifies: TDX has others from 8 KiB on, of another form.
const REPORT_MAX: usize = 8 * 1024;
/// What firmware gives along is at most this (`SEV_FW_BLOB_MAX_SIZE`).
const TABLE_MAX: usize = 16 * 1024;
/// A name or a number.
const LINE_MAX: usize = 64;
/// Other writers and a firmware that is busy are met so often.
const TRIES: u32 = 4;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// A kind of report that can be verified, and what the shortest one has.
const KINDS: [(&str, usize); 2] = [("sev_guest", 0x4a0), ("tdx_guest", 48 + 584)];

/// What is done with files, so that a test can stand where the kernel stands.
pub(crate) trait Files {
    /// Makes an entry.
    fn make(&self, folder: &Path) -> io::Result<()>;
    /// Takes it away.
    fn remove(&self, folder: &Path) -> io::Result<()>;
    /// Reads a file; at most so much.
    fn read(&self, file: &Path, most: usize) -> io::Result<Vec<u8>>;
    /// Writes one.
    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// The kernel's.
#[derive(Debug)]
pub(crate) struct Kernel;

/// A confidential machine: this one.
#[derive(Debug)]
pub(crate) struct Machine<F> {
    folder: PathBuf,
    files: F,
    kind: &'static str,
    least: usize,
    made: u64,
}

/// What the processor signed.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Report {
    /// Linux's name for what it is.
    pub(crate) provider: &'static str,
    /// The report or quote.
    pub(crate) report: Vec<u8>,
    /// What the host gave along.
    pub(crate) table: Vec<u8>,
}

/// Why a machine is not asked.
#[derive(Debug)]
pub(crate) enum Absent {
    /// It is none: why that is thought.
    None(&'static str),
    /// It is one, and cannot be used.
    Unusable(anyhow::Error),
}

/// An entry, which is gone when this is.
struct Entry<'a, F: Files> {
    files: &'a F,
    folder: PathBuf,
}

impl Files for Kernel {
    fn make(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder)
    }

    fn remove(&self, folder: &Path) -> io::Result<()> {
        fs::remove_dir(folder)
    }

    fn read(&self, file: &Path, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        File::open(file)?.take(limit).read_to_end(&mut bytes)?;
        if bytes.len() > most { Err(Errno::EFBIG.into()) } else { Ok(bytes) }
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        // One write: what is written in two is taken in two.
        let written = File::options().write(true).open(file)?.write(bytes)?;
        if written == bytes.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
    }
}

impl<F: Files> Machine<F> {
    /// Looks whether this is one.
    pub(crate) fn open(folder: &Path, files: F) -> Result<Self, Absent> {
        if !folder.is_dir() {
            return Err(Absent::None("the kernel has no configfs-tsm, or it is not mounted"));
        }
        let folder = folder.to_owned();
        let mut machine = Self { folder, files, kind: "", least: 0, made: 0 };
        let entry = match machine.entry() {
            Ok(entry) => entry,
            // Nobody behind it has registered.
            Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) => {
                return Err(Absent::None("the kernel knows of no confidential hardware"));
            }
            Err(error) => return Err(Absent::Unusable(error.into())),
        };
        let provider = entry.line("provider").map_err(Absent::Unusable)?;
        drop(entry);
        let known = KINDS.iter().find(|(name, _)| *name == provider);
        let Some((kind, least)) = known else {
            let error = anyhow::anyhow!("no report of {provider:?} can be verified");
            return Err(Absent::Unusable(error));
        };
        (machine.kind, machine.least) = (kind, *least);
        Ok(machine)
    }

    /// What it is.
    pub(crate) const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Has the processor sign this.
    pub(crate) fn report(&mut self, data: &[u8; 64]) -> anyhow::Result<Report> {
        let mut last = None;
        for tried in 0..TRIES {
            if tried > 0 {
                thread::sleep(PAUSE);
            }
            match self.ask(data) {
                Ok(report) => return Ok(report),
                Err(error) if is_passing(&error) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("it was not asked")))
            .with_context(|| format!("tried {TRIES} times"))
    }

    fn ask(&mut self, data: &[u8; 64]) -> anyhow::Result<Report> {
        let (kind, least) = (self.kind, self.least);
        let entry = self.entry().context("an entry")?;
        let before = entry.generation()?;
        entry.write("inblob", data)?;
        let written = before.wrapping_add(1);
        entry.expect(written)?;
        let report = entry.read("outblob", REPORT_MAX)?;
        ensure!(report.len() >= least, Passing("the report is shorter than one is"));
        let table = match entry.read("auxblob", TABLE_MAX) {
            // Not every kind has one.
            Err(error) if is(&error, Errno::ENOENT) => Vec::new(),
            other => other?,
        };
        let provider = entry.line("provider")?;
        if provider != kind {
            bail!("the report is of {provider:?} and was of {kind} when the agent began");
        }
        entry.expect(written)?;
        Ok(Report { provider: kind, report, table })
    }

    /// An entry under a name that nobody else has: one of an earlier process is taken away.
    fn entry(&mut self) -> io::Result<Entry<'_, F>> {
        self.made = self.made.wrapping_add(1);
        let name = format!("cloudtaser-{}-{}", std::process::id(), self.made);
        let folder = self.folder.join(name);
        if let Err(error) = self.files.make(&folder) {
            if error.kind() != ErrorKind::AlreadyExists {
                return Err(error);
            }
            self.files.remove(&folder)?;
            self.files.make(&folder)?;
        }
        Ok(Entry { files: &self.files, folder })
    }
}

impl<F: Files> Entry<'_, F> {
    fn read(&self, name: &'static str, most: usize) -> anyhow::Result<Vec<u8>> {
        self.files.read(&self.folder.join(name), most).context(name)
    }

    fn write(&self, name: &'static str, bytes: &[u8]) -> anyhow::Result<()> {
        self.files.write(&self.folder.join(name), bytes).context(name)
    }

    fn line(&self, name: &'static str) -> anyhow::Result<String> {
        let line = String::from_utf8(self.read(name, LINE_MAX)?).context(name)?;
        Ok(line.trim_end_matches('\n').to_owned())
    }

    fn generation(&self) -> anyhow::Result<u64> {
        self.line("generation")?.parse().context("generation")
    }

    /// That the kernel took what was written, and that nobody else wrote.
    fn expect(&self, generation: u64) -> anyhow::Result<()> {
        let found = self.generation()?;
        ensure!(found == generation, Passing("somebody else wrote, or the kernel did not take it"));
        Ok(())
    }
}

impl<F: Files> Drop for Entry<'_, F> {
    fn drop(&mut self) {
        // What stays is taken away by whoever has the name next.
        drop(self.files.remove(&self.folder));
    }
}

/// What may be otherwise at the next try.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Passing(&'static str);

fn is_passing(error: &anyhow::Error) -> bool {
    let busy = [Errno::EBUSY, Errno::EAGAIN, Errno::EINTR];
    error.is::<Passing>() || busy.into_iter().any(|errno| is(error, errno))
}

fn is(error: &anyhow::Error, errno: Errno) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.and_then(io::Error::raw_os_error) == Some(errno as i32)
}

#[cfg(test)]
mod tests;
