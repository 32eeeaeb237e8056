//! What each program asks of a kernel, a container and a network, and what happens without it.
//!
//! One table, from which `docs/syscalls.md`, seccomp profiles and the exceptions for KubeArmor and
//! Tetragon are made, and which the checker of policies reads. A test runs the real wrapper under a
//! filter that allows nothing else.
//!
//! The table is of the wrapper as it is shipped, static and for x86-64, and of the agent. What the
//! app itself needs is the app's.

mod table;

pub use table::{ENDPOINTS, NEEDS};

/// A program of ours that needs something.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Program {
    /// `cloudtaser-agent`, on the node.
    Agent,
    /// System calls that the wrapper has the app make, at each of its execs.
    InApp,
    /// `cloudtaser-wrapper`, in the pod.
    Wrapper,
}

impl Program {
    /// Its name, as a heading.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "cloudtaser-agent",
            Self::InApp => "the app, on the wrapper's behalf",
            Self::Wrapper => "cloudtaser-wrapper",
        }
    }
}

/// What is being done when it is needed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// The wrapper is executed.
    Start,
    /// It settles: memory, threads, signals, and what it finds of its surroundings.
    Settle,
    /// It reads the authorities, names of hosts and the credential.
    Read,
    /// It talks to OpenBao, directly or by the road.
    Connect,
    /// It makes the pages that hold the values.
    Seal,
    /// It starts the app and gives it the values.
    Launch,
    /// It passes signals on, reaps, renews and rotates.
    Supervise,
    /// The node agent denies others the roads to the app.
    Guard,
}

impl Step {
    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Settle => "settle",
            Self::Read => "read",
            Self::Connect => "connect",
            Self::Seal => "seal",
            Self::Launch => "launch",
            Self::Supervise => "supervise",
            Self::Guard => "guard",
        }
    }

    /// What is being done, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Start => "the wrapper is executed",
            Self::Settle => "the wrapper settles and looks at its surroundings",
            Self::Read => "the wrapper reads authorities, names of hosts and its credential",
            Self::Connect => "the wrapper talks to OpenBao",
            Self::Seal => "the wrapper makes the pages that hold the values",
            Self::Launch => "the wrapper starts the app and gives it the values",
            Self::Supervise => "the wrapper supervises the app, renews and rotates",
            Self::Guard => "the node agent guards the app",
        }
    }
}

/// What happens where it is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Without {
    /// The launch, or the agent, ends; the app is not started.
    Ends,
    /// Work goes on as well protected as before; something is not known or not found.
    Notes(&'static str),
    /// Work goes on, and the protection level or the agent's state says what is missing.
    Lowers(&'static str),
}

/// System calls that one purpose needs.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// Whose they are.
    pub program: Program,
    /// When.
    pub step: Step,
    /// Their names, as seccomp profiles write them.
    pub names: &'static [&'static str],
    /// What for.
    pub reason: &'static str,
    /// The first kernel that has them, where that is newer than 5.10.
    pub since: Option<&'static str>,
    /// What happens without.
    pub without: Without,
}

/// A capability.
#[derive(Clone, Copy, Debug)]
pub struct Capability {
    /// Whose.
    pub program: Program,
    /// The name without `CAP_`.
    pub name: &'static str,
    /// What for.
    pub reason: &'static str,
    /// What happens without.
    pub without: Without,
}

/// How a path is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// It is executed.
    Execute,
    /// It is read.
    Read,
    /// It is written.
    Write,
}

/// A file or folder.
#[derive(Clone, Copy, Debug)]
pub struct PathNeed {
    /// Whose.
    pub program: Program,
    /// When.
    pub step: Step,
    /// The path; a folder ends with `/`.
    pub path: &'static str,
    /// How.
    pub access: Access,
    /// What for.
    pub reason: &'static str,
    /// What happens without.
    pub without: Without,
}

/// A kind of socket.
#[derive(Clone, Copy, Debug)]
pub struct SocketNeed {
    /// Whose.
    pub program: Program,
    /// When.
    pub step: Step,
    /// `AF_…`.
    pub family: &'static str,
    /// `SOCK_…`.
    pub kind: &'static str,
    /// What for.
    pub reason: &'static str,
    /// What happens without.
    pub without: Without,
}

/// Something that listens elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Whose.
    pub program: Program,
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// The usual port.
    pub port: u16,
    /// What for.
    pub reason: &'static str,
}

/// All of it.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// System calls.
    pub calls: &'static [Calls],
    /// Capabilities.
    pub capabilities: &'static [Capability],
    /// Paths.
    pub paths: &'static [PathNeed],
    /// Sockets.
    pub sockets: &'static [SocketNeed],
}

impl Needs {
    /// Who needs a system call, and what for.
    pub fn of_call(&self, name: &str) -> impl Iterator<Item = &'static Calls> {
        self.calls.iter().filter(move |calls| calls.names.contains(&name))
    }

    /// The system calls of a program, in order and once.
    #[must_use]
    pub fn call_names(&self, programs: &[Program]) -> Vec<&'static str> {
        let calls = self.calls.iter().filter(|calls| programs.contains(&calls.program));
        let mut names: Vec<_> = calls.flat_map(|calls| calls.names.iter().copied()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_stands_twice_for_one_program() {
        for program in [Program::Wrapper, Program::InApp, Program::Agent] {
            let all = NEEDS.calls.iter().filter(|calls| calls.program == program);
            let all: Vec<_> = all.flat_map(|calls| calls.names).collect();
            let once: std::collections::BTreeSet<_> = all.iter().collect();
            let twice: Vec<_> =
                once.iter().filter(|name| all.iter().filter(|n| n == *name).count() > 1).collect();
            assert!(twice.is_empty(), "{program:?}: {twice:?}");
        }
    }

    #[test]
    fn sealed_memory_is_in_the_table_with_its_kernel() {
        let needs: Vec<_> = NEEDS.of_call("memfd_secret").collect();
        assert!(
            needs.iter().any(|calls| calls.since.is_some_and(|kernel| kernel.contains("5.14")))
        );
        assert!(needs.iter().all(|calls| matches!(calls.without, Without::Lowers(_))));
    }
}
