//! Observers that run in the target's address space: uprobes, and stack samples.
//!
//! Nothing is collected: being allowed to place one is the finding.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::elf::Image;

/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: libc::c_ulong = 8;
/// `PERF_TYPE_SOFTWARE`.
const SOFTWARE: u32 = 1;
/// `PERF_COUNT_SW_CPU_CLOCK`.
const CPU_CLOCK: u64 = 0;
/// `PERF_SAMPLE_STACK_USER`.
const STACK_USER: u64 = 1 << 13;
/// The `disabled` bit: made, and never started.
const DISABLED: u64 = 1;
/// A multiple of eight below 64 KiB, as the kernel asks.
const STACK_BYTES: u32 = 4096;
/// Slow enough to disturb nobody, should it ever run.
const PERIOD: u64 = 1_000_000_000;

/// `struct perf_event_attr` up to `PERF_ATTR_SIZE_VER3`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clock_id: i32,
}

/// Places a uprobe on the first instruction of the target's program, and removes it.
///
/// That instruction ran once, long ago, so nothing passes it meanwhile.
///
/// # Errors
/// `EACCES` or `EPERM` where it is forbidden; `ENOENT` where the kernel has no uprobes or the file
/// cannot be found; `ENOEXEC` where the program cannot be understood.
pub fn place_uprobe(pid: Pid) -> Result<(), Errno> {
    let path = format!("/proc/{pid}/exe");
    let program = File::open(&path).map_err(errno)?;
    let image = Image::parse(|offset, buffer| program.read_exact_at(buffer, offset));
    let offset = image.ok().and_then(|image| image.entry_offset).ok_or(Errno::ENOEXEC)?;
    let kind = fs::read_to_string("/sys/bus/event_source/devices/uprobe/type").map_err(errno)?;
    let path = CString::new(path).or(Err(Errno::EINVAL))?;
    let attributes = Attributes {
        kind: kind.trim().parse().or(Err(Errno::EINVAL))?,
        flags: DISABLED,
        config1: path.as_ptr().addr() as u64,
        config2: offset,
        ..Attributes::default()
    };
    // `path` is alive until here, and the kernel has copied it.
    open(attributes, pid).map(drop)
}

/// Opens a sampler that would copy pieces of the target's stack, and closes it.
///
/// # Errors
/// `EACCES` or `EPERM` where it is forbidden, `ENOSYS` where the kernel has no perf events.
pub fn sample_stack(pid: Pid) -> Result<(), Errno> {
    let attributes = Attributes {
        kind: SOFTWARE,
        config: CPU_CLOCK,
        sample_period: PERIOD,
        sample_type: STACK_USER,
        flags: DISABLED,
        sample_stack_user: STACK_BYTES,
        ..Attributes::default()
    };
    open(attributes, pid).map(drop)
}

fn open(mut attributes: Attributes, pid: Pid) -> Result<OwnedFd, Errno> {
    attributes.size = u32::try_from(size_of::<Attributes>()).or(Err(Errno::E2BIG))?;
    let (any_cpu, no_group) = (-1, -1);
    // SAFETY: the kernel reads `size` bytes of `attributes`, which has its layout, and for a uprobe
    // the null-terminated string that `config1` points to, which the caller keeps alive.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            pid.as_raw(),
            any_cpu,
            no_group,
            CLOSE_ON_EXEC,
        )
    };
    let fd = RawFd::try_from(Errno::result(result)?).or(Err(Errno::EBADF))?;
    // SAFETY: the kernel just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
