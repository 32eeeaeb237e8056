//! Reads along in OpenBao's audit log, on a thread of its own.
//!
//! It begins at the end of the file; what was written before is nobody's business who reads now. A
//! file that is replaced is read to its end, and then the new one from its beginning.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use cloudtaser_sys::harden::wipe_stack;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::{Watchers, changed};
use crate::panics::EndsAll;

/// How long a change may take to be told.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A file that is replaced is missing for a moment.
const MISSING_PATIENCE: Duration = Duration::from_secs(10);
const READ_LEN: usize = 64 << 10;
/// Longer lines are passed over: the largest that OpenBao takes is much shorter.
const LINE_MAX: usize = 4 << 20;
const STACK_BYTES: usize = 64 << 10;

/// Where in which file.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    open: Option<(File, u64)>,
    /// Whether this is the first file.
    first: bool,
    line: Zeroizing<Vec<u8>>,
    too_long: bool,
    missing_since: Option<Instant>,
}

/// Reads along for as long as there is somebody who may be told.
pub(in crate::bridge::release) fn start(
    path: PathBuf,
    namespace: Option<String>,
    watchers: &Arc<Watchers>,
) -> io::Result<()> {
    let watchers: Weak<Watchers> = Arc::downgrade(watchers);
    thread::Builder::new().name("changes".to_owned()).spawn(move || {
        // Sessions that wait for what it tells would wait for ever.
        let _ends = EndsAll;
        let mut tail = Tail::new(path);
        let mut hears = None;
        while let Some(watchers) = watchers.upgrade() {
            let read = tail.read(|line| {
                if let Some(names) = changed(line, namespace.as_deref()) {
                    watchers.tell(&names);
                }
            });
            let now = read.is_ok();
            if hears != Some(now) {
                match read {
                    Ok(()) => {
                        watchers.hears();
                        info!(file = %tail.path.display(), "new values are told of");
                    }
                    Err(error) => {
                        watchers.deaf();
                        let file = tail.path.display();
                        warn!(%file, %error, "OpenBao's audit log cannot be read: new values are \
                                              not told of");
                    }
                }
                hears = Some(now);
            }
            drop(watchers);
            wipe_stack(STACK_BYTES);
            thread::sleep(LOOK_EVERY);
        }
    })?;
    Ok(())
}

impl Tail {
    pub(super) fn new(path: PathBuf) -> Self {
        let line = Zeroizing::new(Vec::new());
        Self { path, open: None, first: true, line, too_long: false, missing_since: None }
    }

    /// Reads what is new, line by line.
    pub(super) fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let there = self.there();
        if let Some((file, at)) = &mut self.open {
            if file.metadata()?.len() < *at {
                // It was cut, as some that rotate logs do.
                *at = file.seek(SeekFrom::Start(0))?;
                self.line.clear();
            }
            self.take(&mut each)?;
        }
        let there = there?;
        let same = |(file, _): &(File, u64)| {
            file.metadata().is_ok_and(|open| (open.dev(), open.ino()) == there)
        };
        if self.open.as_ref().is_some_and(same) {
            return Ok(());
        }
        let mut file = File::open(&self.path)?;
        let from = if std::mem::replace(&mut self.first, false) {
            SeekFrom::End(0)
        } else {
            SeekFrom::Start(0)
        };
        let at = file.seek(from)?;
        self.line.clear();
        self.open = Some((file, at));
        self.take(&mut each)
    }

    /// Which file has the name now. One that is missing for a moment is the one from before.
    fn there(&mut self) -> io::Result<(u64, u64)> {
        match fs::metadata(&self.path) {
            Ok(there) => {
                self.missing_since = None;
                Ok((there.dev(), there.ino()))
            }
            Err(error) => {
                self.first = false;
                let since = *self.missing_since.get_or_insert_with(Instant::now);
                match &self.open {
                    Some((file, _)) if since.elapsed() < MISSING_PATIENCE => {
                        let open = file.metadata()?;
                        Ok((open.dev(), open.ino()))
                    }
                    _ => Err(error),
                }
            }
        }
    }

    fn take(&mut self, each: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let Some((file, at)) = &mut self.open else { return Ok(()) };
        let mut chunk = Zeroizing::new(vec![0; READ_LEN]);
        loop {
            let read = file.read(&mut chunk)?;
            *at = at.saturating_add(u64::try_from(read).unwrap_or(0));
            let Some(mut rest) = chunk.get(..read).filter(|rest| !rest.is_empty()) else {
                return Ok(());
            };
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let (line, after) = rest.split_at(end);
                if !std::mem::replace(&mut self.too_long, false) {
                    self.line.extend_from_slice(line);
                    each(&self.line);
                }
                self.line.clear();
                rest = after.get(1..).unwrap_or_default();
            }
            if self.too_long || self.line.len() + rest.len() > LINE_MAX {
                self.too_long = true;
                self.line.clear();
            } else {
                self.line.extend_from_slice(rest);
            }
        }
    }
}
