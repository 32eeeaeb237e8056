//! What the program to be started is, before it is started.
//!
//! Resolves a name as `execvp(3)` does and reads as much of the file as decides how secrets can be
//! placed in it: a native 64-bit program, a script (and what interprets it), a program for another
//! machine, one that gains privileges, one that may be run but not read.
//!
//! Nothing is executed, and nothing is promised: the file may be another one by the time that it is
//! started. What is found here chooses a road and explains it; the road itself checks again.

mod resolve;

#[cfg(test)]
mod tests;

use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use cloudtaser_core::Blame;
use nix::errno::Errno;

use crate::elf::{ElfError, Image};

/// KERNEL: `BINPRM_BUF_SIZE`: a script's first line counts only as far as this.
const FIRST_LINE_BYTES: usize = 256;

/// KERNEL: `exec_binprm` follows so many interpreters, and answers `ELOOP` to one more.
const MOST_INTERPRETERS: u32 = 5;

/// Why there is nothing to start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// No such file, in no directory of `PATH` where it was looked for there.
    #[error("{name}: not found")]
    NotFound {
        /// What was asked for.
        name: PathBuf,
    },
    /// It is there, but may not be executed.
    #[error("{path}: cannot be executed")]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        reason: io::Error,
    },
    /// The interpreter that a script names cannot be used.
    #[error("{script}: its interpreter cannot be used")]
    Interpreter {
        /// The script.
        script: PathBuf,
        /// Why not.
        #[source]
        reason: Box<Self>,
    },
    /// Scripts are interpreted by scripts, too many times over.
    #[error("{path}: more than {MOST_INTERPRETERS} interpreters in a row")]
    TooManyInterpreters {
        /// The last script that was looked at.
        path: PathBuf,
    },
}

impl TargetError {
    /// The exit code that shells use: 127 for not found, 126 for not executable.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            // A shell cannot tell a script's missing interpreter from a missing script.
            Self::Interpreter { reason, .. } => reason.exit_code(),
            Self::NotExecutable { .. } | Self::TooManyInterpreters { .. } => 126,
        }
    }

    /// Who has to act on it.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        Blame::Configuration
    }
}

/// What kind of program a file is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// For another machine, or the 32-bit mode of this one.
    Foreign(Image),
    /// A 64-bit program for this machine.
    Native(Image),
    /// A text that names its interpreter.
    Script(Box<Script>),
    /// May be executed but not read, so it may be anything.
    Unreadable,
    /// None that is known here; the kernel refuses it unless `binfmt_misc` knows better.
    Unrecognised,
}

/// A script's first line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Script {
    /// What really runs.
    pub interpreter: Target,
    /// The one argument that the line may give it.
    pub argument: Option<OsString>,
}

/// A program file that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Where it is: absolute, or relative to the directory that was given.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// It is set-user-ID, set-group-ID or has file capabilities, so the kernel keeps tracers and
    /// the loader's environment away from it. For a script: its interpreter does.
    pub privileged: bool,
    /// Its content can be read by this process.
    pub readable: bool,
}

impl Target {
    /// Finds what `execvp` would start, with this `PATH` and in this directory, and looks at it.
    ///
    /// # Errors
    /// If there is nothing, or nothing that may be executed.
    pub fn resolve(name: &OsStr, path: Option<&OsStr>, cwd: &Path) -> Result<Self, TargetError> {
        Self::inspect(resolve::find(name, path, cwd)?, cwd, MOST_INTERPRETERS)
    }

    /// The program whose code runs first: the target itself, or the last interpreter of a script.
    #[must_use]
    pub fn program(&self) -> &Self {
        match &self.kind {
            Kind::Script(script) => script.interpreter.program(),
            _ => self,
        }
    }

    fn inspect(path: PathBuf, cwd: &Path, interpreters_left: u32) -> Result<Self, TargetError> {
        let place = cwd.join(&path);
        let metadata = resolve::executable(&place)
            .map_err(|reason| TargetError::NotExecutable { path: path.clone(), reason })?;
        let gains = gains_privileges(&place, &metadata);
        let Ok(file) = File::open(&place) else {
            return Ok(Self { path, kind: Kind::Unreadable, privileged: gains, readable: false });
        };
        let kind = match Image::parse(|offset, buffer| file.read_exact_at(buffer, offset)) {
            Ok(image) if image.is_native() => Kind::Native(image),
            Ok(image) => Kind::Foreign(image),
            Err(ElfError::Magic | ElfError::Read(_)) => match first_line(&file) {
                Some(line) => script(&path, line, cwd, interpreters_left)?,
                None => Kind::Unrecognised,
            },
            Err(ElfError::NotProgram | ElfError::ProgramHeaders) => Kind::Unrecognised,
        };
        let privileged = match &kind {
            Kind::Script(script) => script.interpreter.privileged,
            _ => gains,
        };
        Ok(Self { path, kind, privileged, readable: true })
    }
}

fn script(path: &Path, line: FirstLine, cwd: &Path, left: u32) -> Result<Kind, TargetError> {
    let left = left
        .checked_sub(1)
        .ok_or_else(|| TargetError::TooManyInterpreters { path: path.to_owned() })?;
    let wrap =
        |reason| TargetError::Interpreter { script: path.to_owned(), reason: Box::new(reason) };
    if !cwd.join(&line.interpreter).exists() {
        return Err(wrap(TargetError::NotFound { name: line.interpreter }));
    }
    let interpreter =
        Target::inspect(line.interpreter, cwd, left).map_err(|reason| match reason {
            deeper @ TargetError::TooManyInterpreters { .. } => deeper,
            other => wrap(other),
        })?;
    Ok(Kind::Script(Box::new(Script { interpreter, argument: line.argument })))
}

struct FirstLine {
    interpreter: PathBuf,
    argument: Option<OsString>,
}

/// Reads `#!interpreter argument` as the kernel does: blanks around both are dropped, and all that
/// follows the interpreter is one argument.
fn first_line(mut file: &File) -> Option<FirstLine> {
    let mut buffer = Vec::with_capacity(FIRST_LINE_BYTES);
    file.by_ref().take(FIRST_LINE_BYTES as u64).read_to_end(&mut buffer).ok()?;
    let line = buffer.strip_prefix(b"#!")?;
    let complete = line.iter().position(|&byte| byte == b'\n' || byte == 0);
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line = line.get(..complete.unwrap_or(line.len()))?;
    let line = line.trim_ascii();
    let split = line.iter().position(is_blank);
    // KERNEL: a path that may go on behind the buffer is refused rather than cut off.
    let cut_off = complete.is_none() && buffer.len() == FIRST_LINE_BYTES && split.is_none();
    if line.is_empty() || cut_off {
        return None;
    }
    let (interpreter, rest) = line.split_at(split.unwrap_or(line.len()));
    let argument = rest.trim_ascii();
    Some(FirstLine {
        interpreter: PathBuf::from(OsString::from_vec(interpreter.to_vec())),
        argument: (!argument.is_empty()).then(|| OsString::from_vec(argument.to_vec())),
    })
}

/// Whether starting this file raises privileges, as far as the file decides it.
///
/// `nosuid` mounts and `no_new_privs` take that away again; to be careful in vain costs nothing.
fn gains_privileges(place: &Path, metadata: &Metadata) -> bool {
    let mode = metadata.mode();
    let group_executable_set_id = libc::S_ISGID | libc::S_IXGRP;
    mode & libc::S_ISUID != 0
        || mode & group_executable_set_id == group_executable_set_id
        || has_capabilities(place)
}

fn has_capabilities(place: &Path) -> bool {
    let Ok(place) = CString::new(place.as_os_str().as_bytes()) else { return false };
    let name = c"security.capability";
    // SAFETY: both strings are null-terminated and alive, and a size of 0 has the kernel write nothing.
    let size = unsafe { libc::getxattr(place.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) };
    Errno::result(size).is_ok_and(|size| size > 0)
}
