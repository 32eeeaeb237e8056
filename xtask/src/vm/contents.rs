//! What is in the machines: the shipped programs, Busybox, the attackers, and for some of them
//! programs of Debian with the libraries that they are linked with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::boots::Work;
use super::initramfs::Initramfs;
use super::{measured, qemu};
use crate::artifacts::{self, Guest};
use crate::command::{find, program, read, run as run_command};
use crate::place;
use crate::tools::{self, Need};

/// What the guest program and the machine's first process call.
const APPLETS: &[&str] = &[
    "cat", "chmod", "insmod", "ip", "mkdir", "mount", "poweroff", "ps", "sh", "sleep", "umount",
    "uname",
];

/// How the small processes are compiled: nothing but the kernel's own calls.
const FREESTANDING: &str = "-O1 -ffreestanding -fno-pic -fno-stack-protector -fomit-frame-pointer \
                            -fno-asynchronous-unwind-tables -nostdlib -static -no-pie -Wall -Werror";

/// Builds what runs inside; `None` where no machine can be had.
pub(super) fn prepared() -> anyhow::Result<Option<Guest>> {
    tools::ensure(Need::Vm)?;
    if find(qemu::PROGRAM).is_none() || find("busybox").is_none() {
        return Ok(None);
    }
    artifacts::build_guest().map(Some)
}

/// Writes the initial file system for one kind of work, with modules of the kernel that boots it.
pub(super) fn archive(
    guest: &Guest,
    work: Work,
    name: &str,
    modules: &[(&str, PathBuf)],
) -> anyhow::Result<PathBuf> {
    let home = place::target().join("vm");
    fs::create_dir_all(&home).with_context(|| format!("in {}", home.display()))?;
    let mut archive = base(guest)?;
    for (small, word) in [("small", "-m64"), ("small32", "-m32")] {
        archive.program(&format!("bin/{small}"), &compiled(&home, small, word)?);
    }
    if work == Work::Tools {
        tools_too(&mut archive, guest)?;
    }
    if work == Work::Measured {
        measured::program_too(&mut archive)?;
    }
    for (name, module) in modules {
        archive.program(&format!("{name}.ko"), &fs::read(module)?);
    }
    let file = home.join(format!("initramfs-{name}"));
    fs::write(&file, archive.finish())?;
    Ok(file)
}

/// What every machine has.
pub(super) fn base(guest: &Guest) -> anyhow::Result<Initramfs> {
    let mut archive = Initramfs::default();
    for folder in ["bin", "dev", "proc", "sys", "tmp", "run", "etc"] {
        archive.directory(folder);
    }
    archive.console();
    archive.program("init", include_bytes!("init.sh"));
    let busybox = find("busybox").context("no busybox")?;
    let own: [(&str, &PathBuf); 6] = [
        ("busybox", &busybox),
        ("cloudtaser", &guest.cli),
        ("cloudtaser-agent", &guest.agent),
        ("cloudtaser-wrapper", &guest.wrapper),
        ("guest", &guest.guest),
        // The same program under another inode: one that the agent lists.
        ("loader", &guest.guest),
    ];
    for (name, file) in own {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        archive.program(&format!("bin/{name}"), &bytes);
    }
    for tool in APPLETS {
        archive.link(&format!("bin/{tool}"), "busybox");
    }
    Ok(archive)
}

/// Debian's debuggers and tracers.
const DEBIAN: &[&str] = &["bash", "bpftrace", "gcore", "gdb", "perf", "strace"];

/// More of Busybox, for who works by hand.
const BY_HAND: &[&str] = &[
    "basename", "dd", "dirname", "grep", "head", "ls", "mkfifo", "nsenter", "readlink", "rm",
    "timeout", "tr", "which",
];

fn tools_too(archive: &mut Initramfs, guest: &Guest) -> anyhow::Result<()> {
    for tool in BY_HAND {
        archive.link(&format!("bin/{tool}"), "busybox");
    }
    for tool in DEBIAN {
        let path = find(tool).with_context(|| format!("no {tool} here"))?;
        let path = fs::canonicalize(&path)?;
        // A script has no libraries.
        if fs::read(&path)?.starts_with(b"#!") {
            archive.same(&path)?
        } else {
            with_libraries(archive, &path)?
        }
    }
    archive.link("bin/bash", "/usr/bin/bash");
    archive.link("usr/bin/env", "/bin/busybox");
    // Debian's own, which gdb is linked with.
    python_too(archive, Path::new("/usr/bin/python3"))?;
    // Programs that every node has, as the agent lists them.
    for path in ["usr/lib/systemd/systemd", "usr/bin/runc"] {
        let (folder, _name) = path.rsplit_once('/').context("a path with a folder")?;
        for at in folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]) {
            archive.directory(folder.get(..at).unwrap_or(folder));
        }
        archive.program(path, &fs::read(&guest.guest)?);
    }
    Ok(())
}

/// An interpreter, the libraries that it is linked with, and as much of its own as it needs to start.
pub(super) fn python_too(archive: &mut Initramfs, python: &Path) -> anyhow::Result<()> {
    const ASK: &str = "import os, sys, sysconfig; \
        print(os.path.realpath(sys.executable)); print(sysconfig.get_path('stdlib'))";
    let said = read(program(python).args(["-I", "-c", ASK]))?;
    let (real, library) =
        said.trim().split_once('\n').context("python3 does not say where it is")?;
    with_libraries(archive, Path::new(real))?;
    archive.link("bin/python3", real);
    let library = Path::new(library);
    for folder in ["", "encodings", "collections", "importlib", "lib-dynload", "re"] {
        let mut files: Vec<PathBuf> = fs::read_dir(library.join(folder))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        files.sort();
        for file in files
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "py" || end == "so"))
        {
            archive.same(file)?;
        }
    }
    Ok(())
}

/// Compiles the small processes for one size of machine words.
fn compiled(home: &Path, name: &str, word: &str) -> anyhow::Result<Vec<u8>> {
    let program_file = home.join(name);
    let source = place::root().join("crates/agent/examples/guest/small.c");
    let mut compile = program("gcc");
    compile.arg(word).args(FREESTANDING.split_ascii_whitespace());
    // Debian keeps the kernel's headers for both in the folder of the longer one.
    let machine = read(program("gcc").arg("-print-multiarch"))?;
    compile.arg("-idirafter").arg(Path::new("/usr/include").join(machine.trim()));
    run_command(compile.arg("-o").arg(&program_file).arg(source))?;
    Ok(fs::read(program_file)?)
}

/// A program of this machine, and the libraries that it is linked with.
pub(super) fn with_libraries(archive: &mut Initramfs, file: &Path) -> anyhow::Result<()> {
    archive.same(file)?;
    for word in read(program("ldd").arg(file))?.split_ascii_whitespace() {
        if word.starts_with('/') {
            archive.same(Path::new(word))?;
        }
    }
    Ok(())
}
