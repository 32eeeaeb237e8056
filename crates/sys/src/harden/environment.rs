//! The environment that this process was started with.
//!
//! The kernel put it on the first stack and `/proc/PID/environ` shows that place for as long as the
//! process lives, whatever libc copies meanwhile. So values are overwritten where they are. What
//! was inherited before us (the parent's block, the orchestrator's records) is not ours to clean.

use std::ffi::{CStr, OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;

use zeroize::Zeroize;

/// Why the environment was left alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// Another thread could be reading or changing the environment.
    #[error(
        "the environment can be taken only before other threads start, and {threads} are running"
    )]
    Threads {
        /// How many there are, this one included.
        threads: usize,
    },
    /// It could not be made sure that there is only one thread.
    #[error("cannot count this process's threads in /proc/self/task; mount /proc in the container")]
    Uncounted(#[source] std::io::Error),
}

impl EnvironmentError {
    /// Who has to act on it.
    #[must_use]
    pub const fn blame(&self) -> cloudtaser_core::Blame {
        cloudtaser_core::Blame::Platform
    }
}

/// Copies the whole environment and overwrites the values of the named variables where the kernel
/// put them, so that `/proc/PID/environ` no longer shows them.
///
/// Every occurrence of a name is overwritten; entries without `=` are left out of the copy. The
/// copy is in the heap: seal it, and drop it when it has been used.
///
/// # Errors
/// If other threads run, or if that cannot be told.
pub fn take_environment(names: &[&str]) -> Result<Vec<(OsString, OsString)>, EnvironmentError> {
    ensure_alone()?;
    let copy = std::env::vars_os().collect();
    overwrite(names);
    Ok(copy)
}

/// Overwrites the values of the named variables, and says how many it found.
///
/// # Errors
/// If other threads run, or if that cannot be told.
pub fn scrub_own_environment(names: &[&str]) -> Result<usize, EnvironmentError> {
    ensure_alone()?;
    Ok(overwrite(names))
}

/// The names of the variables that a supervisor outside of us has placed in secret pages: those
/// whose strings do not lie where the kernel put the environment.
///
/// Right as long as nobody has called `setenv`, which moves things; no crate of ours does.
#[must_use]
pub fn placed_variables() -> Vec<OsString> {
    // SAFETY: reading the pointer races with nobody: nothing here changes the environment.
    let array = unsafe { environ }.addr();
    // SAFETY: getauxval takes a number and reads what the C library keeps.
    let end = unsafe { libc::getauxval(libc::AT_EXECFN) };
    if end == 0 {
        // A sandbox that does not tell: nothing of ours is placed there either.
        return Vec::new();
    }
    // KERNEL: the first stack holds, going up: pointers, arguments, environment, the file's name.
    let first_stack = array..usize::try_from(end).unwrap_or(usize::MAX);
    let elsewhere = |entry: &*mut c_char| !first_stack.contains(&entry.addr());
    // SAFETY: entries of `environ` are null-terminated, and nothing here changes them.
    let bytes = |entry| unsafe { CStr::from_ptr(entry) }.to_bytes();
    let name = |bytes: &[u8]| {
        let equals = bytes.iter().position(|&byte| byte == b'=')?;
        Some(OsStr::from_bytes(bytes.get(..equals)?).to_owned())
    };
    entries().into_iter().filter(elsewhere).filter_map(|entry| name(bytes(entry))).collect()
}

fn ensure_alone() -> Result<(), EnvironmentError> {
    match std::fs::read_dir("/proc/self/task").map_err(EnvironmentError::Uncounted)?.count() {
        1 => Ok(()),
        threads => Err(EnvironmentError::Threads { threads }),
    }
}

unsafe extern "C" {
    /// POSIX: null-terminated array of pointers to null-terminated strings.
    static mut environ: *mut *mut c_char;
}

/// Only with one thread running: see [`ensure_alone`].
fn overwrite(names: &[&str]) -> usize {
    let mut found = 0;
    for entry in entries() {
        // SAFETY: entries of `environ` are null-terminated, and no other thread changes them.
        let bytes = unsafe { CStr::from_ptr(entry) }.to_bytes();
        let Some(equals) = bytes.iter().position(|&byte| byte == b'=') else { continue };
        let (name, value) = bytes.split_at(equals);
        if names.iter().any(|wanted| OsStr::new(wanted).as_bytes() == name) {
            let len = value.len().saturating_sub(1);
            let start = entry.wrapping_add(equals).wrapping_add(1).cast::<u8>();
            // SAFETY: `len` bytes from `start` are the value inside the string just measured; the
            // shared borrow of it ended above, and the kernel maps the block writable.
            unsafe { std::slice::from_raw_parts_mut(start, len) }.zeroize();
            found += 1;
        }
    }
    found
}

/// The pointers of `environ`, up to its null.
fn entries() -> Vec<*mut c_char> {
    let mut entries = Vec::new();
    // SAFETY: reading the pointer races with nobody, since only one thread runs.
    let mut next = unsafe { environ };
    while !next.is_null() {
        // SAFETY: `next` has not passed the null that ends the array.
        let entry = unsafe { *next };
        if entry.is_null() {
            break;
        }
        entries.push(entry);
        next = next.wrapping_add(1);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_put_there_was_placed_by_nobody() {
        assert_eq!(placed_variables(), [""; 0]);
        assert!(entries().len() > 1);
    }

    #[test]
    fn the_environment_is_left_alone_while_threads_run() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || stopped.recv().is_err());
        assert!(matches!(
            take_environment(&["PATH"]),
            Err(EnvironmentError::Threads { threads: 2.. })
        ));
        assert!(std::env::var_os("PATH").is_some_and(|path| !path.is_empty()));
        drop(stop);
        assert!(other.join().unwrap());
    }
}
