//! The log's side: asks the witnesses of a policy to sign a checkpoint.

use std::{collections::BTreeMap, thread, time::Duration};

use super::{http, request_body};
use crate::{
    checkpoint::{SignedCheckpoint, parse_number},
    note::{Note, NoteSignature},
    policy::{Policy, Witness},
    tree::{self, Nodes},
};

/// Witnesses that must have signed before a receipt counts.
#[derive(Debug)]
pub struct Witnesses {
    policy: Policy,
    deadline: Duration,
    /// Which size each signed last, by the name of its key.
    sizes: BTreeMap<String, u64>,
}

/// Why too few signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Lacking {
    /// They are away, or refused.
    Away(String),
    /// One has signed more than this log has.
    RolledBack(String),
}

enum Outcome {
    Signed(NoteSignature),
    Ahead(u64),
    Failed(String),
}

impl Witnesses {
    /// The witnesses of a policy that have an address; each gets so long to answer.
    #[must_use]
    pub const fn new(policy: Policy, deadline: Duration) -> Self {
        Self { policy, deadline, sizes: BTreeMap::new() }
    }

    /// Has a checkpoint signed by enough of them, all at once.
    pub(crate) fn sign<N>(
        &mut self,
        signed: &mut SignedCheckpoint,
        nodes: impl Fn() -> N + Sync,
    ) -> Result<(), Lacking>
    where
        N: Nodes<Error: std::fmt::Display>,
    {
        if self.policy.judge(signed).is_ok() {
            return Ok(());
        }
        let (deadline, known) = (self.deadline, &self.sizes);
        let checkpoint = &*signed;
        let ask = |witness: &Witness| {
            let old = known.get(witness.key.name()).copied().unwrap_or(0);
            ask(witness, checkpoint, old, deadline, &nodes())
        };
        let ask = &ask;
        let outcomes: Vec<(&Witness, Outcome)> = thread::scope(|scope| {
            let asked: Vec<_> = self
                .policy
                .witnesses()
                .iter()
                .map(|witness| (witness, scope.spawn(move || ask(witness))))
                .collect();
            let failed = |_panic| Outcome::Failed("it could not be asked".to_owned());
            asked.into_iter().map(|(w, asked)| (w, asked.join().unwrap_or_else(failed))).collect()
        });
        let mut reasons = Vec::new();
        let mut signatures = Vec::new();
        for (witness, outcome) in outcomes {
            match outcome {
                Outcome::Signed(signature) => {
                    self.sizes.insert(witness.key.name().to_owned(), signed.checkpoint().size);
                    signatures.push(signature);
                }
                Outcome::Ahead(size) => {
                    return Err(Lacking::RolledBack(format!(
                        "{} has signed this log at size {size}, and here it has {}",
                        witness.name,
                        signed.checkpoint().size
                    )));
                }
                Outcome::Failed(why) => reasons.push(format!("{}: {why}", witness.name)),
            }
        }
        signatures.into_iter().for_each(|signature| signed.note_mut().add(signature));
        match self.policy.judge(signed) {
            Ok(_) => Ok(()),
            Err(error) if reasons.is_empty() => Err(Lacking::Away(error.to_string())),
            Err(_) => Err(Lacking::Away(reasons.join("; "))),
        }
    }
}

fn ask<N>(
    witness: &Witness,
    signed: &SignedCheckpoint,
    old: u64,
    deadline: Duration,
    nodes: &N,
) -> Outcome
where
    N: Nodes<Error: std::fmt::Display>,
{
    let Some(url) = &witness.url else {
        return Outcome::Failed("the policy has no address of it".to_owned());
    };
    let size = signed.checkpoint().size;
    let mut old = old.min(size);
    // Twice: what it signed last may be another size than was thought.
    for _ in 0..2 {
        let proof = match tree::consistency(nodes, old, size) {
            Ok(proof) => proof,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        let (status, answer) = match http::post(url, &request_body(old, &proof, signed), deadline) {
            Ok(answer) => answer,
            Err(http::HttpError::Io(error)) => return Outcome::Failed(error.to_string()),
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        match (status, parse_number(answer.trim_end_matches('\n'))) {
            (200, _) => return signature(witness, signed, &answer),
            (409, Some(theirs)) if theirs > size => return Outcome::Ahead(theirs),
            (409, Some(theirs)) => old = theirs,
            _ => {
                let words: String = answer.chars().filter(|c| !c.is_control()).take(200).collect();
                return Outcome::Failed(format!("it answered {status}: {words}"));
            }
        }
    }
    Outcome::Failed("it does not keep to one size".to_owned())
}

/// The signature among the lines of an answer, if it is one.
fn signature(witness: &Witness, signed: &SignedCheckpoint, answer: &str) -> Outcome {
    let lines = answer.split_inclusive('\n').filter_map(|line| NoteSignature::parse(line).ok());
    let mut right = lines.filter(|line| {
        let note = Note::new(signed.note().text().to_owned(), vec![line.clone()]);
        note.verify_cosigned(&witness.key).is_ok()
    });
    match right.next() {
        Some(signature) => Outcome::Signed(signature),
        None => Outcome::Failed("its answer has no signature that verifies".to_owned()),
    }
}
