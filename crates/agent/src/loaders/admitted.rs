//! A file of the node that an operator's order lists: what an update put in the place of a loader.
//!
//! SECURITY: the order names a content, and what is listed is an inode. So the file is held first
//! (from then on nobody opens it for writing), then nobody may have it open for writing from before,
//! and only then it is read: what was signed is what it holds, and goes on holding. It lies on a file
//! system that a loader was listed on, below which nobody writes.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use cloudtaser_core::agent::content::Content;
use cloudtaser_sys::writers::has_writers;
use libbpf_rs::{MapCore as _, MapFlags};
use nix::fcntl::OFlag;

use super::{Contents, LOADERS, content, open_on_node, word};
use crate::abi;

/// Where the device begins in `struct ct_loader`.
const DEVICE: usize = 8;

/// A file that holds what was ordered, and that nobody writes.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    contents: &'a Contents,
    key: [u8; 16],
    path: PathBuf,
    listed: bool,
}

/// The content of a file of the node, for who writes an order.
pub(crate) fn content_of(path: &Path) -> anyhow::Result<Content> {
    let open = || content::read(open_on_node(path, OFlag::O_RDONLY)?);
    open().with_context(|| format!("{} of the node", path.display()))
}

/// The one of this content among the files that are loaders by their paths.
///
/// # Errors
/// Where there is none, or it may be another one in a moment.
pub(crate) fn find<'a>(
    contents: &'a Contents,
    named: &[PathBuf],
    wanted: &Content,
) -> anyhow::Result<Held<'a>> {
    let paths = LOADERS.iter().map(Path::new).chain(named.iter().map(PathBuf::as_path));
    let mut others = Vec::new();
    for path in paths {
        let Ok(file) = open_on_node(path, OFlag::O_RDONLY) else { continue };
        let data = file.metadata()?;
        let key = abi::loader(data.ino(), data.dev());
        // Held by an agent that was ended meanwhile is held by nobody.
        let marks = word(contents.files.lookup(&key, MapFlags::ANY)?) & !abi::FILE_HELD;
        if data.is_file() && marks == 0 {
            if data.len() == wanted.size {
                let held = Held::hold(contents, key, path)?;
                if held.has(&file, wanted)? {
                    return Ok(held);
                }
            }
            others.push(path.display().to_string());
        }
    }
    let others = if others.is_empty() { "there is none".to_owned() } else { others.join(", ") };
    anyhow::bail!("no loader of this node that is not listed holds {wanted} ({others})")
}

impl<'a> Held<'a> {
    fn hold(contents: &'a Contents, key: [u8; 16], path: &Path) -> anyhow::Result<Self> {
        let is_kept = contents.files.keys().any(|known| known.get(DEVICE..) == key.get(DEVICE..));
        ensure!(
            is_kept,
            "{} is on another file system than the loaders that are listed: it takes a reboot",
            path.display()
        );
        contents.files.update(&key, &abi::FILE_HELD.to_ne_bytes(), MapFlags::ANY)?;
        Ok(Self { contents, key, path: path.to_owned(), listed: false })
    }

    fn has(&self, file: &File, wanted: &Content) -> anyhow::Result<bool> {
        let shown = self.path.display();
        let written = has_writers(file)
            .with_context(|| format!("whether somebody writes {shown} cannot be told"))?;
        ensure!(!written, "somebody has {shown} open for writing");
        Ok(content::read(file.try_clone()?)? == *wanted)
    }

    /// Its processes may load from now on; where it is.
    pub(crate) fn list(mut self) -> anyhow::Result<PathBuf> {
        let mark = abi::FILE_LOADER.to_ne_bytes();
        self.contents.files.update(&self.key, &mark, MapFlags::EXIST)?;
        self.listed = true;
        Ok(self.path.clone())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if !self.listed {
            // What is not there any more is as good.
            drop(self.contents.files.delete(&self.key));
        }
    }
}
