//! The audit file, and the number of the last record.
//!
//! A record is on the disk (`fdatasync`) before its number is, so that after a power cut no number
//! is missing. The file is opened anew when it was moved away or removed: nobody may signal the
//! agent, so what rotates logs has nothing to send.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::record::sequence;

/// No record is longer: twenty paths of 512 bytes, each byte escaped by six. The last record is
/// looked for in so much of the file's end.
const TAIL: u64 = 128 << 10;

/// A file of lines that others may move away.
#[derive(Debug)]
pub(crate) struct AuditFile {
    path: PathBuf,
    open: Option<(File, u64, u64)>,
    /// Whether the last line may lack its end.
    torn: bool,
}

impl AuditFile {
    /// Opens or creates it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut own = Self { path: path.to_owned(), open: None, torn: false };
        own.current()?;
        Ok(own)
    }

    /// The number of the last whole record in it.
    pub(crate) fn last(&mut self) -> io::Result<u64> {
        let mut file = File::open(&self.path)?;
        let from = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(from))?;
        let mut end = Vec::new();
        file.take(TAIL).read_to_end(&mut end)?;
        Ok(end.split(|byte| *byte == b'\n').rev().find_map(sequence).unwrap_or(0))
    }

    /// Appends whole lines, and returns when they are on the disk.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let torn = std::mem::replace(&mut self.torn, true);
        let file = self.current()?;
        if torn && !ends_with_line(file)? {
            file.write_all(b"\n")?;
        }
        file.write_all(lines)?;
        file.sync_data()?;
        self.torn = false;
        Ok(())
    }

    /// The file that is at the path now.
    fn current(&mut self) -> io::Result<&mut File> {
        let there = fs::metadata(&self.path).ok().map(|data| (data.dev(), data.ino()));
        let kept = self.open.take().filter(|(_, device, inode)| there == Some((*device, *inode)));
        if kept.is_none() {
            self.torn = true;
        }
        let kept = match kept {
            Some(kept) => kept,
            None => open(&self.path)?,
        };
        Ok(&mut self.open.insert(kept).0)
    }
}

fn open(path: &Path) -> io::Result<(File, u64, u64)> {
    let mut options = OpenOptions::new();
    // Readable, to see whether the last line is whole. A pipe or a device would block or swallow.
    options.read(true).append(true).create(true).mode(0o600).custom_flags(nix::libc::O_NONBLOCK);
    let file = options.open(path)?;
    let data = file.metadata()?;
    if !data.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    sync_folder(path)?;
    Ok((file, data.dev(), data.ino()))
}

fn ends_with_line(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

/// Makes a new name last.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// A number on the disk.
#[derive(Debug)]
pub(crate) struct Number(File);

impl Number {
    /// Opens or creates it; what is no number counts as 0.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, u64)> {
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut text = String::new();
        (&mut file).take(64).read_to_string(&mut text)?;
        sync_folder(path)?;
        Ok((Self(file), text.trim().parse().unwrap_or(0)))
    }

    /// Writes it in place, always as long.
    pub(crate) fn set(&self, value: u64) -> io::Result<()> {
        self.0.write_all_at(format!("{value:020}\n").as_bytes(), 0)?;
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sequence: u64) -> Vec<u8> {
        format!("{{\"sequence\":{sequence}}}\n").into_bytes()
    }

    #[test]
    fn it_goes_on_after_a_rotation_and_after_a_truncation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut file = AuditFile::open(&path).unwrap();
        assert_eq!(file.last().unwrap(), 0);
        file.append(&line(1)).unwrap();
        fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
        file.append(&line(2)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), line(2));
        assert_eq!(fs::read(folder.path().join("audit.jsonl.1")).unwrap(), line(1));
        File::create(&path).unwrap();
        file.append(&line(3)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), line(3));
        fs::remove_file(&path).unwrap();
        file.append(&line(4)).unwrap();
        assert_eq!(AuditFile::open(&path).unwrap().last().unwrap(), 4);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_line_that_was_cut_is_closed_and_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::write(&path, [line(7), b"{\"sequence\":8".to_vec()].concat()).unwrap();
        let mut file = AuditFile::open(&path).unwrap();
        assert_eq!(file.last().unwrap(), 7);
        file.append(&line(8)).unwrap();
        assert_eq!(AuditFile::open(&path).unwrap().last().unwrap(), 8);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"sequence\":7}\n{\"sequence\":8\n{\"sequence\":8}\n");
    }

    #[test]
    fn a_pipe_is_no_audit_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(AuditFile::open(&path).is_err());
    }

    #[test]
    fn a_number_survives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sequence");
        let (number, was) = Number::open(&path).unwrap();
        assert_eq!(was, 0);
        for value in [u64::MAX, 12] {
            number.set(value).unwrap();
            assert_eq!(Number::open(&path).unwrap().1, value);
        }
        fs::write(&path, "nonsense").unwrap();
        assert_eq!(Number::open(&path).unwrap().1, 0);
    }
}
