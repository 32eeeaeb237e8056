//! An initial file system for a kernel: a cpio archive in the `newc` form, written here.
//!
//! Form: for each entry a header of 13 numbers of eight hex digits behind the magic, the name, the
//! content, each filled up to four bytes; an entry `TRAILER!!!` ends it
//! (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's sources).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Bits of `st_mode`.
const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CONSOLE: u32 = 0o020_600;

/// An archive that grows.
#[derive(Debug, Default)]
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
    same: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Adds a directory, whose parent must be there.
    pub(super) fn directory(&mut self, name: &str) {
        if self.folders.insert(name.to_owned()) {
            self.entry(name, DIRECTORY, b"", (0, 0));
        }
    }

    /// Adds a file of this machine as a program at the same place, with the folders above it; once.
    pub(super) fn same(&mut self, path: &Path) -> anyhow::Result<()> {
        if !self.same.insert(path.to_owned()) {
            return Ok(());
        }
        let shown = path.display();
        let content = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let name = path.to_str().with_context(|| format!("{shown} is not UTF-8"))?;
        let name = name.trim_start_matches('/');
        let above: Vec<&Path> = Path::new(name).ancestors().skip(1).collect();
        for folder in above.iter().rev().filter_map(|path| path.to_str()) {
            if !folder.is_empty() {
                self.directory(folder);
            }
        }
        self.program(name, &content);
        Ok(())
    }

    /// Adds a program.
    pub(super) fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, content, (0, 0));
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, name: &str, to: &str) {
        self.entry(name, LINK, to.as_bytes(), (0, 0));
    }

    /// Adds the device that the first process gets as standard input and output.
    pub(super) fn console(&mut self) {
        self.entry("dev/console", CONSOLE, b"", (5, 1));
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"", (0, 0));
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8], device: (u32, u32)) {
        self.entries += 1;
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (owner, links, changed, check) = (0, 1, 0, 0);
        let numbers = [
            self.entries,
            mode,
            owner,
            owner,
            links,
            changed,
            len(content),
            0,
            0,
            device.0,
            device.1,
            len(name.as_bytes()) + 1,
            check,
        ];
        self.bytes.extend(b"070701");
        for number in numbers {
            self.bytes.extend(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.fill_up();
        self.bytes.extend(content);
        self.fill_up();
    }

    fn fill_up(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::Stdio;

    use super::*;
    use crate::command::{find, program};

    #[test]
    fn an_entry_is_laid_out_as_the_kernel_reads_it() {
        let mut archive = Initramfs::default();
        archive.program("init", b"#!/x\n");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let head = "07070100000001000081ed000000000000000000000001000000000000000500000000\
                    000000000000000000000000000000050000000";
        assert!(text.starts_with(head), "{text}");
        // 6 + 13 * 8 = 110; with `init\0` 115, filled up to 116; content 5, filled up to 124.
        assert_eq!(&bytes[110..121], b"init\0\0#!/x\n");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn busybox_reads_the_archive() {
        let Some(busybox) = find("busybox") else {
            println!("SKIP: no busybox");
            return;
        };
        let mut archive = Initramfs::default();
        archive.directory("bin");
        archive.program("bin/tool", &[7; 4097]);
        archive.link("bin/sh", "tool");
        let mut list = program(busybox);
        list.args(["cpio", "-tv"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut list = list.stderr(Stdio::null()).spawn().unwrap();
        list.stdin.take().unwrap().write_all(&archive.finish()).unwrap();
        let output = list.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("4097") && text.contains("bin/sh -> tool"), "{text}");
    }
}
