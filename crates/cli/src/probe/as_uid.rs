//! Probing as somebody else: the same program, started again under another uid.
//!
//! The child has no capabilities (an ordinary uid loses them by `setuid`), gets the needle in
//! anonymous memory as its standard input, and answers with the JSON report. Nothing of the needle
//! is in its argv or environment.

use std::{
    fs::File,
    io::{self, Seek, Write},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    str::FromStr,
};

use cloudtaser_core::exit::Code;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{Activity, Destruction, Gone, Needle, Options, Report, Target};

/// `UID` or `UID:GID`. Without a group the target's own is taken, since the kernel asks for both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    uid: u32,
    gid: Option<u32>,
}

impl Identity {
    /// An ordinary user and group.
    pub(crate) const fn new(uid: u32, gid: u32) -> Self {
        Self { uid, gid: Some(gid) }
    }
}

impl FromStr for Identity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
        let number = |word: &str| {
            word.parse::<u32>().map_err(|_no_number| "write UID or UID:GID, as numbers".to_owned())
        };
        let uid = number(uid)?;
        if uid == 0 {
            return Err("uid 0 would keep its capabilities; name an ordinary uid".to_owned());
        }
        Ok(Self { uid, gid: gid.map(number).transpose()? })
    }
}

/// Why probing as somebody else gave no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AsUidError {
    /// The child's answer is no report.
    #[error("the prober that ran as uid {uid} gave no report (exit {code:?})")]
    Answer {
        /// Its user.
        uid: u32,
        /// Its exit code.
        code: Option<i32>,
        /// What is wrong with the answer.
        #[source]
        source: serde_json::Error,
    },
    /// The target is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The child could not be started.
    #[error("cannot start a prober as uid {uid}; changing the uid needs root")]
    Start {
        /// The user asked for.
        uid: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Probes as `identity`.
pub(crate) fn probe(
    target: Target,
    tree: bool,
    needle: &Needle,
    options: Options<'_>,
    identity: Identity,
) -> Result<Report, AsUidError> {
    let gone = |source| Gone { pid: target.pid(), source };
    target.name().map_err(gone)?;
    let gid = identity.gid.map_or_else(|| target.gid(), Ok).map_err(gone)?;
    let uid = identity.uid;
    let start = |source| AsUidError::Start { uid, source };
    let mut command = Command::new("/proc/self/exe");
    command.args(["probe", &target.pid().to_string(), "--json", "--canary-file", "-"]);
    if tree {
        command.arg("--tree");
    }
    if options.active == Activity::PassiveOnly {
        command.arg("--no-active");
    }
    if options.destruction == Destruction::Allowed {
        command.arg("--destructive");
    }
    if let Some(name) = options.variable {
        command.args(["--env", name]);
    }
    command.stdin(handed_over(needle).map_err(start)?).stdout(Stdio::piped());
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/");
    let output = command.uid(uid).gid(gid).output().map_err(start)?;
    let code = output.status.code();
    if code == Some(i32::from(Code::Unavailable.number())) {
        return Err(gone(io::Error::from_raw_os_error(nix::libc::ESRCH)).into());
    }
    serde_json::from_slice(&output.stdout).map_err(|source| AsUidError::Answer {
        uid,
        code,
        source,
    })
}

fn handed_over(needle: &Needle) -> io::Result<File> {
    let mut file = File::from(memfd_create("needle", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(needle.expose())?;
    file.rewind()?;
    Ok(file)
}
