//! The exception that every label selector has: not for pods of ours.

use cloudtaser_core::names;

use crate::{
    edit::{self, Edit, Piece},
    source::Source,
    tree::Node,
};

/// `cloudtaser.io/inject NotIn ["true"]`.
fn item() -> Piece {
    Piece::Map(vec![
        ("key", Piece::text(names::LABEL_INJECT)),
        ("operator", Piece::text("NotIn")),
        ("values", Piece::List(vec![Piece::text("true")])),
    ])
}

/// The whole selector.
pub(crate) fn selector() -> Piece {
    Piece::Map(vec![("matchExpressions", Piece::List(vec![item()]))])
}

/// Leaves pods of ours out of the selector behind `key`, which need not be there.
pub(crate) fn exclude(source: &Source, spec: &Node, key: &'static str) -> Option<Edit> {
    let list = Piece::List(vec![item()]);
    let Some(there) = spec.get(key) else {
        return match spec.key(key) {
            Some(_) => edit::fill(source, spec, key, &selector()),
            None => edit::add(source, spec, key, &selector()),
        };
    };
    match there.get("matchExpressions") {
        Some(expressions) => edit::append(source, expressions, &item()),
        None if there.key("matchExpressions").is_some() => {
            edit::fill(source, there, "matchExpressions", &list)
        }
        None => edit::add(source, there, "matchExpressions", &list),
    }
}
