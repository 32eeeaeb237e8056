//! The table.

use super::{
    Access, Calls, Capability, Endpoint, Needs, PathNeed, Program, SocketNeed, Step, Without,
};
use crate::names;

use Program::{Agent, InApp, Wrapper};
use Without::{Ends, Lowers, Notes};

const PLAIN: &str = "values lie in ordinary memory: the level says memory=plain";
const BY_ENVIRON: &str = "the app gets its values in an ordinary environment, which others read: \
                          the level says environ=plain";
const NO_FILES: &str = "an app that asks for secret files does not get them";
const FIRST_IMAGE: &str = "programs that the app executes are not followed: the level says so";
const UNKNOWN: &str = "one fact of the surroundings is unknown, and the level says so";
const NO_AGENT: &str = "the level says agent=off";
const NO_REPORT: &str = "no processor of a confidential machine signs what the node is worth";
const NO_QUOTE: &str = "what the node signs is the word of its software alone (L0)";
const DEGRADED: &str = "the agent's state is DEGRADED or OFF and says why";

/// What the programs need.
pub const NEEDS: Needs =
    Needs { calls: CALLS, capabilities: CAPABILITIES, paths: PATHS, sockets: SOCKETS };

const fn calls(
    program: Program,
    step: Step,
    names: &'static [&'static str],
    reason: &'static str,
    without: Without,
) -> Calls {
    Calls { program, step, names, reason, since: None, without }
}

const CALLS: &[Calls] = &[
    calls(
        Wrapper,
        Step::Start,
        &["arch_prctl", "brk", "execve", "mmap", "mprotect", "set_tid_address"],
        "being executed as a static program",
        Ends,
    ),
    calls(
        Wrapper,
        Step::Settle,
        &[
            "clone",
            "exit",
            "exit_group",
            "futex",
            "getpid",
            "gettid",
            "madvise",
            "mincore",
            "munmap",
            "rt_sigaction",
            "rt_sigprocmask",
            "rt_sigreturn",
            "sched_yield",
            "set_robust_list",
            "sigaltstack",
        ],
        "memory, threads, signals",
        Ends,
    ),
    calls(
        Wrapper,
        Step::Settle,
        &["prctl"],
        "not being dumpable; being the reaper of the tree",
        Ends,
    ),
    calls(
        Wrapper,
        Step::Settle,
        &[
            "close",
            "fcntl",
            "fstat",
            "getdents64",
            "ioctl",
            "open",
            "poll",
            "pread64",
            "read",
            "readlink",
            "stat",
            "write",
        ],
        "files, descriptors, the log",
        Ends,
    ),
    calls(
        Wrapper,
        Step::Settle,
        &["capget", "faccessat2", "geteuid", "getuid", "getxattr", "prlimit64"],
        "what the program to start is, and what this process may do",
        Notes(UNKNOWN),
    ),
    calls(Wrapper, Step::Seal, &["getrandom"], "keys of TLS; names of placeholders", Ends),
    Calls {
        since: Some("5.14 (on by default since 6.5)"),
        ..calls(
            Wrapper,
            Step::Seal,
            &["memfd_secret", "ftruncate"],
            "pages that the kernel takes out of its own map",
            Lowers(PLAIN),
        )
    },
    calls(
        Wrapper,
        Step::Connect,
        &["bind", "connect", "getsockopt", "recvfrom", "recvmsg", "sendto", "setsockopt", "socket"],
        "OpenBao, DNS, the agent",
        Ends,
    ),
    calls(
        Wrapper,
        Step::Launch,
        &["fork", "kill", "memfd_create", "pipe2", "sendmsg", "socketpair", "wait4"],
        "starting the app",
        Ends,
    ),
    calls(
        Wrapper,
        Step::Launch,
        &["ptrace", "process_vm_readv", "process_vm_writev", "tkill"],
        "placing values at the app's exec",
        Lowers(BY_ENVIRON),
    ),
    calls(
        Wrapper,
        Step::Launch,
        &["seccomp"],
        "being asked before each later exec of the tree",
        Lowers(FIRST_IMAGE),
    ),
    Calls {
        since: Some("5.6"),
        ..calls(
            Wrapper,
            Step::Launch,
            &["fchmod", "openat2", "pwrite64"],
            "answering an app that opens a secret file",
            Lowers(NO_FILES),
        )
    },
    calls(
        Wrapper,
        Step::Supervise,
        &["clock_nanosleep", "eventfd2", "getppid", "rt_sigqueueinfo", "signalfd4", "tgkill"],
        "signals, waiting, renewal",
        Ends,
    ),
    calls(
        InApp,
        Step::Launch,
        &["mmap", "close", "recvmsg"],
        "mapping the pages with the values into the app",
        Lowers(BY_ENVIRON),
    ),
    calls(
        InApp,
        Step::Launch,
        &["prctl", "close_range"],
        "making the app non-dumpable",
        Lowers("the app stays dumpable: the level's facet attach says so"),
    ),
    calls(Agent, Step::Guard, &["bpf"], "loading the programs, reading their maps", Ends),
    calls(
        Agent,
        Step::Guard,
        &["perf_event_open", "process_vm_readv", "ptrace", "pidfd_open", "pidfd_getfd"],
        "attacking its own canary, to know what it is worth",
        Lowers(DEGRADED),
    ),
    calls(
        Agent,
        Step::Guard,
        &["mount", "memfd_secret", "setrlimit", "prctl"],
        "pins on the host's bpffs, limits, the canary's memory",
        Lowers(DEGRADED),
    ),
    calls(
        Agent,
        Step::Guard,
        &[
            "accept4", "bind", "listen", "openat", "read", "recvmsg", "sendmsg", "socket", "write",
            "unlink", "fsync",
        ],
        "the socket that wrappers ask, the audit file",
        Ends,
    ),
];

const CAPABILITIES: &[Capability] = &[
    Capability {
        program: Wrapper,
        name: "SYS_PTRACE",
        reason: "a non-dumpable app under exec-follow",
        without: Lowers(
            "without it the app stays dumpable, so that its own uid may attach where no agent runs",
        ),
    },
    Capability {
        program: Wrapper,
        name: "IPC_LOCK",
        reason: "more sealed memory than RLIMIT_MEMLOCK allows, on kernels that look at it (6.1)",
        without: Lowers(PLAIN),
    },
    Capability {
        program: Wrapper,
        name: "KILL",
        reason: "signals to an app that changed its uid",
        without: Lowers("such an app does not hear of a stop before the pod's grace ends"),
    },
    Capability { program: Agent, name: "BPF", reason: "loading programs", without: Ends },
    Capability {
        program: Agent,
        name: "PERFMON",
        reason: "loading programs that trace",
        without: Ends,
    },
    Capability {
        program: Agent,
        name: "SYS_ADMIN",
        reason: "pins, the host's mounts",
        without: Ends,
    },
    Capability {
        program: Agent,
        name: "SYS_PTRACE",
        reason: "who asks: links below /proc; attacks on the canary",
        without: Ends,
    },
    Capability {
        program: Agent,
        name: "SYS_RESOURCE",
        reason: "memory limits of maps on older kernels",
        without: Lowers(DEGRADED),
    },
];

const PATHS: &[PathNeed] = &[
    PathNeed {
        program: Wrapper,
        step: Step::Read,
        path: "/etc/resolv.conf",
        access: Access::Read,
        reason: "name servers",
        without: Ends,
    },
    PathNeed {
        program: Wrapper,
        step: Step::Read,
        path: "/etc/hosts",
        access: Access::Read,
        reason: "names that are written down",
        without: Notes("only DNS is asked"),
    },
    PathNeed {
        program: Wrapper,
        step: Step::Read,
        path: "/etc/ssl/certs/ca-certificates.crt",
        access: Access::Read,
        reason: "authorities, where the plan names none",
        without: Notes("the next of four usual places is tried"),
    },
    PathNeed {
        program: Wrapper,
        step: Step::Settle,
        path: "/proc/self/",
        access: Access::Read,
        reason: "own threads and user namespace; `/proc` must be mounted",
        without: Ends,
    },
    PathNeed {
        program: Wrapper,
        step: Step::Settle,
        path: "/proc/sys/kernel/",
        access: Access::Read,
        reason: "kernel release, Yama, core pattern",
        without: Notes(UNKNOWN),
    },
    PathNeed {
        program: Wrapper,
        step: Step::Settle,
        path: "/proc/swaps",
        access: Access::Read,
        reason: "whether there is swap",
        without: Notes(UNKNOWN),
    },
    PathNeed {
        program: Wrapper,
        step: Step::Settle,
        path: "/sys/kernel/security/",
        access: Access::Read,
        reason: "which security modules and which lockdown",
        without: Notes(UNKNOWN),
    },
    PathNeed {
        program: Wrapper,
        step: Step::Launch,
        path: "/proc/PID/mem",
        access: Access::Write,
        reason: "answering an app that opens a secret file (PID is the app); placing values where a \
                 filter refuses process_vm_readv and process_vm_writev, as containerd's does",
        without: Lowers(NO_FILES),
    },
    PathNeed {
        program: Wrapper,
        step: Step::Settle,
        path: names::AGENT_SOCKET,
        access: Access::Write,
        reason: "asking the node agent for its guard",
        without: Lowers(NO_AGENT),
    },
    PathNeed {
        program: Agent,
        step: Step::Guard,
        path: "/proc/",
        access: Access::Read,
        reason: "who asks, who attacked whom",
        without: Ends,
    },
    PathNeed {
        program: Agent,
        step: Step::Guard,
        path: "/sys/fs/bpf/cloudtaser/",
        access: Access::Write,
        reason: "pins that outlive the agent",
        without: Lowers(DEGRADED),
    },
    PathNeed {
        program: Agent,
        step: Step::Guard,
        path: "/sys/kernel/btf/vmlinux",
        access: Access::Read,
        reason: "the layout of this kernel",
        without: Ends,
    },
    PathNeed {
        program: Agent,
        step: Step::Guard,
        path: "/dev/tpmrm0",
        access: Access::Write,
        reason: "quotes of what the machine booted",
        without: Notes(NO_QUOTE),
    },
    PathNeed {
        program: Agent,
        step: Step::Guard,
        path: "/sys/kernel/security/tpm0/binary_bios_measurements",
        access: Access::Read,
        reason: "the log of what was measured, beside a quote",
        without: Notes(NO_QUOTE),
    },
    PathNeed {
        program: Agent,
        step: Step::Guard,
        path: "/sys/kernel/config/tsm/report/",
        access: Access::Write,
        reason: "reports of a confidential machine",
        without: Notes(NO_REPORT),
    },
    PathNeed {
        program: Agent,
        step: Step::Guard,
        path: names::AGENT_AUDIT_STATE,
        access: Access::Write,
        reason: "audit numbers over restarts",
        without: Ends,
    },
];

const SOCKETS: &[SocketNeed] = &[
    SocketNeed {
        program: Wrapper,
        step: Step::Connect,
        family: "AF_INET",
        kind: "SOCK_STREAM",
        reason: "OpenBao (AF_INET6 alike)",
        without: Ends,
    },
    SocketNeed {
        program: Wrapper,
        step: Step::Connect,
        family: "AF_INET",
        kind: "SOCK_DGRAM",
        reason: "DNS (AF_INET6 alike), where the server is named",
        without: Ends,
    },
    SocketNeed {
        program: Wrapper,
        step: Step::Settle,
        family: "AF_UNIX",
        kind: "SOCK_SEQPACKET",
        reason: "the node agent",
        without: Lowers(NO_AGENT),
    },
    SocketNeed {
        program: Wrapper,
        step: Step::Launch,
        family: "AF_UNIX",
        kind: "SOCK_SEQPACKET",
        reason: "a pair between the wrapper and the child that becomes the app",
        without: Ends,
    },
];

/// What listens elsewhere.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        program: Wrapper,
        protocol: "TCP",
        port: 8200,
        reason: "OpenBao, where it is reached directly",
    },
    Endpoint {
        program: Wrapper,
        protocol: "TCP",
        port: 443,
        reason: "a beacon, where OpenBao opens no port",
    },
    Endpoint {
        program: Wrapper,
        protocol: "UDP",
        port: 53,
        reason: "DNS; TCP where an answer is too long",
    },
];
