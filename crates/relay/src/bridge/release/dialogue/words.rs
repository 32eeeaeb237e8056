//! What a dialogue says of what it did: in receipts, answers and the log.

use cloudtaser_core::Secret;
use cloudtaser_core::release::policy::Action;
use cloudtaser_core::release::{Answer, Denial, Operation, Refused, Why};
use tracing::warn;

use super::super::receipt::Event;

/// Nothing is released of which nothing can be written down.
pub(super) fn unwritten(error: &std::io::Error) -> Box<Refused> {
    warn!(error = %error, "a receipt cannot be written: nothing is released");
    let meaning = format!("its receipt cannot be written: {error}");
    Box::new(Refused::denied(Operation::Read, Denial::Record, meaning))
}

/// What is recorded of what others say.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// What a receipt calls it.
pub(super) const fn event_of(action: Action) -> Event {
    match action {
        Action::Decrypt => Event::Decrypt,
        Action::Read => Event::Read,
        Action::Write => Event::Write,
    }
}

/// What an answer calls it.
pub(super) const fn operation_of(action: Action) -> Operation {
    match action {
        Action::Decrypt => Operation::Decrypt,
        Action::Read => Operation::Read,
        Action::Write => Operation::Write,
    }
}

/// The answer to whoever asks before there is a login.
pub(super) fn no_login(operation: Operation) -> Refused {
    Refused::denied(operation, Denial::Token, "this session has no login".to_owned())
}

/// Bytes of values in it.
pub(super) fn len_of(answer: &Answer) -> usize {
    match answer {
        Answer::Fields { json, .. } => json.len(),
        Answer::Plain(texts) => texts.iter().map(Secret::len).sum(),
        Answer::Refused(_) => 0,
    }
}

/// A refusal in one word: no text of anybody's.
pub(super) fn word(refused: &Refused) -> String {
    match &refused.why {
        Why::Away { .. } => "away".to_owned(),
        Why::Deleted { .. } => "deleted".to_owned(),
        Why::Denied { denial, .. } => denial.as_str().to_owned(),
        Why::Entry { .. } => "entry".to_owned(),
        Why::NotFound { .. } => "not-found".to_owned(),
        Why::Status { status, .. } => format!("status-{status}"),
        Why::Unusable { .. } => "unusable".to_owned(),
    }
}

/// What this bridge has to say of it, which holds nothing of a token.
pub(super) fn meaning(refused: &Refused) -> Option<&str> {
    match &refused.why {
        Why::Denied { meaning, .. } => Some(meaning),
        _ => None,
    }
}
