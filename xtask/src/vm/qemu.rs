//! One run of a virtual machine, watched by its serial line.
//!
//! It is emulated (`-accel tcg`) even where `/dev/kvm` exists: the file says nothing about whether it
//! works, and inside another machine it may hang. `CLOUDTASER_QEMU_ACCEL` overrides that on a host
//! where somebody knows better.

use std::env;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::command::program;

/// The emulator.
pub(super) const PROGRAM: &str = "qemu-system-x86_64";
/// Overrides how the processor is emulated.
const ACCELERATOR: &str = "CLOUDTASER_QEMU_ACCEL";
/// A whole run takes a minute or two, debuggers and tracers some more; a busy machine multiplies that
/// by four, and more.
const PATIENCE: Duration = Duration::from_secs(2400);

/// What the machine's clock follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Clock {
    /// The host's.
    Host,
    /// The instructions that it has executed, one to a nanosecond, on its one processor.
    Instructions,
}

/// What to boot.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// Parameters besides those that every run has.
    pub(super) parameters: String,
    /// Where the serial line is kept.
    pub(super) log: &'a Path,
    /// What time is.
    pub(super) clock: Clock,
    /// MiB of memory.
    pub(super) memory: u32,
    /// Files that are disks to it.
    pub(super) disks: Vec<PathBuf>,
    /// Firmware that measures, and a TPM.
    pub(super) measured: Option<Measured>,
}

/// What measures a boot, and what outlives one.
#[derive(Debug)]
pub(super) struct Measured {
    /// OVMF's code, and its variables for this machine.
    pub(super) firmware: [PathBuf; 2],
    /// Where the TPM is controlled.
    pub(super) tpm: PathBuf,
    /// The last disk: what is written to it is kept.
    pub(super) kept: PathBuf,
}

/// MiB that suffice for the agent and its attackers.
pub(super) const MEMORY: u32 = 1024;

/// Boots, and returns the lines of the serial port when the guest has powered itself off.
///
/// A kernel that panics reboots at once, which ends the emulator: the missing result is then the
/// caller's to notice.
pub(super) fn run(machine: &Machine<'_>) -> anyhow::Result<Vec<String>> {
    let (accelerator, processors) = match machine.clock {
        Clock::Host => {
            // Processors take turns: run at once, one may go on executing code that another has
            // changed (QEMU 7.2), which is what the kernel does at every attachment. Both then
            // spin on a breakpoint that is long gone from memory.
            let usual = |_unset| "tcg,thread=single".to_owned();
            (env::var(ACCELERATOR).unwrap_or_else(usual), "2")
        }
        Clock::Instructions => ("tcg,thread=single".to_owned(), "1"),
    };
    let mut qemu = program("nice");
    // The work beside it goes first.
    qemu.args(["-n", "10", PROGRAM, "-accel", &accelerator, "-machine", "q35", "-cpu", "max"]);
    if machine.clock == Clock::Instructions {
        qemu.args(["-icount", "shift=0,sleep=off"]);
    }
    qemu.args(["-smp", processors, "-m", &machine.memory.to_string()]);
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none"]);
    // NVMe is what both kernels have built in. Nothing written to a disk is kept.
    for (number, disk) in machine.disks.iter().enumerate() {
        let file = format!("if=none,format=raw,snapshot=on,id=d{number},file={}", disk.display());
        let device = format!("nvme,serial=d{number},drive=d{number}");
        qemu.args(["-drive", &file, "-device", &device]);
    }
    if let Some(Measured { firmware: [code, variables], tpm, kept }) = &machine.measured {
        let flash =
            |more: &str, file: &Path| format!("if=pflash,format=raw{more},file={}", file.display());
        qemu.args(["-drive", &flash(",readonly=on", code), "-drive", &flash("", variables)]);
        qemu.args(["-chardev", &format!("socket,id=tpm,path={}", tpm.display())]);
        qemu.args(["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"]);
        qemu.args(["-drive", &format!("if=none,format=raw,id=kept,file={}", kept.display())]);
        qemu.args(["-device", "nvme,serial=kept,drive=kept"]);
    }
    qemu.args(["-serial", "stdio", "-no-reboot", "-kernel"]).arg(machine.kernel);
    // A busy host lets the timer's test fail, which is a panic: an emulated timer needs none.
    qemu.arg("-initrd").arg(machine.initramfs).arg("-append").arg(format!(
        "console=ttyS0 quiet panic=-1 oops=panic random.trust_cpu=on mitigations=off nokaslr \
         no_timer_check {}",
        machine.parameters
    ));
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = qemu.spawn().with_context(|| format!("cannot run {PROGRAM}"))?;
    let serial = child.stdout.take().context("no serial line")?;
    let (tell, told) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(serial).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if tell.send(text).is_err() {
                return;
            }
        }
    });
    let mut log = File::create(machine.log)?;
    let mut lines = Vec::new();
    let until = Instant::now() + PATIENCE;
    let outcome = loop {
        match told.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                writeln!(log, "{line}")?;
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break Ok(()),
            Err(RecvTimeoutError::Timeout) => break Err("it did not end in time"),
        }
    };
    // The reader is gone when the emulator is; it is ended either way.
    drop(child.kill());
    child.wait()?;
    drop(reader.join());
    if let Err(why) = outcome {
        bail!("{why}; its last words are in {}", machine.log.display());
    }
    Ok(lines)
}
