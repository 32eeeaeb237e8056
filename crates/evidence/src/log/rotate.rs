//! Another key for a log: its past stays what it is, and its future is signed by the new key alone.
//!
//! In this order, so that it can be cut anywhere and begun again: the notice and its document, under
//! the old key; a checkpoint with both signatures, for witnesses and for everybody; the journal in
//! the new key's name. A log whose journal has the new key already is done.

use std::{io::ErrorKind, path::Path};

use super::{
    Content, Log, LogError, Options,
    open::open,
    publish,
    state::{State, name_of},
    writer::Everything,
};
use crate::{
    checkpoint::SignedCheckpoint,
    export::DOCUMENTS,
    hash::Digest,
    key_change::KeyChange,
    note::{NoteError, Signer},
    notice::{Leaf, NEW_KEY, Remark},
    tiles::Tiles,
    witness::remote::{Lacking, Witnesses},
};

impl Log {
    /// Gives the log in a folder, which nobody has open, another key; its checkpoint then, which both
    /// keys signed. Whatever is larger was signed by the new key alone.
    ///
    /// # Errors
    /// [`LogError`]: then it is to be tried again, with the same keys.
    pub fn rotate(
        folder: &Path,
        old: &Signer,
        new: Signer,
        options: Options,
    ) -> Result<SignedCheckpoint, LogError> {
        let odd = |_keys| LogError::Signer(NoteError::KeyKind);
        let document = KeyChange::sign(old, &new).map_err(odd)?;
        let journal = folder.join("journal");
        if !journal.exists() {
            return Err(LogError::io("open", journal)(ErrorKind::NotFound.into()));
        }
        let mut state = match open(folder, old.copy()) {
            Err(LogError::OtherKey { owner, .. }) if owner == new.verifier().to_string() => {
                let mut state = open(folder, new)?.0;
                state.publish()?;
                return Ok(state.latest().clone());
            }
            opened => opened?.0,
        };
        let hash = publish::keep(&folder.join(DOCUMENTS), &document)?;
        if !state.ends_with(hash) {
            let id = data_encoding::HEXLOWER.encode(&new.verifier().id());
            let staged = [state.stage(notice(&id, hash)?, options.clock.now_ms())?];
            // Where it fails, nothing is done with what is in memory.
            state.commit(&staged)?;
        }
        state.latest = both(&state, old, &new, options.witnesses)?;
        state.publish()?;
        state.signer = new;
        state.begin_journal(state.base)?;
        Ok(state.latest().clone())
    }
}

/// What is said aloud.
fn notice(id: &str, document: Digest) -> Result<Content, LogError> {
    Ok(Content::Remark(Remark {
        kind: name_of(NEW_KEY)?,
        words: name_of(&format!("from here on the log is signed by its key {id}"))?,
        document: Some(document),
        name: None,
        request: None,
    }))
}

/// What the log has now, signed by both keys, and by witnesses who from then on know the new one.
fn both(
    state: &State,
    old: &Signer,
    new: &Signer,
    witnesses: Option<Witnesses>,
) -> Result<SignedCheckpoint, LogError> {
    let mut signed = state.latest().checkpoint().clone().sign(new);
    let text = signed.note().text().to_owned();
    signed.note_mut().add(old.sign(&text, 0));
    if let Some(mut witnesses) = witnesses {
        let (edge, folder, size) = (&state.edge, &state.folder, state.edge.size());
        let nodes = || Everything { edge, tiles: Tiles::new(folder, size) };
        witnesses.sign(&mut signed, nodes).map_err(|lacking| match lacking {
            Lacking::Away(reason) => LogError::WitnessesAway { reason },
            Lacking::RolledBack(reason) => {
                LogError::Stopped(format!("it was rolled back: {reason}"))
            }
        })?;
    }
    Ok(signed)
}

impl State {
    /// Whether its last leaf is the notice that has this document.
    fn ends_with(&self, document: Digest) -> bool {
        let last = self.entries.last().and_then(|leaf| Leaf::parse(leaf).ok());
        matches!(last, Some(Leaf::Notice(notice)) if notice.notice.document == Some(document))
    }
}
