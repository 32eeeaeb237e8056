//! `deliver`: copies this very program into a folder, for containers that will start under it.
//!
//! The image of the wrapper has no shell and no `cp`. The copy is made under another name and moved
//! into place, so that what is there is whole; its mode lets every user of the pod execute it and
//! nobody change it. Certificates of authorities are written beside it where the environment has
//! them; they are public.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use cloudtaser_core::names::{self, kubernetes};

/// What could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{step} {path}")]
pub(crate) struct DeliverError {
    step: &'static str,
    path: String,
    source: io::Error,
}

/// Copies the program, and the authorities that the environment names, into a folder.
///
/// # Errors
/// [`DeliverError`] names the step and the file.
pub(crate) fn deliver(folder: &Path) -> Result<(), DeliverError> {
    let program = Path::new("/proc/self/exe");
    let from = File::open(program).map_err(|source| failed("cannot read", program, source))?;
    place(from, &folder.join(names::WRAPPER), 0o555)?;
    if let Some(pem) = std::env::var_os(kubernetes::ENV_DELIVER_CA) {
        let name =
            Path::new(kubernetes::CA_PATH).file_name().unwrap_or_else(|| OsStr::new("ca.pem"));
        place(pem.as_encoded_bytes(), &folder.join(name), 0o444)?;
    }
    Ok(())
}

/// Writes a file that is whole as soon as it is there; what stood there is replaced.
fn place(mut from: impl Read, to: &Path, mode: u32) -> Result<(), DeliverError> {
    let part: PathBuf = to.with_extension("part");
    match fs::remove_file(&part) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(failed("cannot replace", &part, source));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&part)
        .map_err(|source| failed("cannot create", &part, source))?;
    io::copy(&mut from, &mut file)
        .and_then(|_length| file.flush())
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .map_err(|source| failed("cannot write", &part, source))?;
    drop(file);
    fs::rename(&part, to).map_err(|source| failed("cannot put in place", to, source))
}

fn failed(step: &'static str, path: &Path, source: io::Error) -> DeliverError {
    DeliverError { step, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_the_program_and_a_second_time_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            deliver(folder.path()).unwrap();
            let copy = folder.path().join(names::WRAPPER);
            assert_eq!(fs::read(&copy).unwrap(), fs::read("/proc/self/exe").unwrap());
            assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o7777, 0o555);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = deliver(Path::new("/nowhere/bin")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/bin"), "{error}");
    }
}
