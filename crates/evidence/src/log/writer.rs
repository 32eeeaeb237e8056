//! The one thread that writes.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::{
    Appended, Options, Request,
    error::LogError,
    state::{Staged, State},
};
use crate::{
    checkpoint::SignedCheckpoint,
    hash::Digest,
    proof::Proof,
    tiles::{TileError, Tiles},
    tree::{self, Edge, Nodes},
    witness::remote::Lacking,
};

/// Most receipts of one write.
const GROUP_MAX: usize = 1024;
/// How soon others can read what was written.
const PUBLISH_EVERY: Duration = Duration::from_millis(500);
/// How long witnesses that were away are left alone.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Receipts may wait for tiles, where the disk takes the journal and not them, up to here.
const UNTILED_MAX: u64 = 1 << 16;

pub(super) struct Writer {
    state: State,
    options: Options,
    latest: Arc<Mutex<SignedCheckpoint>>,
    /// Since when witnesses are away, and why.
    lacking: Option<(Instant, String)>,
    /// When others were last shown what there is.
    shown: Instant,
    /// Why files for others could not be written.
    behind: Option<LogError>,
}

impl Writer {
    pub(super) fn new(
        state: State,
        options: Options,
        latest: Arc<Mutex<SignedCheckpoint>>,
    ) -> Self {
        Self { state, options, latest, lacking: None, shown: Instant::now(), behind: None }
    }

    /// Writes until nobody can ask any more.
    pub(super) fn run(mut self, queue: &Receiver<Request>) {
        self.publish();
        loop {
            // Under load there is never a pause.
            let pause = PUBLISH_EVERY.saturating_sub(self.shown.elapsed());
            if pause.is_zero() {
                self.publish();
            }
            match queue.recv_timeout(pause.max(Duration::from_millis(1))) {
                Ok(first) => {
                    let more = queue.try_iter().take(GROUP_MAX - 1);
                    let group: Vec<_> = std::iter::once(first).chain(more).collect();
                    self.write(group);
                }
                Err(RecvTimeoutError::Timeout) => self.publish(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.publish();
    }

    fn write(&mut self, group: Vec<Request>) {
        if let Some(error) = self.refusal() {
            return answer_all(group.into_iter().map(|request| request.answer), &error);
        }
        let now = self.options.clock.now_ms();
        let (mut staged, mut answers) = (Vec::new(), Vec::new());
        for Request { content, answer } in group {
            match self.state.stage(content, now) {
                Ok(one) => {
                    staged.push(one);
                    answers.push(answer);
                }
                // Whoever asked may be gone.
                Err(error) => drop(answer.send(Err(error))),
            }
        }
        if staged.is_empty() {
            return;
        }
        if let Err(error) = self.state.commit(&staged) {
            self.state.unstage(&staged);
            return answer_all(answers, &error);
        }
        if let Err(reason) = self.have_signed() {
            for (one, answer) in staged.iter().zip(answers) {
                let reason = reason.clone();
                drop(answer.send(Err(LogError::Unwitnessed { index: one.index, reason })));
            }
            return self.put_away();
        }
        let proofs: Vec<_> = staged.iter().map(|one| self.proof(one)).collect();
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = self.state.latest.clone();
        for ((one, proof), answer) in staged.into_iter().zip(proofs).zip(answers) {
            let Staged { index, entry, leaf, .. } = one;
            let appended = proof.map(|proof| Appended { index, entry, leaf: leaf.to_vec(), proof });
            let _gone = answer.send(appended);
        }
        self.put_away();
    }

    /// Moves what is full to tiles.
    fn put_away(&mut self) {
        let longest = self.options.journal_bytes;
        let tiled = self.state.write_full_tiles();
        self.behind = tiled.and_then(|()| self.state.shorten(longest)).err();
    }

    /// Has the newest checkpoint signed by enough witnesses.
    fn have_signed(&mut self) -> Result<(), String> {
        let Some(witnesses) = &mut self.options.witnesses else { return Ok(()) };
        let (edge, folder, size) = (&self.state.edge, &self.state.folder, self.state.edge.size());
        let nodes = || Everything { edge, tiles: Tiles::new(folder, size) };
        let verdict = witnesses.sign(&mut self.state.latest, nodes);
        self.state.published = None;
        match verdict {
            Ok(()) => {
                self.lacking = None;
                Ok(())
            }
            Err(Lacking::Away(reason)) => {
                self.lacking = Some((Instant::now(), reason.clone()));
                Err(reason)
            }
            Err(Lacking::RolledBack(reason)) => {
                // SECURITY: whoever goes on from here makes a fork.
                drop(self.state.stop(format!("it was rolled back: {reason}")));
                Err(reason)
            }
        }
    }

    /// Why nothing can be taken now.
    fn refusal(&mut self) -> Option<LogError> {
        if let Some(why) = &self.state.stopped {
            return Some(LogError::Stopped(why.clone()));
        }
        if let Some((since, reason)) = &self.lacking {
            if since.elapsed() < ASK_AGAIN {
                return Some(LogError::WitnessesAway { reason: reason.clone() });
            }
            if let Err(reason) = self.have_signed() {
                return Some(LogError::WitnessesAway { reason });
            }
        }
        let waiting = self.state.edge.size() - self.state.tiled;
        if waiting < UNTILED_MAX {
            return None;
        }
        self.publish();
        self.behind.clone()
    }

    fn proof(&self, one: &Staged) -> Result<Proof, LogError> {
        let size = self.state.edge.size();
        let path = tree::inclusion(&self.state.edge, one.index, size);
        let path = path.map_err(|error| self.state.lost_node(error))?;
        Ok(Proof { index: one.index, path, checkpoint: self.state.latest.clone() })
    }

    fn publish(&mut self) {
        self.shown = Instant::now();
        if self.state.published != Some(self.state.edge.size()) && self.state.stopped.is_none() {
            let longest = self.options.journal_bytes;
            self.behind = self.state.publish().and_then(|()| self.state.shorten(longest)).err();
        }
    }
}

/// Nodes that are in memory, and else in full tiles on the disk.
pub(super) struct Everything<'a> {
    pub(super) edge: &'a Edge,
    pub(super) tiles: Tiles,
}

impl Nodes for Everything<'_> {
    type Error = TileError;

    fn node(&self, height: u32, index: u64) -> Result<Digest, TileError> {
        self.edge.node(height, index).or_else(|_old| self.tiles.node(height, index))
    }
}

fn answer_all(
    answers: impl IntoIterator<Item = std::sync::mpsc::SyncSender<Result<Appended, LogError>>>,
    error: &LogError,
) {
    for answer in answers {
        let _gone = answer.send(Err(error.clone()));
    }
}
