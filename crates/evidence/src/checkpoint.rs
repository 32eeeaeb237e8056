//! Checkpoints (C2SP tlog-checkpoint): what a log had at a size, signed.

use std::fmt;

use crate::{
    hash::Digest,
    note::{Note, NoteError, Signer, VerifierKey},
};

/// Size and root of a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

/// A checkpoint with its signatures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl Checkpoint {
    /// Reads the text of a note. Extension lines are refused: no monitor can audit them.
    ///
    /// # Errors
    /// [`NoteError::Form`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        const FORM: NoteError = NoteError::Form("a checkpoint has three lines: origin, size, root");
        let text = text.strip_suffix('\n').ok_or(FORM)?;
        let lines: Vec<&str> = text.split('\n').collect();
        let &[origin, size, root] = lines.as_slice() else { return Err(FORM) };
        let root = Digest::from_base64(root).ok_or(FORM)?;
        match parse_number(size) {
            Some(size) if !origin.is_empty() => Ok(Self { origin: origin.to_owned(), size, root }),
            _ => Err(FORM),
        }
    }

    /// Signs it.
    #[must_use]
    pub fn sign(self, signer: &Signer) -> SignedCheckpoint {
        let text = self.to_string();
        let signature = signer.sign(&text, 0);
        SignedCheckpoint { checkpoint: self, note: Note::new(text, vec![signature]) }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root.to_base64())
    }
}

impl SignedCheckpoint {
    /// Reads one; no signature is verified.
    ///
    /// # Errors
    /// [`NoteError::Form`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let note = Note::parse(text)?;
        Ok(Self { checkpoint: Checkpoint::parse(note.text())?, note })
    }

    /// Reads one and verifies that this log signed it.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn parse_of(text: &str, log: &VerifierKey) -> Result<Self, NoteError> {
        let signed = Self::parse(text)?;
        signed.verify(log)?;
        Ok(signed)
    }

    /// Verifies that this log signed it, under its own name.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn verify(&self, log: &VerifierKey) -> Result<(), NoteError> {
        if self.checkpoint.origin != log.name() {
            return Err(NoteError::Unsigned(log.name().to_owned()));
        }
        self.note.verify(log)
    }

    /// What was signed.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Text and signatures.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// To add signatures.
    pub const fn note_mut(&mut self) -> &mut Note {
        &mut self.note
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.note)
    }
}

/// A decimal number as these formats have it: digits alone, no leading zero.
#[must_use]
pub fn parse_number(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain && digits { text.parse().ok() } else { None }
}
