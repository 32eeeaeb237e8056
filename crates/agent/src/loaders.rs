//! Programs that may load BPF: files of the node by inode and device, and programs of images by
//! their content.

pub(crate) mod admitted;
pub(crate) mod content;
pub(crate) mod replaced;
pub(crate) mod running;

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use cloudtaser_core::agent::content::Content;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use serde::Serialize;

pub(crate) use self::content::Allowed;
use crate::abi;
use crate::bpf::Loaded;
use crate::host;

/// Programs that load BPF on an ordinary node; those that are not there are passed over.
const LOADERS: &[&str] = &[
    "/bin/runc",
    "/lib/systemd/systemd",
    "/usr/bin/crun",
    "/usr/bin/runc",
    "/usr/lib/systemd/systemd",
    "/usr/local/bin/runc",
    "/usr/local/sbin/runc",
    "/usr/sbin/runc",
    "/var/lib/rancher/k3s/data/current/bin/runc",
    "/var/lib/rancher/rke2/bin/runc",
];

/// Where container runtimes of an ordinary node unpack images, and what lies below that.
const HOMES: &[&str] = &[
    "/",
    "/usr",
    "/var",
    "/var/lib",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/rancher",
];

/// `enum ct_look`, in its order.
const LOOKS: [&str; 8] =
    ["listed", "proof", "other", "no_hash", "elsewhere", "written", "traced", "full"];
const LISTED: usize = 0;
const PROOF: usize = 1;
const NO_HASH: usize = 3;

/// What the command line allows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    files: Vec<PathBuf>,
    contents: BTreeSet<Content>,
    homes: Vec<PathBuf>,
}

/// What was listed.
#[derive(Debug)]
pub(crate) struct Listed {
    /// How many files of the node.
    pub(crate) files: usize,
    /// Devices below what the guard rests on.
    pub(crate) devices: Vec<u64>,
}

/// Contents, and what came of looking for them, as `status --json` prints it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Looks {
    /// How many contents are listed.
    listed: usize,
    /// Processes that were recognised, since the programs were loaded.
    recognised: u64,
    /// Files of a listed size that were not, by reason.
    refused: Vec<(&'static str, u64)>,
}

/// The maps of contents.
#[derive(Debug)]
pub(crate) struct Contents {
    files: MapHandle,
    contents: MapHandle,
    homes: MapHandle,
    sizes: MapHandle,
    looks: MapHandle,
}

impl Wanted {
    /// Sorts the arguments.
    pub(crate) fn of(allowed: &[Allowed], homes: &[PathBuf]) -> Self {
        let mut own = Self { homes: homes.to_vec(), ..Self::default() };
        for each in allowed {
            match each {
                Allowed::File(path) => own.files.push(path.clone()),
                Allowed::Content(content) => drop(own.contents.insert(*content)),
            }
        }
        own
    }

    /// Inode and device of the files, as the node has them.
    pub(crate) fn identities(&self) -> anyhow::Result<Vec<(u64, u64)>> {
        let each = self.files.iter().map(|path| {
            let data = on_node(path).with_context(|| format!("loader {}", path.display()))?;
            ensure!(data.is_file(), "loader {} is no file", path.display());
            Ok((data.ino(), data.dev()))
        });
        each.collect()
    }

    /// Files that were named.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Folders that were named, and their file systems. A slip is told: nothing else would show it.
    pub(crate) fn homes(&self) -> anyhow::Result<Vec<(&Path, u64)>> {
        ensure!(
            self.homes.is_empty() || !self.contents.is_empty(),
            "--loader-home says where files are known by their content, and no content is listed \
             (--allow-loader sha256:HEX:SIZE)"
        );
        let each = self.homes.iter().map(|path| {
            let data = on_node(path)
                .with_context(|| format!("--loader-home {}: not on the node", path.display()))?;
            ensure!(data.is_dir(), "--loader-home {} is no folder", path.display());
            Ok((path.as_path(), data.dev()))
        });
        each.collect()
    }

    /// What is listed by content.
    pub(crate) const fn contents(&self) -> &BTreeSet<Content> {
        &self.contents
    }

    /// Lists those that a node has anyway, and more.
    pub(crate) fn list(&self, loaded: &Loaded) -> anyhow::Result<Listed> {
        let map = loaded.map("ct_loaders")?;
        let mut files = BTreeSet::new();
        for path in LOADERS {
            // Not every node has every one of them.
            if let Ok(data) = on_node(Path::new(path)) {
                files.insert((data.ino(), data.dev()));
            }
        }
        files.extend(self.identities()?);
        for (inode, device) in &files {
            let key = abi::loader(*inode, *device);
            map.update(&key, &abi::FILE_LOADER.to_ne_bytes(), MapFlags::ANY)?;
        }
        let mut devices: Vec<u64> = files.iter().map(|(_, device)| *device).collect();
        devices.push(fs::metadata("/proc/self/exe")?.dev());
        devices.extend(self.list_contents(loaded)?);
        Ok(Listed { files: files.len(), devices })
    }

    /// Lists contents, and the file systems where a content says what runs.
    fn list_contents(&self, loaded: &Loaded) -> anyhow::Result<BTreeSet<u64>> {
        let named = self.homes()?.into_iter().map(|(_, device)| device);
        let mut devices: BTreeSet<u64> = named.collect();
        if self.contents.is_empty() {
            return Ok(devices);
        }
        devices.extend(HOMES.iter().filter_map(|path| Some(on_node(Path::new(path)).ok()?.dev())));
        let homes = loaded.map("ct_homes")?;
        for device in &devices {
            homes.update(&abi::device(*device).to_ne_bytes(), &WORD, MapFlags::ANY)?;
        }
        let maps = Contents::of(loaded)?;
        for content in &self.contents {
            maps.add(content, abi::CONTENT_LOADER)?;
        }
        // The canary and its attacker run this very program: whether it is recognised is the proof.
        maps.add(&content::own()?, abi::CONTENT_PROOF)?;
        Ok(devices)
    }
}

/// A value that says no more than that there is one.
const WORD: [u8; 4] = 1_u32.to_ne_bytes();

impl Contents {
    /// Of loaded programs.
    pub(crate) fn of(loaded: &Loaded) -> anyhow::Result<Self> {
        Ok(Self {
            files: loaded.map("ct_loaders")?,
            contents: loaded.map("ct_contents")?,
            homes: loaded.map("ct_homes")?,
            sizes: loaded.map("ct_sizes")?,
            looks: loaded.map("ct_looks")?,
        })
    }

    /// More handles to the same maps, for another thread.
    pub(crate) fn again(&self) -> anyhow::Result<Self> {
        let again = |map: &MapHandle| MapHandle::try_from(map);
        Ok(Self {
            files: again(&self.files)?,
            contents: again(&self.contents)?,
            homes: again(&self.homes)?,
            sizes: again(&self.sizes)?,
            looks: again(&self.looks)?,
        })
    }

    fn add(&self, content: &Content, mark: u32) -> anyhow::Result<()> {
        let known = self.mark(content)?;
        self.contents.update(&content.sha256, &(known | mark).to_ne_bytes(), MapFlags::ANY)?;
        Ok(self.sizes.update(&content.size.to_ne_bytes(), &WORD, MapFlags::ANY)?)
    }

    /// How many files of the node may load.
    pub(crate) fn files(&self) -> usize {
        let marks = |key: Vec<u8>| word(self.files.lookup(&key, MapFlags::ANY).ok().flatten());
        self.files.keys().filter(|key| marks(key.clone()) & abi::FILE_LOADER != 0).count()
    }

    fn mark(&self, content: &Content) -> anyhow::Result<u32> {
        Ok(word(self.contents.lookup(&content.sha256, MapFlags::ANY)?))
    }

    /// Whether every one of these is listed.
    pub(crate) fn have(&self, wanted: &BTreeSet<Content>) -> anyhow::Result<bool> {
        for content in wanted {
            if self.mark(content)? & abi::CONTENT_LOADER == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lists one more, by an operator's order.
    pub(crate) fn admit(&self, content: &Content) -> anyhow::Result<()> {
        self.add(content, abi::CONTENT_LOADER)
    }

    /// Whether that would come to anything.
    ///
    /// # Errors
    /// Where no home was listed: on which file systems a content says what runs, and that nobody
    /// writes below them, was decided when the programs were loaded.
    pub(crate) fn may_admit(&self) -> anyhow::Result<()> {
        ensure!(
            self.homes.keys().next().is_some(),
            "no loader was listed by its content when the programs were loaded, so that none is \
             recognised before the node boots"
        );
        Ok(())
    }

    /// Whether this process runs a listed loader.
    pub(crate) fn lists(&self, pid: i32) -> bool {
        let path = format!("/proc/{pid}/exe");
        let Ok(data) = fs::metadata(&path) else { return false };
        let key = abi::loader(data.ino(), data.dev());
        let marks = self.files.lookup(&key, MapFlags::ANY).ok().flatten();
        if word(marks) & abi::FILE_LOADER != 0 {
            return true;
        }
        let size = self.sizes.lookup(&data.len().to_ne_bytes(), MapFlags::ANY);
        if !matches!(size, Ok(Some(_))) {
            return false;
        }
        let content = File::open(&path).and_then(content::read);
        content.is_ok_and(|content| {
            self.mark(&content).is_ok_and(|mark| mark & abi::CONTENT_LOADER != 0)
        })
    }

    /// Takes the agent's own content off the list again, and says why contents are not recognised
    /// where the attack showed that they are not.
    pub(crate) fn prove(&self, wanted: &BTreeSet<Content>) -> anyhow::Result<Option<String>> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let counts = self.counts()?;
        let own = content::own()?;
        self.contents.delete(&own.sha256)?;
        if !wanted.iter().any(|content| content.size == own.size) {
            self.sizes.delete(&own.size.to_ne_bytes())?;
        }
        let count = |look: usize| counts.get(look).copied().unwrap_or_default();
        Ok(match (count(PROOF), count(NO_HASH)) {
            (1.., _) => None,
            (0, 1..) => Some(
                "the kernel computes no SHA-256 of files (IMA is not there, or has another \
                 algorithm: boot with ima_hash=sha256)"
                    .to_owned(),
            ),
            (0, 0) => Some(
                "the program that looks at contents does not run (it is for the tier lsm)"
                    .to_owned(),
            ),
        })
    }

    fn counts(&self) -> anyhow::Result<Vec<u64>> {
        let count = |index: u32| {
            let value = self.looks.lookup(&index.to_ne_bytes(), MapFlags::ANY)?;
            let bytes = value.as_deref().and_then(<[u8]>::first_chunk);
            Ok(bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
        };
        (0..).take(LOOKS.len()).map(count).collect()
    }

    /// For the report.
    pub(crate) fn looks(&self) -> anyhow::Result<Looks> {
        let counts = self.counts()?;
        let refused = LOOKS.into_iter().zip(&counts).skip(PROOF + 1);
        Ok(Looks {
            listed: self.contents.keys().count(),
            recognised: counts.get(LISTED).copied().unwrap_or_default(),
            refused: refused.filter(|(_, n)| **n > 0).map(|(look, n)| (look, *n)).collect(),
        })
    }
}

fn word(value: Option<Vec<u8>>) -> u32 {
    value.as_deref().and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// A file as the node's own processes find it: an absolute link leads to the node's file too.
fn on_node(path: &Path) -> io::Result<Metadata> {
    open_on_node(path, OFlag::O_PATH)?.metadata()
}

fn open_on_node(path: &Path, how: OFlag) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    // SECURITY: without it a containerised agent lists nobody, and the node's runc cannot start a
    // container any more, since that loads a program.
    let root = open(host::ROOT, flags | OFlag::O_DIRECTORY, Mode::empty())?;
    let how = OpenHow::new().flags(how | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    Ok(File::from(openat2(root, path, how)?))
}

/// Whether a node has this program as a loader, so that one which is refused was replaced.
pub(crate) fn is_of_a_node(path: &str) -> bool {
    LOADERS.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_node_is_found_through_links() {
        let Ok(found) = on_node(Path::new("/bin/sh")) else {
            println!("SKIP: the root of process 1 may not be looked into here");
            return;
        };
        assert!(found.is_file(), "links were followed");
        assert!(on_node(Path::new("/nowhere/runc")).is_err());
    }

    #[test]
    fn a_home_that_cannot_be_meant_is_told() {
        let content = "sha256:0707070707070707070707070707070707070707070707070707070707070707:1";
        let content = content.parse::<Allowed>().unwrap();
        let wanted = |allowed: &[Allowed], home: &str| Wanted::of(allowed, &[home.into()]);
        let why = |wanted: Wanted| format!("{:#}", wanted.homes().unwrap_err());
        assert!(why(wanted(&[], "/")).contains("no content is listed"));
        if on_node(Path::new("/")).is_err() {
            println!("SKIP: the root of process 1 may not be looked into here");
            return;
        }
        let content = &[content];
        assert!(why(wanted(content, "/nowhere/images")).contains("not on the node"));
        assert!(why(wanted(content, "/etc/passwd")).contains("is no folder"));
        let wanted = wanted(content, "/");
        let homes = wanted.homes().unwrap();
        assert_eq!(homes, [(Path::new("/"), on_node(Path::new("/")).unwrap().dev())]);
    }

    #[test]
    fn looks_are_named_in_the_kernels_order() {
        assert_eq!((LOOKS[LISTED], LOOKS[PROOF], LOOKS[NO_HASH]), ("listed", "proof", "no_hash"));
    }
}
