//! Roads through the kernel itself: code put into it, and handles on the programs that guard it.
//!
//! Each asks for what cannot work (a module that is none, a kexec with impossible flags, a program
//! that does nothing), so that the only finding is whether the kernel looked at it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;

/// `BPF_PROG_LOAD`.
const PROG_LOAD: libc::c_long = 5;
/// `BPF_PROG_TYPE_SOCKET_FILTER`, the least that a program can be.
const SOCKET_FILTER: u32 = 1;
/// `BPF_PROG_TYPE_RAW_TRACEPOINT`, which sees the arguments of every call of every process.
const RAW_TRACEPOINT: u32 = 17;
/// `r0 = 0; exit`.
const DO_NOTHING: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
/// No flag that any kernel knows.
const IMPOSSIBLE_FLAGS: libc::c_ulong = 0x8000;

/// An object of BPF that has an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BpfObject {
    /// What ties a program to its hook.
    Link,
    /// A map.
    Map,
    /// A program.
    Program,
}

/// `union bpf_attr` of `BPF_PROG_LOAD`, up to the last field that every kernel has.
#[repr(C)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// `union bpf_attr` of the `…_GET_FD_BY_ID` commands.
#[repr(C)]
struct IdAttributes {
    id: u32,
    next: u32,
    flags: u32,
}

/// Loads a program that does nothing, and drops it.
///
/// # Errors
/// `EPERM` where it is forbidden.
pub fn load_program() -> Result<(), Errno> {
    load(SOCKET_FILTER).map(drop)
}

/// Loads a program that does nothing, of a kind that could see what others do, and keeps it.
///
/// # Errors
/// `EPERM` where it is forbidden.
pub fn load_tracer() -> Result<OwnedFd, Errno> {
    load(RAW_TRACEPOINT)
}

fn load(kind: u32) -> Result<OwnedFd, Errno> {
    const LICENCE: &CStr = c"GPL";
    let attributes = LoadAttributes {
        kind,
        count: 2,
        instructions: DO_NOTHING.as_ptr().addr() as u64,
        licence: LICENCE.as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the attributes have the kernel's layout and their size is passed; instructions and
    // licence are constants, which outlive the call.
    owned(unsafe {
        libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attributes, size_of::<LoadAttributes>())
    })
}

/// Attaches a program to the entry of every system call, and takes it away again; -1 for one that
/// does not exist.
///
/// # Errors
/// `EPERM` where it is forbidden, `EBADF` where the kernel looked for the program.
pub fn attach_program(program: RawFd) -> Result<(), Errno> {
    const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
    const PLACE: &CStr = c"sys_enter";
    let attributes = TracepointAttributes {
        name: PLACE.as_ptr().addr() as u64,
        program: program.cast_unsigned(),
        padding: 0,
    };
    // SAFETY: the attributes have the kernel's layout and their size is passed; the name is a
    // constant, which outlives the call.
    owned(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            RAW_TRACEPOINT_OPEN,
            &raw const attributes,
            size_of::<TracepointAttributes>(),
        )
    })
    .map(drop)
}

/// Asks for a handle on somebody's map, program or link, and drops it.
///
/// # Errors
/// `EPERM` where it is forbidden, `ENOENT` where there is none of this id.
pub fn open_bpf_object(kind: BpfObject, id: u32) -> Result<(), Errno> {
    let command: libc::c_long = match kind {
        BpfObject::Program => 13,
        BpfObject::Map => 14,
        BpfObject::Link => 30,
    };
    let attributes = IdAttributes { id, next: 0, flags: 0 };
    // SAFETY: the attributes have the kernel's layout and their size is passed.
    owned(unsafe {
        libc::syscall(libc::SYS_bpf, command, &raw const attributes, size_of::<IdAttributes>())
    })
    .map(drop)
}

/// `union bpf_attr` of `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct TracepointAttributes {
    name: u64,
    program: u32,
    padding: u32,
}

/// `union bpf_attr` of `BPF_LINK_DETACH` and `BPF_LINK_UPDATE`.
#[repr(C)]
struct LinkAttributes {
    link: i32,
    program: i32,
    flags: u32,
    old_program: u32,
}

/// `union bpf_attr` of `BPF_OBJ_GET`.
#[repr(C)]
struct PathAttributes {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// Asks the kernel to take the program of a link away; -1 for a link that does not exist.
///
/// # Errors
/// `EPERM` where it is forbidden, `EBADF` where the kernel looked for the link, `EOPNOTSUPP` where
/// links of this type stay.
pub fn detach_link(link: RawFd) -> Result<(), Errno> {
    const LINK_DETACH: libc::c_long = 34;
    let attributes = link.cast_unsigned();
    // SAFETY: the attributes are the one word that the kernel knows, and its size is passed.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_bpf, LINK_DETACH, &raw const attributes, size_of::<u32>())
    })
    .map(drop)
}

/// Asks the kernel to put another program into a link; neither exists when both are -1.
///
/// # Errors
/// `EPERM` where it is forbidden, `EBADF` where the kernel looked for the link.
pub fn update_link(link: RawFd, program: RawFd) -> Result<(), Errno> {
    const LINK_UPDATE: libc::c_long = 29;
    let attributes = LinkAttributes { link, program, flags: 0, old_program: 0 };
    // SAFETY: the attributes have the kernel's layout and their size is passed.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            LINK_UPDATE,
            &raw const attributes,
            size_of::<LinkAttributes>(),
        )
    })
    .map(drop)
}

/// Opens whatever of BPF is pinned at a path.
///
/// # Errors
/// `EPERM` where it is forbidden.
pub fn open_pinned(path: &Path) -> Result<OwnedFd, Errno> {
    const OBJ_GET: libc::c_long = 7;
    let path = c_string(path)?;
    let attributes = PathAttributes { path: path.as_ptr().addr() as u64, descriptor: 0, flags: 0 };
    // SAFETY: the attributes have the kernel's layout and their size is passed; the path is
    // null-terminated and lives until the call has returned.
    owned(unsafe {
        libc::syscall(libc::SYS_bpf, OBJ_GET, &raw const attributes, size_of::<PathAttributes>())
    })
}

/// Asks for every port of the machine, by which a disk can be told to write into any memory, and
/// gives them back.
///
/// # Errors
/// `EPERM` where it is forbidden, `ENOSYS` where the kernel or the processor has none.
pub fn take_ports() -> Result<(), Errno> {
    #[cfg(target_arch = "x86_64")]
    return [3, 0].into_iter().try_for_each(|level: libc::c_long| {
        // SAFETY: iopl takes its argument by value, and changes no memory.
        Errno::result(unsafe { libc::syscall(libc::SYS_iopl, level) }).map(drop)
    });
    #[cfg(not(target_arch = "x86_64"))]
    Err(Errno::ENOSYS)
}

/// Asks the kernel to swap to a file or a device.
///
/// # Errors
/// `EPERM` where it is forbidden, `EINVAL` where the kernel looked at what it was given.
pub fn swap_to(path: &Path) -> Result<(), Errno> {
    let path = c_string(path)?;
    // SAFETY: the path is null-terminated and lives until the call has returned.
    Errno::result(unsafe { libc::swapon(path.as_ptr(), 0) }).map(drop)
}

/// Asks for an unmount with flags that contradict each other, so that nothing is unmounted.
///
/// # Errors
/// `EPERM` where it is forbidden, `EINVAL` where the kernel came as far as the flags, or where the
/// path is no mount point.
pub fn try_unmount(path: &Path) -> Result<(), Errno> {
    let path = c_string(path)?;
    // SAFETY: the path is null-terminated and lives until the call has returned.
    Errno::result(unsafe { libc::umount2(path.as_ptr(), libc::MNT_EXPIRE | libc::MNT_DETACH) })
        .map(drop)
}

fn c_string(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).or(Err(Errno::EINVAL))
}

/// Offers bytes that are no module.
///
/// # Errors
/// `ENOEXEC` where the kernel looked at them, `EPERM` where it is forbidden.
pub fn offer_module() -> Result<(), Errno> {
    let bytes = [0_u8; 128];
    let no_parameters = c"";
    // SAFETY: the kernel reads the buffer, whose length is passed, and a null-terminated constant.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_init_module, bytes.as_ptr(), bytes.len(), no_parameters.as_ptr())
    })
    .map(drop)
}

/// Offers a file that is no module.
///
/// # Errors
/// `ENOEXEC` where the kernel looked at it, `EPERM` where it is forbidden.
pub fn offer_module_file(file: &File) -> Result<(), Errno> {
    let (no_parameters, no_flags) = (c"", 0);
    // SAFETY: a descriptor of ours, a null-terminated constant, and an integer.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), no_parameters.as_ptr(), no_flags)
    })
    .map(drop)
}

/// Asks for another kernel, with flags that none knows.
///
/// # Errors
/// `EINVAL` where the kernel looked at it, `EPERM` where it is forbidden.
pub fn offer_kernel() -> Result<(), Errno> {
    let (entry, segments, none) = (0, 0, std::ptr::null::<u8>());
    // SAFETY: no segment is passed, so no memory is read.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_kexec_load, entry, segments, none, IMPOSSIBLE_FLAGS)
    })
    .map(drop)
}

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(Errno::result(result)?).or(Err(Errno::EBADF))?;
    // SAFETY: the kernel just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
