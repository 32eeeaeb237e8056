//! What a demo leaves behind: nothing.
//!
//! A private directory that is removed, and processes that are ended by number, when their owner
//! goes out of scope, which `^C` and `SIGTERM` bring about as well (see [`super::interrupt`]).

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Gid, Pid, Uid, chown},
};

use crate::probe::Target;

/// Time for a program to end by itself before it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// Whether the directory outlives the demo.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keep {
    /// It is removed.
    No,
    /// It stays, for a look at the logs.
    Yes,
}

/// The user that the apps run as: an ordinary one where the demo may choose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct AppUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl AppUser {
    /// `nobody`: the number that every distribution has for it.
    const NOBODY: u32 = 65534;

    /// As root an ordinary user, else the caller.
    pub(crate) fn choose() -> Self {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        if uid.is_root() {
            Self { uid: Self::NOBODY, gid: Self::NOBODY }
        } else {
            Self { uid: uid.as_raw(), gid: gid.as_raw() }
        }
    }
}

/// A private directory.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    keep: Keep,
    user: AppUser,
}

impl Scratch {
    /// Makes one that the caller and the apps' user can enter.
    pub(crate) fn new(user: AppUser, keep: Keep) -> io::Result<Self> {
        let path = nix::unistd::mkdtemp(&std::env::temp_dir().join("cloudtaser-demo-XXXXXX"))?;
        let scratch = Self { path, keep, user };
        scratch.give(&scratch.path)?;
        Ok(scratch)
    }

    /// A path inside.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.path
    }

    /// Makes a directory inside that only the caller can enter.
    pub(crate) fn directory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(path)
    }

    /// Makes a file inside that only the apps' user can read.
    pub(crate) fn file(&self, name: &str, content: &[u8], mode: u32) -> io::Result<PathBuf> {
        let path = self.path(name);
        let file = File::options().write(true).create_new(true).open(&path)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        self.give(&path)?;
        io::Write::write_all(&mut &file, content)?;
        Ok(path)
    }

    /// Copies a program, since the apps' user may not reach where it lies.
    pub(crate) fn program(&self, name: &str, from: &Path) -> io::Result<PathBuf> {
        let path = self.path(name);
        fs::copy(from, &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.user.uid), Gid::from_raw(self.user.gid));
        chown(path, Some(uid), Some(gid)).map_err(io::Error::from)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.keep == Keep::No {
            // What cannot be removed holds logs and a token of a server that is gone.
            let _left = fs::remove_dir_all(&self.path);
        }
    }
}

/// A process of ours and everything below it.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// The process.
    pub(crate) fn target(&self) -> Target {
        Target::new(i32::try_from(self.0.id()).unwrap_or(i32::MAX))
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        self.0.try_wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let tree = self.target().descendants();
        // A process that is gone already is what is wanted.
        let _gone = kill(self.target().nix_pid(), Signal::SIGTERM);
        let until = Instant::now() + GRACE;
        while Instant::now() < until && matches!(self.0.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
        for target in tree {
            let _gone = kill(Pid::from_raw(target.pid()), Signal::SIGKILL);
        }
    }
}
