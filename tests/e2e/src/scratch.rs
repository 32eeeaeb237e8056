//! A directory of the test's own that an unprivileged app can enter, random values, and waiting.

use std::{
    fs,
    fs::Permissions,
    io::Read as _,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::launch::UNPRIVILEGED;

/// A directory that goes away with the test.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// A new one, open for every user to enter.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("ct-e2e-").tempdir().expect("a directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("its mode");
        Self(dir)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file with this mode.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).expect("a file in the scratch directory");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("its mode");
        path
    }

    /// Writes a file that only the unprivileged user (and root) can read.
    pub fn credential(&self, name: &str, content: &str) -> PathBuf {
        let path = self.file(name, content, 0o400);
        if crate::is_root() {
            chown(&path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).expect("its owner");
        }
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// A value that is nowhere else on this machine: 32 random hexadecimal digits behind `canary-`.
#[must_use]
pub fn canary() -> String {
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("bytes");
    bytes.iter().fold("canary-".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Asks again and again until there is an answer; panics with `what` when there is none in time.
pub fn until<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not within {patience:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
