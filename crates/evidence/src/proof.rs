//! Proofs that one entry is in a log (C2SP tlog-proof).

use std::fmt;

use data_encoding::BASE64;

use crate::{
    checkpoint::{SignedCheckpoint, parse_number},
    hash::{Digest, unbase64},
    note::NoteError,
    tree::{self, PROOF_MAX, ProofError},
};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// Position, path to the root, and the checkpoint that has the root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// Where the entry is.
    pub index: u64,
    /// The neighbours on the way to the root.
    pub path: Vec<Digest>,
    /// What was signed.
    pub checkpoint: SignedCheckpoint,
}

/// A text that is no proof.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofTextError {
    /// A line is not as C2SP tlog-proof has it.
    #[error("this is no tlog-proof: {0}")]
    Form(&'static str),
    /// The checkpoint in it cannot be read.
    #[error("the proof's checkpoint cannot be read")]
    Checkpoint(#[from] NoteError),
}

impl Proof {
    /// Verifies that the entry is in the tree of the checkpoint, whose signatures are another matter.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, entry: &[u8]) -> Result<(), ProofError> {
        let top = self.checkpoint.checkpoint();
        tree::verify_inclusion(Digest::leaf(entry), self.index, (top.size, top.root), &self.path)
    }

    /// The text, with the entry as its extra data.
    #[must_use]
    pub fn with_entry(&self, entry: &[u8]) -> String {
        self.text(Some(entry))
    }

    fn text(&self, extra: Option<&[u8]>) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        if let Some(extra) = extra {
            text.push_str(&format!("extra {}\n", BASE64.encode(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.path {
            text.push_str(&hash.to_base64());
            text.push('\n');
        }
        text.push_str(&format!("\n{}", self.checkpoint));
        text
    }

    /// Reads a proof and its extra data; nothing is verified.
    ///
    /// # Errors
    /// [`ProofTextError`].
    pub fn parse(text: &str) -> Result<(Self, Option<Vec<u8>>), ProofTextError> {
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(ProofTextError::Form("no empty line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(ProofTextError::Form("the first line is another"));
        }
        let extra = lines.peek().and_then(|line| line.strip_prefix("extra "));
        let extra = match extra {
            Some(base64) => {
                lines.next();
                let bytes = unbase64(base64);
                Some(bytes.ok_or(ProofTextError::Form("the extra data is no base64"))?)
            }
            None => None,
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index =
            index.and_then(parse_number).ok_or(ProofTextError::Form("there is no index"))?;
        let path: Option<Vec<_>> = lines.map(Digest::from_base64).collect();
        let path = path
            .filter(|path| path.len() <= PROOF_MAX)
            .ok_or(ProofTextError::Form("a hash is wrong"))?;
        let checkpoint = SignedCheckpoint::parse(checkpoint)?;
        Ok((Self { index, path, checkpoint }, extra))
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(None))
    }
}
