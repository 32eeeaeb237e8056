//! Key files: made once, for their owner alone, never written over.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    names::{NameKey, NameKeyError},
    note::{KeyKind, NoteError, Signer},
};

/// No key file is longer.
const KEY_MAX: u64 = 4096;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be read or made.
    #[error("cannot use the key file {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("{} can be read by others: chmod 600 it, or make a new key", .0.display())]
    Open(PathBuf),
    /// It holds no key for notes.
    #[error("{} holds no signing key", path.display())]
    Signer {
        /// Which.
        path: PathBuf,
        /// Why.
        source: NoteError,
    },
    /// It holds no key for names.
    #[error("{} holds no name key", path.display())]
    Names {
        /// Which.
        path: PathBuf,
        /// Why.
        source: NameKeyError,
    },
}

/// Reads a signing key.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_signer(path: &Path) -> Result<Signer, KeyFileError> {
    let named = |source| KeyFileError::Signer { path: path.to_owned(), source };
    Signer::parse(&read(path)?).map_err(named)
}

/// Reads a name key.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_names(path: &Path) -> Result<NameKey, KeyFileError> {
    let named = |source| KeyFileError::Names { path: path.to_owned(), source };
    NameKey::parse(&read(path)?).map_err(named)
}

/// Makes a signing key and its file.
///
/// # Errors
/// [`KeyFileError`], also where the file is there already.
pub fn make_signer(path: &Path, name: &str, kind: KeyKind) -> Result<Signer, KeyFileError> {
    let signer = Signer::from_seed(name, kind, &*random(path)?);
    let signer = signer.map_err(|source| KeyFileError::Signer { path: path.to_owned(), source })?;
    write(path, &signer.to_secret())?;
    Ok(signer)
}

/// Makes a name key and its file.
///
/// # Errors
/// [`KeyFileError`], also where the file is there already.
pub fn make_names(path: &Path) -> Result<(), KeyFileError> {
    let key = Zeroizing::new(data_encoding::HEXLOWER.encode(random(path)?.as_slice()));
    write(path, &key)
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { path, source }
}

/// From the kernel; the error names the file that the key was for.
fn random(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let mut bytes = Zeroizing::new([0; 32]);
    let read =
        File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes.as_mut_slice()));
    read.map_err(io(path))?;
    Ok(bytes)
}

fn write(path: &Path, key: &str) -> Result<(), KeyFileError> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(io(path))?;
    let written = file.write_all(key.as_bytes()).and_then(|()| file.write_all(b"\n"));
    written.and_then(|()| file.sync_all()).map_err(io(path))
}

fn read(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let file = File::open(path).map_err(io(path))?;
    let mode = file.metadata().map_err(io(path))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open(path.to_owned()));
    }
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(KEY_MAX).unwrap_or(0)));
    file.take(KEY_MAX).read_to_string(&mut text).map_err(io(path))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_for_their_owner_and_are_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.key");
        let made = make_signer(&path, "log.example", KeyKind::Log).unwrap();
        assert_eq!(read_signer(&path).unwrap().verifier(), made.verifier());
        assert!(matches!(make_signer(&path, "x", KeyKind::Log), Err(KeyFileError::Io { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_signer(&path), Err(KeyFileError::Open(_))));
        let names = folder.path().join("names.key");
        make_names(&names).unwrap();
        read_names(&names).unwrap();
        assert!(matches!(read_signer(&names), Err(KeyFileError::Signer { .. })));
    }
}
