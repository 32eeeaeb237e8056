//! Which functions of the kernel our programs pass through, and what they pass to them.

use cloudtaser_core::needs::{NEEDS, Program, Step};

use super::{
    actor::Actor,
    policy::{Family, Hook, call_name},
};
use crate::{desk::Desk, settings::aliases};

/// What a call is about, which decides what its arguments can be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum About {
    /// A program is executed; the argument is its path.
    Exec,
    /// A file is opened or read; the argument is its path or the file.
    Path,
    /// A connection; the argument is an address or a socket.
    Peer,
    /// A descriptor that is written to.
    Output,
    /// Numbers that are known.
    Number(&'static [i64]),
    /// Nothing is known.
    Anything,
}

/// A passage of one of our programs through a function.
#[derive(Clone, Debug)]
pub(super) struct Passage {
    pub(super) program: Program,
    pub(super) step: Step,
    pub(super) reason: &'static str,
    pub(super) about: About,
    /// Which argument of the function that is.
    pub(super) index: u32,
    /// Another argument of which the numbers are known.
    pub(super) more: Option<(u32, &'static [i64])>,
    /// Whether the process that will be the app makes the call.
    pub(super) execs: bool,
}

const PRCTL: &[i64] = &[1, 3, 4, 15, 36, 38, 39];
const PTRACE: &[i64] =
    &[0, 5, 7, 9, 12, 13, 17, 24, 0x4200, 0x4201, 0x4204, 0x4205, 0x4206, 0x4207, 0x420a, 0x420b];
const PROTECTION: &[i64] = &[0, 1, 3];
const FAMILIES: &[i64] = &[1, 2, 10];
/// A thread, and a fork.
const CLONE: &[i64] = &[0x003d_0f00, 0x007d_0f00, 0x0120_0011, 17];

fn about(call: &str) -> (About, u32) {
    match call {
        "execve" => (About::Exec, 0),
        "execveat" => (About::Exec, 1),
        "open" | "stat" | "readlink" | "access" => (About::Path, 0),
        "openat" | "openat2" | "newfstatat" | "faccessat2" => (About::Path, 1),
        "read" | "readv" | "getdents64" | "fstat" | "lseek" => (About::Path, 0),
        "connect" => (About::Peer, 1),
        "write" | "writev" | "sendto" | "sendmsg" => (About::Output, 0),
        "prctl" => (About::Number(PRCTL), 0),
        "ptrace" => (About::Number(PTRACE), 0),
        "mmap" | "mprotect" => (About::Number(PROTECTION), 2),
        "socket" => (About::Number(FAMILIES), 0),
        "clone" => (About::Number(CLONE), 0),
        _ => (About::Anything, 0),
    }
}

/// `MAY_READ`: no file is written but the log and sockets.
const MAY_READ: &[i64] = &[4];
/// `O_RDONLY` with `O_LARGEFILE`, `O_CLOEXEC` and `O_DIRECTORY`.
const FLAGS: &[i64] = &[0x8_8000, 0x9_8000, 0x8_0000, 0x9_0000];
/// How the parts of a program are mapped.
const MAPPED: &[i64] = &[1, 3, 5];

fn more(function: &str, call: &str) -> Option<(u32, &'static [i64])> {
    match (function, call) {
        ("file_permission", _) => Some((1, MAY_READ)),
        ("mmap_file", _) => Some((1, MAPPED)),
        ("sys_open", _) => Some((1, FLAGS)),
        ("sys_openat", _) => Some((2, FLAGS)),
        _ => None,
    }
}

/// Functions that are no system calls, by the call that leads through them.
const FUNCTIONS: &[(&[&str], &str, About, u32)] = &[
    (
        &[
            "bprm_check",
            "bprm_check_security",
            "bprm_creds_for_exec",
            "bprm_creds_from_file",
            "bprm_committing_creds",
            "bprm_committed_creds",
            "begin_new_exec",
        ],
        "execve",
        About::Exec,
        0,
    ),
    (&["do_filp_open", "do_sys_open", "do_sys_openat2"], "open", About::Path, 1),
    (&["file_open", "vfs_open"], "open", About::Path, 0),
    (&["fd_install"], "open", About::Path, 1),
    (&["file_permission", "vfs_read"], "read", About::Path, 0),
    (&["mmap_file"], "mmap", About::Exec, 0),
    (&["file_mprotect", "do_mprotect_pkey"], "mprotect", About::Number(PROTECTION), 2),
    (&["socket_create", "__sys_socket"], "socket", About::Number(FAMILIES), 0),
    (&["socket_connect", "__sys_connect"], "connect", About::Peer, 1),
    (&["tcp_connect", "tcp_v4_connect", "tcp_v6_connect"], "connect", About::Peer, 0),
    (&["socket_sendmsg", "tcp_sendmsg", "udp_sendmsg", "vfs_write"], "sendto", About::Peer, 0),
    (&["socket_recvmsg", "tcp_recvmsg"], "recvfrom", About::Peer, 0),
    (&["task_prctl"], "prctl", About::Number(PRCTL), 0),
    (&["ptrace_access_check", "ptrace_traceme", "ptrace_may_access"], "ptrace", About::Anything, 0),
    (&["task_alloc", "kernel_clone", "_do_fork", "wake_up_new_task"], "clone", About::Anything, 0),
    (&["task_kill"], "kill", About::Anything, 0),
    (
        &[
            "bpf",
            "bpf_map",
            "bpf_prog",
            "bpf_map_alloc",
            "bpf_prog_alloc",
            "bpf_prog_load",
            "bpf_check",
        ],
        "bpf",
        About::Anything,
        0,
    ),
    (&["perf_event_open", "perf_event_alloc"], "perf_event_open", About::Anything, 0),
];

/// The passages of our programs through what a hook is attached to, by any of these names.
pub(super) fn passages(hook: &Hook<'_>, name: &str) -> Vec<Passage> {
    let plain = name.strip_prefix("security_").unwrap_or(name);
    let (call, about, index) = match (hook.family, call_name(name)) {
        (Family::Lsm, _) | (_, None) => {
            let known = FUNCTIONS.iter().find(|(names, ..)| names.contains(&plain));
            let Some((_, call, about, index)) = known else { return Vec::new() };
            (*call, *about, *index)
        }
        (Family::Tracepoint, Some(call)) => (call, About::Anything, 0),
        (_, Some(call)) => {
            let (about, index) = about(call);
            (call, about, index)
        }
    };
    let more = more(plain, call);
    let needs = NEEDS.of_call(call);
    let passage = |calls: &cloudtaser_core::needs::Calls| Passage {
        program: calls.program,
        step: calls.step,
        reason: calls.reason,
        about,
        index,
        more,
        execs: matches!(call, "execve" | "execveat"),
    };
    needs.map(passage).collect()
}

impl Passage {
    /// Texts that an argument of this passage can be.
    pub(super) fn texts(&self, desk: &Desk<'_>, actor: &Actor) -> Vec<String> {
        let paths = match self.program {
            Program::Agent => desk.settings.host_paths(),
            Program::Wrapper | Program::InApp => desk.settings.pod_paths(&desk.selected),
        };
        match self.about {
            About::Exec => {
                let apps = desk.selected.iter().flat_map(|workload| workload.programs());
                actor.binary.iter().cloned().chain(apps.map(str::to_owned)).collect()
            }
            About::Path => {
                let own = paths.into_iter().map(|need| need.path.replace("/PID/", "/1/"));
                let mut all: Vec<String> = own.flat_map(|path| aliases(&path)).collect();
                if self.program == Program::Wrapper {
                    all.extend(desk.settings.tokens(&desk.selected));
                }
                all
            }
            // Pipes, sockets and what a container's log is.
            About::Output => ["pipe:[1]", "socket:[1]", "/dev/null"].map(str::to_owned).into(),
            _ => Vec::new(),
        }
    }
}
