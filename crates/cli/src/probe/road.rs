//! The list of roads: what each is called, who may walk it, and whether it needs the target's help.
//!
//! The rows are those of the threat model. T2 (code in the app's container) walks the roads of T1
//! here: what sets it apart, a second use of the login, is not a road into a process.

use serde::{Deserialize, Serialize};

/// Whether a road only reads, or makes someone act.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// The target, or the kernel in its address space, does something for the attacker.
    Active,
    /// What is there is read. The target may be stopped meanwhile.
    Passive,
}

impl Kind {
    /// The word used in reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

macro_rules! roads {
    ($($(#[$doc:meta])* $variant:ident, $id:literal, $adversary:literal, $kind:ident, $what:literal;)+) => {
        /// A way by which another process could read the target's secrets.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
        pub(crate) enum Road {
            $($(#[$doc])* #[serde(rename = $id)] $variant,)+
        }

        impl Road {
            /// All, in the order in which they are tried: those that disturb the target last.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            /// The stable name.
            pub(crate) const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id),+ }
            }

            /// The weakest adversary who may walk it.
            pub(crate) const fn adversary(self) -> &'static str {
                match self { $(Self::$variant => $adversary),+ }
            }

            /// Whether it only reads.
            pub(crate) const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind),+ }
            }

            /// Whether only its being open can be told: nothing at its end is searched.
            pub(crate) const fn is_only_opened(self) -> bool {
                matches!(
                    self,
                    Self::DevMem
                        | Self::Kcore
                        | Self::PerfSample
                        | Self::Ports
                        | Self::Swap
                        | Self::Uprobe
                )
            }

            /// What an attacker does, for people.
            pub(crate) const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what),+ }
            }
        }
    };
}

roads! {
    /// The environment block.
    Environ, "environ", "T1", Passive, "read /proc/PID/environ";
    /// The command line.
    Cmdline, "cmdline", "T1", Passive, "read /proc/PID/cmdline";
    /// Names of mappings.
    Maps, "maps", "T1", Passive, "read /proc/PID/maps";
    /// The auxiliary vector.
    Auxv, "auxv", "T1", Passive, "read /proc/PID/auxv";
    /// The same doors, one per thread.
    Task, "task", "T1", Passive, "read /proc/PID/task/*";
    /// The kernel's view of the stack.
    Stack, "stack", "T3", Passive, "read /proc/PID/stack";
    /// All memory through procfs.
    Mem, "mem", "T1", Passive, "read /proc/PID/mem";
    /// All memory by system call.
    VmReadv, "process-vm-readv", "T1", Passive, "process_vm_readv";
    /// Mapped files by address.
    MapFiles, "map-files", "T3", Passive, "open /proc/PID/map_files";
    /// Open files by number.
    Fd, "fd", "T1", Passive, "reopen /proc/PID/fd";
    /// What procfs says of open files.
    Fdinfo, "fdinfo", "T1", Passive, "read /proc/PID/fdinfo";
    /// Kernel memory by file.
    Kcore, "kcore", "T3", Passive, "open /proc/kcore";
    /// Physical memory by file.
    DevMem, "dev-mem", "T3", Passive, "open /dev/mem";
    /// Memory that the kernel wrote to a disk.
    Swap, "swap", "T3", Passive, "read the swap device";
    /// The machine's own registers, by which a device reads memory.
    Ports, "ports", "T3", Passive, "iopl: all I/O ports";
    /// Attach, then read word by word.
    PtracePeek, "ptrace-peek", "T1", Passive, "ptrace attach, PEEK";
    /// A core file made by a debugger.
    Gcore, "gcore", "T1", Passive, "gcore";
    /// Copies of the target's descriptors.
    PidfdGetfd, "pidfd-getfd", "T1", Active, "pidfd_getfd, map";
    /// Attach, then make the target copy its pages to where they can be seen.
    PtraceInject, "ptrace-inject", "T1", Active, "ptrace, injected read";
    /// A debugger calls `getenv` in the target.
    GdbGetenv, "gdb-getenv", "T1", Active, "gdb: call getenv()";
    /// A breakpoint by the kernel with access to the target's memory.
    Uprobe, "uprobe", "T3", Active, "uprobe on its code";
    /// A sampler that copies pieces of the target's stack.
    PerfSample, "perf-sample", "T1", Active, "perf stack samples";
    /// A core file made by the kernel.
    KernelCore, "kernel-core", "T1", Passive, "kernel core by signal";
}
