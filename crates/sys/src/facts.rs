//! What this kernel and this container allow, found out by doing it.
//!
//! Version numbers and configuration files say what ought to work; a seccomp profile, an LSM or an
//! outer supervisor decide what does. So each fact here that can be tried is tried once, in this
//! process or in one short-lived child, and what can only be read keeps the difference between
//! "not there" and "not readable". Nothing here decides what a fact means for a launch.
//!
//! Call [`Facts::probe`] before any secret is in ordinary memory: the child is a copy of this
//! process that may be traced for a moment. No program is executed, so that process monitors see
//! nothing out of the ordinary, and no zombie is left.

mod capability;
mod child;
mod files;
mod memory;

#[cfg(test)]
mod tests;

use nix::errno::Errno;

pub use capability::{Capabilities, Capability, effective_capabilities};
pub use child::Tracing;
pub use files::{Kernel, Reading, UserNamespace};
pub(crate) use memory::refusal;
pub use memory::{LockedMemory, secret_memory};

/// The outcome of trying something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// It was refused, and with this error.
    Refused(Errno),
    /// It could not be tried, for this reason.
    Untried(Errno),
    /// It was done.
    Works,
}

impl Probe {
    /// Whether it was done.
    #[must_use]
    pub const fn works(self) -> bool {
        matches!(self, Self::Works)
    }

    /// Why not, where it was not.
    #[must_use]
    pub const fn reason(self) -> Option<Errno> {
        match self {
            Self::Refused(reason) | Self::Untried(reason) => Some(reason),
            Self::Works => None,
        }
    }
}

impl<T> From<Result<T, Errno>> for Probe {
    fn from(result: Result<T, Errno>) -> Self {
        result.map_or_else(Self::Refused, |_| Self::Works)
    }
}

/// Who this process is to the kernel.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The real user.
    pub uid: u32,
    /// The user that permissions are checked against.
    pub euid: u32,
    /// The effective capabilities, each valid in [`Identity::user_namespace`] only.
    pub capabilities: Result<Capabilities, Errno>,
    /// Whether the capabilities count on the host.
    pub user_namespace: Reading<UserNamespace>,
    /// Whether no program started from here can gain privileges.
    pub no_new_privileges: bool,
}

/// All that was found out.
#[derive(Clone, Debug)]
pub struct Facts {
    /// A page of `memfd_secret`, made, mapped and written.
    pub secret_memory: Probe,
    /// How much memory may be locked.
    pub locked_memory: LockedMemory,
    /// Seccomp and ptrace, tried in a child.
    pub tracing: Tracing,
    /// Who is asking.
    pub identity: Identity,
    /// What the kernel and the node say of themselves.
    pub kernel: Kernel,
}

impl Facts {
    /// Finds out everything, in about a millisecond.
    #[must_use]
    pub fn probe() -> Self {
        Self {
            secret_memory: secret_memory(),
            locked_memory: LockedMemory::read(),
            tracing: Tracing::probe(),
            identity: Identity::read(),
            kernel: Kernel::read(),
        }
    }
}

impl Identity {
    /// Asks the kernel who this process is.
    #[must_use]
    pub fn read() -> Self {
        Self {
            uid: nix::unistd::getuid().as_raw(),
            euid: nix::unistd::geteuid().as_raw(),
            capabilities: effective_capabilities(),
            user_namespace: UserNamespace::read(),
            no_new_privileges: nix::sys::prctl::get_no_new_privs().unwrap_or(false),
        }
    }

    /// Whether it has a capability that also counts outside its own user namespace.
    #[must_use]
    pub fn has_on_host(&self, capability: Capability) -> bool {
        self.capabilities.as_ref().is_ok_and(|caps| caps.has(capability))
            && self.user_namespace.known() == Some(&UserNamespace::Initial)
    }
}
