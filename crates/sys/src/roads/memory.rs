//! Reading another process's memory from outside, and the machine's.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

/// `KCMP_VM`: do two processes share their memory?
const KCMP_VM: libc::c_long = 1;

/// Reads from the process with `process_vm_readv` and says how many bytes came.
///
/// # Errors
/// `EPERM` where it may not be traced; `EFAULT` where the page is sealed or not there.
pub fn read_memory(pid: Pid, address: usize, buffer: &mut [u8]) -> Result<usize, Errno> {
    let remote = [RemoteIoVec { base: address, len: buffer.len() }];
    process_vm_readv(pid, &mut [IoSliceMut::new(buffer)], &remote)
}

/// Reads one byte and writes the same byte back with `process_vm_writev`.
///
/// # Errors
/// As [`read_memory`], and `EFAULT` where the page may not be written.
pub fn rewrite_memory(pid: Pid, address: usize) -> Result<(), Errno> {
    let mut byte = [0];
    read_memory(pid, address, &mut byte)?;
    let remote = [RemoteIoVec { base: address, len: byte.len() }];
    process_vm_writev(pid, &[IoSlice::new(&byte)], &remote).map(drop)
}

/// Asks with `kcmp(2)` whether the process shares this one's memory: open to whoever may inspect
/// the target, and the way to learn which processes hold the same pages or files.
///
/// # Errors
/// `EPERM` where it may not be inspected, `ENOSYS` where the kernel lacks it.
pub fn shares_memory(pid: Pid) -> Result<bool, Errno> {
    let own = nix::unistd::getpid().as_raw();
    // SAFETY: kcmp takes its arguments by value.
    let result = unsafe { libc::syscall(libc::SYS_kcmp, own, pid.as_raw(), KCMP_VM, 0, 0) };
    Errno::result(result).map(|order| order == 0)
}

/// Reads the core size limit of the process and sets it to what it is: a core file is a copy of
/// memory, and the limit is what stands between.
///
/// # Errors
/// `EPERM` where it is forbidden, `ESRCH` when the process is gone.
pub fn rewrite_core_limit(pid: Pid) -> Result<(), Errno> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let (core, none) = (libc::RLIMIT_CORE, std::ptr::null());
    // SAFETY: the kernel fills a live structure of its own layout, and reads none.
    Errno::result(unsafe { libc::prlimit(pid.as_raw(), core, none, &raw mut limit) })?;
    let none = std::ptr::null_mut();
    // SAFETY: the kernel reads a live structure of its own layout, and fills none.
    Errno::result(unsafe { libc::prlimit(pid.as_raw(), core, &raw const limit, none) }).map(drop)
}

/// Memory of the whole machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RawMemory {
    /// `/proc/kcore`: the kernel's virtual memory, as a core file.
    Kernel,
    /// `/dev/mem`: physical memory.
    Physical,
}

/// Opens it for reading.
///
/// # Errors
/// `ENOENT` where the kernel was built without it or the container hides it, `EPERM` under lockdown.
pub fn open_raw_memory(memory: RawMemory) -> Result<File, Errno> {
    let path = match memory {
        RawMemory::Kernel => "/proc/kcore",
        RawMemory::Physical => "/dev/mem",
    };
    File::open(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}
