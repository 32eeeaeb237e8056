//! What a defect costs: one connection, and a line that says where it is (`docs/adr/0038`).
//!
//! A task that panics ends alone, since these programs unwind. What all others depend on is no such
//! task: without it the program would go on as if all were well, so it ends, and whoever started it
//! starts it again.

use std::{
    panic::{Location, set_hook},
    sync::atomic::{AtomicU64, Ordering},
};

use tracing::error;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Counts every panic of this process, and says where it was.
///
/// SECURITY: not in its words, which may hold what was being read.
pub fn count() {
    set_hook(Box::new(|panic| {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let (file, line) =
            panic.location().map_or(("?", 0), |at: &Location<'_>| (at.file(), at.line()));
        error!(file, line, "a task has failed: this is a defect of the program");
    }));
}

/// How many there were.
#[must_use]
pub fn seen() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Does what must not end by a panic, or the program ends with it.
pub async fn vital<T>(work: impl Future<Output = T>) -> T {
    let _ends = EndsAll;
    work.await
}

/// Ends the program where it is dropped by a panic.
#[derive(Debug)]
pub(crate) struct EndsAll;

impl Drop for EndsAll {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{env, os::unix::process::ExitStatusExt as _, process::Command};

    use super::*;

    #[tokio::test]
    async fn what_is_vital_ends_the_program_and_what_is_not_ends_alone() {
        const ROLE: &str = "CT_TEST_VITAL";
        const NAME: &str =
            "panics::tests::what_is_vital_ends_the_program_and_what_is_not_ends_alone";
        if env::var_os(ROLE).is_some() {
            let failed = tokio::spawn(async { panic!("contained") }).await;
            assert!(failed.is_err_and(|error| error.is_panic()));
            drop(tokio::spawn(vital(async { panic!("not contained") })).await);
            unreachable!("the program has ended");
        }
        let program = env::current_exe().unwrap();
        let output = Command::new(program).args(["--exact", NAME]).env(ROLE, "1").output().unwrap();
        assert_eq!(output.status.signal(), Some(6), "{output:?}");
    }
}
