//! Which programs may have themselves guarded: files by their SHA-256.
//!
//! A caller's program is opened once, through the kernel's own link to it, and everything is asked
//! of that one file. It may be on a file system whose owner answers when it likes, which would
//! hold up the agent: only file systems whose answers come from this kernel are read.
//!
//! What this is not: a judgement on what runs. A wrapper starts any program, so whoever can run one
//! beside the socket can have any program guarded. The agent's record says who did.

mod earlier;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use cloudtaser_core::names::WRAPPER;
use data_encoding::HEXLOWER_PERMISSIVE;
use nix::libc;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use sha2::{Digest as _, Sha256};

/// The wrapper's budget is 4 MiB. Larger files are looked at only where a wrapper that was named
/// has just their size, as one that is built for debugging.
const FILE_MAX: u64 = 8 << 20;
/// Files whose digest is remembered. A node has one wrapper file per pod.
const REMEMBERED: usize = 1024;
/// A file that changed less than this ago may change again within one tick of the file system's
/// clock.
const SETTLED_SECONDS: i64 = 2;
/// What a list of mounts may have; a container with more has no guard.
const MOUNTS_MAX: u64 = 4 << 20;

/// File systems that are read without anybody else's help, and `rootfs` of an initial archive.
const LOCAL: &[&str] = &[
    "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "rootfs", "squashfs",
    "tmpfs", "xfs", "zfs",
];

/// SHA-256 of a program file.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Digest([u8; 32]);

/// A wrapper on the command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Named {
    /// By its digest.
    Digest(Digest),
    /// By a file, read once at the start.
    File(PathBuf),
}

/// Neither a path nor a digest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a digest is written sha256: and 64 hex digits")]
pub(crate) struct NamedError;

/// Why a caller's program is no wrapper.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stranger {
    /// Another one.
    #[error("its program ({0}) is none of the wrappers that the agent knows")]
    Digest(Digest),
    /// Not one that is read.
    #[error("its program lies on a file system of kind {0}, which is not read")]
    FileSystem(String),
    /// It cannot be read.
    #[error("its program cannot be read")]
    Read(#[from] io::Error),
    /// Too large to be one, or no file.
    #[error("its program is no file of a wrapper's size")]
    Size,
}

/// The wrappers that are known, and the files that were looked at.
#[derive(Debug)]
pub(crate) struct Wrappers {
    known: BTreeSet<Digest>,
    sizes: BTreeSet<u64>,
    seen: BTreeMap<Stamp, Digest>,
    /// Those that were read of files.
    files: Vec<earlier::Known>,
}

/// A file as it was when it was read.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Wrappers {
    /// Reads the files that were named, and the wrapper beside the agent's own program.
    pub(crate) fn open(named: &[Named]) -> anyhow::Result<Self> {
        let mut wrappers = Self::none();
        let beside = std::env::current_exe().ok().map(|own| own.with_file_name(WRAPPER));
        if let Some(file) = beside.filter(|file| file.is_file()) {
            wrappers.add_file(&file)?;
        }
        for wrapper in named {
            match wrapper {
                Named::Digest(digest) => drop(wrappers.known.insert(*digest)),
                Named::File(path) => wrappers.add_file(path)?,
            }
        }
        Ok(wrappers)
    }

    /// Knows those as well that an agent of this node knew before, and writes down those of now.
    ///
    /// # Errors
    /// Where they cannot be written down; those of before are known all the same.
    pub(crate) fn remember(&mut self, path: &Path) -> io::Result<()> {
        let (known, kept) = match earlier::keep(path, &self.files) {
            Ok(all) => (all, Ok(())),
            Err(error) => (earlier::read(path), Err(error)),
        };
        for (digest, size) in known {
            self.known.insert(digest);
            self.sizes.insert(size);
        }
        kept
    }

    const fn none() -> Self {
        Self {
            known: BTreeSet::new(),
            sizes: BTreeSet::new(),
            seen: BTreeMap::new(),
            files: Vec::new(),
        }
    }

    fn add_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("wrapper {shown}"))?;
        let data = file.metadata().with_context(|| format!("wrapper {shown}"))?;
        ensure!(data.is_file(), "wrapper {shown} is no file");
        let digest = hash(file, data.len()).with_context(|| format!("wrapper {shown}"))?;
        self.known.insert(digest);
        self.sizes.insert(data.len());
        self.files.push((digest, data.len()));
        Ok(())
    }

    /// The digests that are known.
    pub(crate) fn digests(&self) -> impl Iterator<Item = String> {
        self.known.iter().map(ToString::to_string)
    }

    /// The digest of the wrapper that this process runs. The caller holds its descriptor, and asks
    /// afterwards whether it has ended.
    pub(crate) fn recognise(&mut self, pid: Pid) -> Result<Digest, Stranger> {
        self.judge(pid, false)
    }

    /// The same for each process of a node: files of another size than any wrapper's are not read.
    pub(crate) fn recognise_quickly(&mut self, pid: Pid) -> Result<Digest, Stranger> {
        self.judge(pid, self.sizes.len() >= self.known.len())
    }

    fn judge(&mut self, pid: Pid, by_size: bool) -> Result<Digest, Stranger> {
        let digest = self.digest_of(pid, by_size)?;
        if self.known.contains(&digest) { Ok(digest) } else { Err(Stranger::Digest(digest)) }
    }

    fn digest_of(&mut self, pid: Pid, by_size: bool) -> Result<Digest, Stranger> {
        // Nothing of the file's own is run by this: the link leads to it without a look-up.
        let mut path_only = OpenOptions::new();
        path_only.read(true).custom_flags(libc::O_PATH);
        let place = path_only.open(format!("/proc/{pid}/exe"))?;
        let kind = file_system(pid, &place)?;
        if !LOCAL.contains(&kind.as_str()) {
            return Err(Stranger::FileSystem(kind));
        }
        let file = File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
        let data = file.metadata()?;
        let known = self.sizes.contains(&data.len());
        if !data.is_file() || (data.len() > FILE_MAX || by_size) && !known {
            return Err(Stranger::Size);
        }
        let stamp = Stamp::of(&data);
        if let Some(digest) = self.seen.get(&stamp) {
            return Ok(*digest);
        }
        let digest = hash(file, data.len())?;
        if stamp.is_settled() {
            if self.seen.len() >= REMEMBERED {
                self.seen.clear();
            }
            self.seen.insert(stamp, digest);
        }
        Ok(digest)
    }
}

impl Stamp {
    fn of(data: &fs::Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }

    /// SECURITY: a number is used again for another file, and a change within one tick of the clock
    /// leaves the time as it was. What a file system's clock is, this clock is.
    fn is_settled(&self) -> bool {
        clock_gettime(ClockId::CLOCK_REALTIME_COARSE)
            .is_ok_and(|now| now.tv_sec() - self.changed.0 >= SETTLED_SECONDS)
    }
}

/// Reads no more than the file had when it was looked at.
pub(crate) fn hash(file: File, len: u64) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut file = file.take(len);
    let mut piece = vec![0; 64 * 1024];
    loop {
        let len = file.read(&mut piece)?;
        if len == 0 {
            return Ok(Digest(hasher.finalize().into()));
        }
        hasher.update(piece.get(..len).unwrap_or_default());
    }
}

/// The kind of file system that a file of this process lies on, without asking that file system.
fn file_system(pid: Pid, place: &File) -> io::Result<String> {
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", place.as_raw_fd()))?;
    let mount = about.lines().find_map(|line| line.strip_prefix("mnt_id:")).unwrap_or_default();
    let mut mounts = String::new();
    File::open(format!("/proc/{pid}/mountinfo"))?.take(MOUNTS_MAX).read_to_string(&mut mounts)?;
    Ok(kind_of(&mounts, mount.trim()).unwrap_or("unknown").to_owned())
}

/// The form of a line: number, parent, device, root, place, options, more of them, `-`, kind.
fn kind_of<'a>(mounts: &'a str, mount: &str) -> Option<&'a str> {
    let line = mounts.lines().find(|line| line.split(' ').next() == Some(mount))?;
    line.split_once(" - ")?.1.split(' ').next()
}

impl FromStr for Named {
    type Err = NamedError;

    fn from_str(text: &str) -> Result<Self, NamedError> {
        let Some(hex) = text.strip_prefix("sha256:") else { return Ok(Self::File(text.into())) };
        let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_no_hex| NamedError)?;
        Ok(Self::Digest(Digest(bytes.try_into().map_err(|_short| NamedError)?)))
    }
}

impl Digest {
    /// Its bytes.
    pub(crate) const fn bytes(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_wrapper_is_named_by_file_or_by_digest() {
        assert_eq!(hash(File::open("/dev/null").unwrap(), 1).unwrap().to_string(), EMPTY);
        let named = |text: &str| text.parse::<Named>();
        assert_eq!(named("/bin/w"), Ok(Named::File("/bin/w".into())));
        assert!(matches!(named(EMPTY), Ok(Named::Digest(digest)) if digest.to_string() == EMPTY));
        for bad in ["sha256:", "sha256:ab", "sha256:zz"] {
            assert_eq!(named(bad), Err(NamedError), "{bad}");
        }
    }

    #[test]
    fn a_process_is_what_its_file_hashes_to() {
        let own = std::env::current_exe().unwrap();
        let mut wrappers = Wrappers::none();
        wrappers.sizes.insert(fs::metadata(&own).unwrap().len());
        let digest = match wrappers.recognise(Pid::this()) {
            Err(Stranger::Digest(digest)) => digest,
            Err(Stranger::FileSystem(kind)) => {
                println!("SKIP: this test lies on {kind}, which is not read");
                return;
            }
            other => panic!("{other:?}"),
        };
        wrappers.add_file(&own).unwrap();
        assert_eq!(wrappers.recognise(Pid::this()).unwrap(), digest);
        // An agent of another version, on the same node.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wrappers");
        wrappers.remember(&path).unwrap();
        let mut later = Wrappers::none();
        assert!(later.recognise(Pid::this()).is_err());
        later.remember(&path).unwrap();
        assert_eq!(later.recognise_quickly(Pid::this()).unwrap(), digest);
        wrappers.known.clear();
        assert!(matches!(wrappers.recognise(Pid::this()), Err(Stranger::Digest(_))));
        wrappers.sizes.clear();
        wrappers.seen.clear();
        let is_large = fs::metadata(&own).unwrap().len() > FILE_MAX;
        assert_eq!(matches!(wrappers.recognise(Pid::this()), Err(Stranger::Size)), is_large);
    }

    #[test]
    fn a_file_that_just_changed_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w");
        fs::write(&file, "x").unwrap();
        assert!(!Stamp::of(&fs::metadata(&file).unwrap()).is_settled());
        let old = Stamp { changed: (1, 0), ..Stamp::of(&fs::metadata(&file).unwrap()) };
        assert!(old.is_settled());
    }

    #[test]
    fn the_kind_of_a_mount_stands_behind_the_dash() {
        let mounts = "23 1 0:21 / / rw - rootfs rootfs rw\n\
                      24 23 0:5 / /data rw,nosuid shared:5 master:1 - fuse.x x rw\n";
        assert_eq!(kind_of(mounts, "23"), Some("rootfs"));
        assert_eq!(kind_of(mounts, "24"), Some("fuse.x"));
        assert_eq!(kind_of(mounts, "2"), None);
    }
}
