//! Whether memory can be sealed, and how much of it.
//!
//! The page that is tried is gone afterwards.

use nix::errno::Errno;

use super::Probe;
use super::capability::{Capability, effective_capabilities};
use crate::secretmem::{SecretFile, SecretMemoryError};

/// How much memory this process may lock, which is what `memfd_secret` counts against.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LockedMemory {
    /// The soft limit in bytes; `None` where there is none.
    pub soft_limit_bytes: Option<u64>,
    /// `CAP_IPC_LOCK` is there, which lifts the limit in the initial user namespace.
    pub may_exceed: bool,
}

impl LockedMemory {
    /// Reads the limit; one that cannot be read counts as zero.
    #[must_use]
    pub fn read() -> Self {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a live rlimit for the kernel to fill.
        unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
        Self {
            soft_limit_bytes: (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur),
            may_exceed: effective_capabilities().is_ok_and(|caps| caps.has(Capability::IpcLock)),
        }
    }
}

/// Makes, maps and writes a piece of secret memory.
///
/// `ENOSYS`: the kernel has none (before 5.14, before 6.5 without `secretmem.enable=1`, or a
/// sandbox that lacks it). `EPERM`: a seccomp filter. `EAGAIN`: the limit on locked memory.
#[must_use]
pub fn secret_memory() -> Probe {
    SecretFile::create(1)
        .and_then(|file| file.map())
        .map_err(|error| refusal(&error))
        .and_then(|mut page| page.write(0, &[1]).then_some(()).ok_or(Errno::EFAULT))
        .into()
}

/// The error number behind a refusal of secret memory.
pub(crate) const fn refusal(error: &SecretMemoryError) -> Errno {
    match error {
        SecretMemoryError::Unsupported => Errno::ENOSYS,
        SecretMemoryError::Limit => Errno::EAGAIN,
        SecretMemoryError::Create(reason) | SecretMemoryError::Map(reason) => *reason,
    }
}
