//! The capabilities of this process that change what a launch can do.
//!
//! Reads only. Never allocates, so that the allocator can ask too.

use nix::errno::Errno;

/// `_LINUX_CAPABILITY_VERSION_3`: two words of 32 capabilities each.
const VERSION: u32 = 0x2008_0522;

/// A capability that matters here; the value is its bit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Capability {
    /// Lifts the limit on locked memory.
    IpcLock = 14,
    /// Lets a seccomp filter be installed without `no_new_privs`, among much else.
    SysAdmin = 21,
    /// Lets other users' and non-dumpable processes be traced.
    SysPtrace = 19,
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Whether the set has this one.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Words {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The effective capabilities of the calling thread.
///
/// # Errors
/// Whatever `capget(2)` answers; a seccomp filter can refuse it.
pub fn effective_capabilities() -> Result<Capabilities, Errno> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut words = [Words::default(); 2];
    // SAFETY: version 3 has the kernel read one `Header` and write two `Words`; both outlive the
    // call and have the layout of the kernel's structures.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    Errno::result(result)?;
    let [low, high] = words;
    Ok(Capabilities(u64::from(low.effective) | u64::from(high.effective) << 32))
}
