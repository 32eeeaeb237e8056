//! Denials as lines of JSON on standard error, at most so many a second.
//!
//! A verdict never waits for this: what is not written is counted, here and in the kernel.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::abi::{Event, EventKind};
use crate::canary::Attackers;

/// A scan of all processes is denied hundreds of times; the first few say who it is.
const PER_SECOND: u32 = 20;

/// Writes the log.
#[derive(Debug)]
pub(crate) struct Log {
    since: Instant,
    written: u32,
    suppressed: u64,
    /// Children of guarded processes that did not fit into the table.
    pub(crate) unguarded: u64,
}

impl Log {
    /// Starts with nothing written.
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), written: 0, suppressed: 0, unguarded: 0 }
    }

    /// One report from the kernel.
    pub(crate) fn event(&mut self, bytes: &[u8], own: &Attackers) {
        let Some(event) = Event::parse(bytes) else { return };
        if event.kind == EventKind::TableFull {
            self.unguarded += 1;
        }
        if own.has(event.actor) {
            return;
        }
        self.tick();
        if self.written >= PER_SECOND {
            self.suppressed += 1;
            return;
        }
        self.written += 1;
        let name = match event.kind {
            EventKind::Denied => "denied",
            EventKind::TableFull => "not guarded: the table is full",
        };
        write(&json!({
            "event": name,
            "hook": event.hook,
            "at_ns": event.at_ns,
            "actor": event.actor,
            "actor_uid": event.actor_uid,
            "actor_comm": event.actor_comm,
            "target": event.target,
        }));
    }

    /// Starts a new second where one is over, and says what the last one left out.
    pub(crate) fn tick(&mut self) {
        if self.since.elapsed() < Duration::from_secs(1) {
            return;
        }
        if self.suppressed > 0 {
            write(&json!({"event": "suppressed", "count": self.suppressed}));
        }
        (self.since, self.written, self.suppressed) = (Instant::now(), 0, 0);
    }
}

/// One line. Whoever closed standard error does not want it.
pub(crate) fn write(line: &Value) {
    let mut text = line.to_string();
    text.push('\n');
    drop(io::stderr().lock().write_all(text.as_bytes()));
}
