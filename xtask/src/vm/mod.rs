//! `cargo xtask vm test`: the agent against the attack suite, in virtual machines with Debian's
//! kernels, with and without `bpf` among the active LSMs.
//!
//! What happens inside is `crates/agent/examples/guest/`; this module builds the machine, reads
//! its findings from the serial line, and prints one table. Where the machine cannot be had, it
//! skips with a reason and counts the skip: nothing passes in silence.

pub(crate) mod cost;
pub(crate) mod demo;
mod findings;
mod initramfs;
mod kernels;
mod qemu;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::artifacts::{self, Guest};
use crate::command::find;
use crate::outcome::Outcome;
use crate::place;
use crate::tools::{self, Need};
use crate::ui;

use findings::Findings;
use initramfs::Initramfs;
use qemu::{Clock, Machine};

/// Where the support table is kept.
const DOCUMENT: &str = "docs/kernel-support.md";

/// How much is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Matrix {
    /// What an ordinary node boots with.
    Usual,
    /// And what degrades the agent.
    Full,
}

/// What becomes of the result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Document {
    /// It is printed.
    Leave,
    /// The same, of the boots whose names have this in them.
    Only(String),
    /// It also renews the document.
    Write,
}

/// One way to boot, and what the agent must say of it.
struct Boot {
    /// The column's name: the tier, and what is unusual.
    name: &'static str,
    matrix: Matrix,
    lsm: &'static str,
    /// Further parameters of the kernel.
    more: &'static str,
    /// How the state begins.
    expected: &'static str,
}

const WITH_BPF: &str = "landlock,lockdown,yama,integrity,apparmor,bpf";
const WITHOUT_BPF: &str = "landlock,lockdown,yama,integrity,apparmor";

const BOOTS: &[Boot] = &[
    Boot {
        name: "lsm",
        matrix: Matrix::Usual,
        lsm: WITH_BPF,
        more: "",
        expected: "ENFORCING(lsm)",
    },
    Boot {
        name: "fmod_ret",
        matrix: Matrix::Usual,
        lsm: WITHOUT_BPF,
        more: "",
        expected: "ENFORCING(fmod_ret)",
    },
    Boot {
        name: "lsm, preempt=full",
        matrix: Matrix::Full,
        lsm: WITH_BPF,
        more: "preempt=full",
        expected: "ENFORCING(lsm)",
    },
    Boot {
        name: "fmod_ret, preempt=full",
        matrix: Matrix::Full,
        lsm: WITHOUT_BPF,
        more: "preempt=full",
        expected: "DEGRADED(fmod_ret:",
    },
    Boot {
        name: "lsm, lockdown=confidentiality",
        matrix: Matrix::Full,
        lsm: WITH_BPF,
        more: "lockdown=confidentiality",
        expected: "DEGRADED(lsm: no hook",
    },
];

/// Reads the arguments of the verb.
pub(crate) fn parse(arguments: &[String]) -> Option<(Matrix, Document)> {
    let (verb, flags) = arguments.split_first()?;
    let (mut matrix, mut document) = (Matrix::Usual, Document::Leave);
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        match flag.as_str() {
            "--only" if document == Document::Leave => {
                document = Document::Only(flags.next()?.clone());
            }
            "--full" => matrix = Matrix::Full,
            "--write" if document == Document::Leave => document = Document::Write,
            _ => return None,
        }
    }
    (verb == "test").then_some((matrix, document))
}

/// The verb; the document is renewed from a run that was whole.
pub(crate) fn test(matrix: Matrix, document: &Document) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut outcome = Outcome::default();
    let done = run(matrix, document, &mut outcome);
    for reason in &outcome.reasons {
        ui::say(&format!("skipped: {reason}"));
    }
    let took = ui::human(start.elapsed());
    ui::say(&ui::bold(&format!("\nvm test: {outcome} in {took}")));
    done
}

/// Boots each kernel in each way, and adds what came of it to the outcome.
pub(crate) fn run(
    matrix: Matrix,
    document: &Document,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let Some(archive) = prepared()? else {
        outcome.skip("virtual machines", "no qemu-system-x86 or busybox-static here");
        return Ok(());
    };
    let home = place::target().join("vm");
    let mut runs = Vec::new();
    for meta in kernels::KERNELS {
        let kernel = match kernels::image(meta) {
            Ok(kernel) => kernel,
            Err(error) => {
                outcome.skip(meta, &format!("{error:#}"));
                continue;
            }
        };
        for boot in
            BOOTS.iter().filter(|boot| boot.matrix == Matrix::Usual || boot.matrix == matrix)
        {
            let name = format!("{meta}-{}", boot.name.replace(", ", "-"));
            if matches!(document, Document::Only(part) if !name.contains(part.as_str())) {
                continue;
            }
            ui::heading(&name);
            let begin = Instant::now();
            let findings = boot_once(boot, &kernel, &archive, &home.join(format!("{name}.log")))?;
            for check in &findings.checks {
                let right = check.is_right();
                *if right { &mut outcome.passed } else { &mut outcome.failed } += 1;
                if !right {
                    ui::say(&format!("   FAILED {}: {}", check.name, check.words));
                }
            }
            ui::finished(&findings.kernel, begin.elapsed());
            runs.push(findings);
        }
    }
    ui::say(&findings::table(&runs));
    ensure!(
        outcome.failed == 0,
        "{} checks failed; serial lines: {}",
        outcome.failed,
        home.display()
    );
    if *document == Document::Write {
        ensure!(outcome.skipped == 0, "{DOCUMENT} is written from a whole run only");
        fs::write(place::root().join(DOCUMENT), findings::document(&runs))?;
        ui::say(&format!("wrote {DOCUMENT}"));
    }
    Ok(())
}

/// Builds what runs inside; `None` where no machine can be had.
fn prepared() -> anyhow::Result<Option<PathBuf>> {
    tools::ensure(Need::Vm)?;
    if find(qemu::PROGRAM).is_none() || find("busybox").is_none() {
        return Ok(None);
    }
    let guest = artifacts::build_guest()?;
    let home = place::target().join("vm");
    fs::create_dir_all(&home).with_context(|| format!("in {}", home.display()))?;
    let archive = home.join("initramfs");
    fs::write(&archive, pack(&guest)?)?;
    Ok(Some(archive))
}

fn boot_once(boot: &Boot, kernel: &Path, archive: &Path, log: &Path) -> anyhow::Result<Findings> {
    // KERNEL: 6.1 has no memfd_secret unless it is asked for.
    let parameters = format!(
        "lsm={} secretmem.enable=1 {} CT_WORK=run CT_EXPECT=\"{}\"",
        boot.lsm, boot.more, boot.expected
    );
    let lines = qemu::run(&Machine {
        kernel,
        initramfs: archive,
        parameters,
        log,
        clock: Clock::Host,
        memory: qemu::MEMORY,
        disks: disks()?,
    })?;
    let findings = Findings::parse(&lines, boot.name);
    let shown = log.display();
    findings.with_context(|| format!("the machine gave no result; its last words: {shown}"))
}

/// Two empty disks: one to swap to, and one that is nobody's.
fn disks() -> anyhow::Result<Vec<PathBuf>> {
    const LEN: u64 = 16 << 20;
    let home = place::target().join("vm");
    let each = ["swap", "other"].map(|name| home.join(format!("disk-{name}")));
    for path in &each {
        fs::File::create(path)?.set_len(LEN)?;
    }
    Ok(each.into())
}

fn pack(guest: &Guest) -> anyhow::Result<Vec<u8>> {
    Ok(base(guest)?.finish())
}

/// What every machine has.
fn base(guest: &Guest) -> anyhow::Result<Initramfs> {
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
    const APPLETS: &[&str] = &[
        "cat", "chmod", "ip", "mkdir", "mount", "poweroff", "ps", "sh", "sleep", "umount", "uname",
    ];
    for tool in APPLETS {
        archive.link(&format!("bin/{tool}"), "busybox");
    }
    Ok(archive)
}
