//! The demo in a virtual machine, for hosts whose kernel lets no agent work.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use super::boots::WITH_BPF;
use super::contents::{base, python_too, with_libraries};
use super::kernels;
use super::qemu::{self, Clock, Machine};
use crate::artifacts;
use crate::command::{find, program, run as run_command};
use crate::place;
use crate::tools::{self, Need};
use crate::ui;

/// MiB for an OpenBao beside the archive that it came in.
const MEMORY: u32 = 2048;

/// What the demo's apps and the demo itself call.
const TOOLS: &[&str] = &["sha256sum", "tr"];

/// Boots, plays the demo inside, and prints its page.
pub(crate) fn run() -> anyhow::Result<()> {
    tools::ensure(Need::Vm)?;
    if find(qemu::PROGRAM).is_none() || find("busybox").is_none() {
        bail!("no qemu-system-x86 or busybox-static here");
    }
    let home = place::target().join("vm");
    fs::create_dir_all(&home).with_context(|| format!("in {}", home.display()))?;
    let meta = kernels::KERNELS.last().context("no kernel is named")?;
    let kernel = kernels::of(meta)?.image;
    let initramfs = home.join("initramfs-demo");
    fs::write(&initramfs, pack(&home)?)?;
    let begin = Instant::now();
    ui::say("an emulated machine with a kernel of Debian plays the demo: some minutes");
    let parameters = format!("lsm={WITH_BPF} secretmem.enable=1 CT_WORK=demo");
    let log = home.join("demo.log");
    let (log, clock) = (log.as_path(), Clock::Host);
    let lines = qemu::run(&Machine {
        kernel: &kernel,
        initramfs: &initramfs,
        parameters,
        log,
        clock,
        memory: MEMORY,
        disks: Vec::new(),
        measured: None,
    })?;
    let (page, code) = page(&lines).with_context(|| {
        format!("the machine gave no result; its last words are in {}", log.display())
    })?;
    ui::say(&page);
    ui::finished("demo in the machine", begin.elapsed());
    ensure!(code == "0", "the demo in the machine ended with {code}");
    Ok(())
}

/// The machine's kernel and page, and how the demo ended.
fn page(lines: &[String]) -> Option<(String, &str)> {
    let kernel = lines.iter().find_map(|line| line.strip_prefix("@@KERNEL "))?;
    let start = lines.iter().position(|line| line == "@@PAGE")?;
    let (end, code) = lines
        .iter()
        .enumerate()
        .find_map(|(number, line)| Some((number, line.strip_prefix("@@RC ")?)))?;
    let page = lines.get(start + 1..end)?.join("\n");
    Some((format!("kernel {kernel}\n{page}"), code))
}

fn pack(home: &Path) -> anyhow::Result<Vec<u8>> {
    let mut archive = base(&artifacts::build_guest()?)?;
    for tool in TOOLS {
        archive.link(&format!("bin/{tool}"), "busybox");
    }
    archive.program("bin/bao", &stripped_bao(home)?);
    archive.program("bin/app-c", &compiled_app(home)?);
    // Not among Busybox's tools.
    with_libraries(&mut archive, &find("printenv").context("no printenv here")?)?;
    match find("python3") {
        Some(python) => python_too(&mut archive, &python)?,
        None => ui::say("no python3 here: the demo goes without it"),
    }
    Ok(archive.finish())
}

/// Symbols for debugging are a third of it, and all of it passes through the machine's memory.
pub(super) fn stripped_bao(home: &Path) -> anyhow::Result<Vec<u8>> {
    let small = home.join("bao");
    if find("strip").is_none() {
        return Ok(fs::read(place::bao())?);
    }
    run_command(program("strip").arg("-o").arg(&small).arg(place::bao()))?;
    Ok(fs::read(small)?)
}

fn compiled_app(home: &Path) -> anyhow::Result<Vec<u8>> {
    let compiled = home.join("app-c");
    let source = place::root().join("crates/cli/src/demo/apps/app.c");
    run_command(program("gcc").args(["-static", "-O1", "-o"]).arg(&compiled).arg(source))?;
    Ok(fs::read(compiled)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_lies_between_the_marks() {
        let lines = ["noise", "@@KERNEL 6.12 lsm=bpf", "@@PAGE", "one", "two", "@@RC 0", "noise"];
        let lines = lines.map(str::to_owned);
        assert_eq!(page(&lines), Some(("kernel 6.12 lsm=bpf\none\ntwo".to_owned(), "0")));
        assert_eq!(page(&lines[..5]), None);
    }
}
