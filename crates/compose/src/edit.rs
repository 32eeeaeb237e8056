//! Changes of a text that leave everything else as it is: comments, order, quotes, line ends.
//!
//! A change is an insertion, made where a node says that it ends. Nothing is ever read into a tree
//! and written out again.

use std::ops::Range;

use crate::{
    source::Source,
    tree::{Content, Node, Style},
};

/// Text that takes the place of a range of bytes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Edit {
    /// Where; empty for an insertion.
    pub at: (usize, usize),
    /// What is to stand there.
    pub text: String,
}

/// A value to be written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// A text; in quotes where it would be read as something else.
    Text(String),
    /// A number or a truth value.
    Bare(String),
    /// A sequence.
    List(Vec<Self>),
    /// A mapping.
    Map(Vec<(&'static str, Self)>),
}

impl Piece {
    /// A scalar.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A number or a truth value.
    #[must_use]
    pub fn bare(text: impl ToString) -> Self {
        Self::Bare(text.to_string())
    }

    /// A list of scalars.
    #[must_use]
    pub fn texts<T: AsRef<str>>(texts: &[T]) -> Self {
        Self::List(texts.iter().map(|text| Self::text(text.as_ref())).collect())
    }

    /// Lines in block style, without indentation of their own.
    #[must_use]
    pub fn block(&self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![scalar(text)],
            Self::Bare(text) => vec![text.clone()],
            Self::List(items) => items.iter().flat_map(Self::item).collect(),
            Self::Map(entries) => {
                entries.iter().flat_map(|(key, value)| entry(key, value)).collect()
            }
        }
    }

    /// Lines of an item of a block sequence.
    fn item(&self) -> Vec<String> {
        let lines = self.block();
        let marks = std::iter::once("- ").chain(std::iter::repeat("  "));
        marks.zip(lines).map(|(mark, line)| format!("{mark}{line}")).collect()
    }

    /// On one line, in brackets.
    #[must_use]
    pub fn flow(&self) -> String {
        match self {
            Self::Text(text) => scalar(text),
            Self::Bare(text) => text.clone(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::flow).collect::<Vec<_>>().join(", "))
            }
            Self::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| format!("{key}: {}", value.flow()));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl Piece {
    /// As JSON, for files of that language.
    fn json(&self) -> String {
        match self {
            Self::Bare(text) => text.clone(),
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::json).collect::<Vec<_>>().join(", "))
            }
            Self::Map(entries) => {
                let entries =
                    entries.iter().map(|(key, value)| format!("\"{key}\": {}", value.json()));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// In brackets, in the language of a file.
    fn inside(&self, source: &Source) -> String {
        if source.text().trim_start().starts_with('{') { self.json() } else { self.flow() }
    }
}

/// Lines of `key: value`.
fn entry(key: &str, value: &Piece) -> Vec<String> {
    match value {
        Piece::Text(_) | Piece::Bare(_) => vec![format!("{key}: {}", value.flow())],
        Piece::Map(entries) if entries.is_empty() => vec![format!("{key}: {{}}")],
        Piece::List(items) if items.iter().all(|item| matches!(item, Piece::Text(_))) => {
            vec![format!("{key}: {}", value.flow())]
        }
        _ => {
            let inner = value.block().into_iter().map(|line| format!("  {line}"));
            std::iter::once(format!("{key}:")).chain(inner).collect()
        }
    }
}

/// A scalar, in quotes where it would be read as something else.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-=".contains(c))
        && !matches!(text, "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    if plain {
        text.to_owned()
    } else {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// Appends an item to a sequence.
#[must_use]
pub fn append(source: &Source, list: &Node, item: &Piece) -> Option<Edit> {
    let Content::List { items, style } = &list.content else { return None };
    match style {
        Style::Flow => into_brackets(list, items.last(), &item.inside(source)),
        Style::Block => {
            let column = dash_column(source, items.first()?)?;
            let lines = item.item();
            Some(insert_lines(source, end_of(items.last()?), column, &lines))
        }
    }
}

/// Puts an item before the others of a sequence.
#[must_use]
pub fn prepend(source: &Source, list: &Node, item: &Piece) -> Option<Edit> {
    let Content::List { items, style } = &list.content else { return None };
    match style {
        Style::Flow => {
            let comma = if items.is_empty() { "" } else { ", " };
            let at = list.span.start + 1;
            Some(Edit { at: (at, at), text: format!("{}{comma}", item.flow()) })
        }
        Style::Block => {
            let first = items.first()?;
            let column = dash_column(source, first)?;
            let dash = dash_of(source, first)?;
            // After the dash of the first item, so that a comment above it stays above the list.
            let lines = item.item();
            let break_ = line_break(source);
            let indent = " ".repeat(column);
            let text = lines.join(&format!("{break_}{indent}"));
            Some(Edit { at: (dash, dash), text: format!("{text}{break_}{indent}") })
        }
    }
}

/// Adds a key to a mapping, as its last.
#[must_use]
pub fn add(source: &Source, map: &Node, key: &'static str, value: &Piece) -> Option<Edit> {
    let Content::Map { entries, style } = &map.content else { return None };
    match style {
        Style::Flow => {
            let one = Piece::Map(vec![(key, value.clone())]).inside(source);
            let inner = one.get(1..one.len().checked_sub(1)?)?;
            into_brackets(map, entries.last().map(|(_, value)| value), inner)
        }
        Style::Block => {
            let (first, _) = entries.first()?;
            let (last_key, last) = entries.last()?;
            let column = column_of(source, first.span.start);
            let end = if last.span.is_empty() { last_key.span.end } else { end_of(last) };
            Some(insert_lines(source, end, column, &entry(key, value)))
        }
    }
}

/// Replaces a node that stands on one line.
#[must_use]
pub fn replace(node: &Node, value: &Piece) -> Edit {
    Edit { at: (node.span.start, node.span.end), text: value.flow() }
}

/// Gives a key without a value, or with an empty one, a value; the value stands on its line.
#[must_use]
pub fn fill(source: &Source, map: &Node, key: &'static str, value: &Piece) -> Option<Edit> {
    let (name, old) = map.entries().iter().rev().find(|(name, _)| name.text() == Some(key))?;
    if !old.span.is_empty() {
        return Some(replace(old, value));
    }
    let rest = source.text().get(name.span.end..)?;
    let colon = name.span.end + rest.find(':')? + 1;
    Some(Edit { at: (colon, colon), text: format!(" {}", value.flow()) })
}

fn into_brackets(node: &Node, last: Option<&Node>, text: &str) -> Option<Edit> {
    let (at, text) = match last {
        Some(last) => (last.span.end, format!(", {text}")),
        None => (node.span.end.checked_sub(1)?, text.to_owned()),
    };
    Some(Edit { at: (at, at), text })
}

/// Where a node ends.
fn end_of(node: &Node) -> usize {
    node.span.end
}

/// New lines behind the line in which something ends.
fn insert_lines(source: &Source, end: usize, column: usize, lines: &[String]) -> Edit {
    let text = source.text();
    let break_ = line_break(source);
    let indent = " ".repeat(column);
    let mut added = String::new();
    let ended = text.get(..end).is_some_and(|before| before.ends_with('\n'));
    let rest = text.get(end..).unwrap_or_default();
    let at = match rest.find('\n') {
        // A block scalar has taken its line break along.
        _ if ended => end,
        Some(newline) => end + newline + 1,
        None => {
            added += break_;
            text.len()
        }
    };
    for line in lines {
        added += &format!("{indent}{line}{break_}");
    }
    Edit { at: (at, at), text: added }
}

fn line_break(source: &Source) -> &'static str {
    if source.text().contains("\r\n") { "\r\n" } else { "\n" }
}

/// Characters before a byte on its line.
fn column_of(source: &Source, at: usize) -> usize {
    let start = source.line_start(at);
    source.text().get(start..at).map_or(0, |before| before.chars().count())
}

/// The dash of an item of a block sequence.
fn dash_of(source: &Source, item: &Node) -> Option<usize> {
    let before = source.text().get(..item.span.start)?;
    let blank = before.trim_end_matches([' ', '\n', '\r', '\t']);
    blank.ends_with('-').then(|| blank.len() - 1)
}

fn dash_column(source: &Source, item: &Node) -> Option<usize> {
    Some(column_of(source, dash_of(source, item)?))
}

/// Makes one change of several insertions at one place. What stands deeper goes first, since it
/// belongs to what is there already.
#[must_use]
pub fn merged(edits: Vec<Edit>) -> Vec<Edit> {
    let depth = |text: &str| text.len() - text.trim_start_matches(' ').len();
    let mut all: Vec<Edit> = Vec::new();
    for edit in edits {
        match all.iter_mut().find(|other| other.at == edit.at && edit.at.0 == edit.at.1) {
            Some(other) if depth(&edit.text) > depth(&other.text) => {
                other.text = edit.text + &other.text;
            }
            Some(other) => other.text += &edit.text,
            None => all.push(edit),
        }
    }
    all
}

/// Makes changes; `None` where two of them want the same bytes.
#[must_use]
pub fn apply(text: &str, edits: &[Edit]) -> Option<String> {
    let mut edits = edits.to_vec();
    edits.sort();
    edits.dedup();
    let mut changed = String::with_capacity(text.len() + 256);
    let mut at = 0;
    for edit in &edits {
        changed.push_str(text.get(at..edit.at.0)?);
        changed.push_str(&edit.text);
        at = edit.at.1;
    }
    changed.push_str(text.get(at..)?);
    Some(changed)
}

/// The range that an edit takes the place of.
impl From<&Edit> for Range<usize> {
    fn from(edit: &Edit) -> Self {
        edit.at.0..edit.at.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::documents;

    fn edited(text: &str, edit: impl Fn(&Source, &Node) -> Option<Edit>) -> String {
        let source = Source::new("f", text);
        let root = documents(text).remove(0).unwrap().root;
        apply(text, &[edit(&source, &root).unwrap()]).unwrap()
    }

    fn item() -> Piece {
        Piece::Map(vec![("path", Piece::text("/w")), ("action", Piece::text("Allow"))])
    }

    #[test]
    fn an_item_goes_behind_the_last_with_its_comments_kept() {
        let text = "paths:\n- path: /a # why\n  action: Allow\n\n# next\nother: 1\n";
        let expected = "paths:\n- path: /a # why\n  action: Allow\n- path: /w\n  action: Allow\n\n# next\nother: 1\n";
        assert_eq!(edited(text, |s, root| append(s, root.get("paths")?, &item())), expected);
    }

    #[test]
    fn brackets_are_kept_as_brackets() {
        let text = "values: [\"a\", b] # c\n";
        let all = edited(text, |s, root| append(s, root.get("values")?, &Piece::text("/w")));
        assert_eq!(all, "values: [\"a\", b, /w] # c\n");
        let empty = edited("v: []\n", |s, root| append(s, root.get("v")?, &item()));
        assert_eq!(empty, "v: [{path: /w, action: Allow}]\n");
        let first = edited("v: [a]\n", |s, root| prepend(s, root.get("v")?, &Piece::text("b")));
        assert_eq!(first, "v: [b, a]\n");
    }

    #[test]
    fn json_stays_json() {
        let text = "{\n  \"a\": [\n    {\"b\": 1}\n  ]\n}\n";
        let all = edited(text, |s, root| append(s, root.get("a")?, &item()));
        let value: serde_json::Value = serde_json::from_str(&all).unwrap();
        assert_eq!(value["a"][1]["path"], "/w");
    }

    #[test]
    fn an_item_goes_before_the_first() {
        let text = "s:\n  # first\n  - a: 1\n    b: 2\n";
        let all = edited(text, |s, root| prepend(s, root.get("s")?, &item()));
        assert_eq!(all, "s:\n  # first\n  - path: /w\n    action: Allow\n  - a: 1\n    b: 2\n");
    }

    #[test]
    fn a_key_is_added_at_the_end_of_its_mapping() {
        let text = "spec:\n  selector:\n    matchLabels:\n      app: x\n  action: Block\n";
        let value = Piece::List(vec![Piece::Map(vec![
            ("key", Piece::text("label")),
            ("values", Piece::texts(&["a=true"])),
        ])]);
        let all = edited(text, |s, root| {
            add(s, root.at(&["spec", "selector"])?, "matchExpressions", &value)
        });
        let expected = "spec:\n  selector:\n    matchLabels:\n      app: x\n    matchExpressions:\n      \
                        - key: label\n        values: [a=true]\n  action: Block\n";
        assert_eq!(all, expected);
    }

    #[test]
    fn line_ends_and_a_missing_last_one_are_respected() {
        let text = "a:\r\n  - x\r\n";
        let all = edited(text, |s, root| append(s, root.get("a")?, &Piece::text("z")));
        assert_eq!(all, "a:\r\n  - x\r\n  - z\r\n");
        let all = edited("a:\n  - x", |s, root| append(s, root.get("a")?, &Piece::text("z")));
        assert_eq!(all, "a:\n  - x\n  - z\n");
    }

    #[test]
    fn what_looks_like_another_type_is_quoted() {
        assert_eq!(Piece::text("true").flow(), "\"true\"");
        assert_eq!(Piece::text("443").flow(), "\"443\"");
        assert_eq!(Piece::text("10.0.0.0/8").flow(), "\"10.0.0.0/8\"");
        assert_eq!(Piece::text("/a/b").flow(), "/a/b");
    }

    #[test]
    fn changes_that_cross_are_refused() {
        let one = Edit { at: (0, 3), text: "x".into() };
        let two = Edit { at: (1, 2), text: "y".into() };
        assert_eq!(apply("abcd", &[one, two]), None);
    }
}
