//! The app that the rotation measurement runs: reads its environment again and again, as an app
//! with a reloadable setting does, and tells each value that it has not told before.
//!
//! `getenv` gives what is in memory at that moment, so a value that is written in place is seen.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use crate::subject::{MARK, variable};

/// First argument of this mode.
pub(crate) const VERB: &str = "app";
/// How often it looks; the figure cannot be finer than this.
const LOOK: Duration = Duration::from_millis(1);
/// An app that nobody ends goes by itself.
const LOOKS: u32 = 60_000;

/// Runs until it is ended, or for a minute.
pub(crate) fn run() -> ExitCode {
    let mut told = None;
    for _ in 0..LOOKS {
        let value = std::env::var(variable(1)).ok();
        if value != told {
            let line = format!("{MARK}{}:{}", std::process::id(), value.as_deref().unwrap_or(""));
            if writeln!(io::stdout(), "{line}").is_err() {
                return ExitCode::FAILURE;
            }
            told = value;
        }
        thread::sleep(LOOK);
    }
    ExitCode::SUCCESS
}
