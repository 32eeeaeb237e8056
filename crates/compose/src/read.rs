//! From text to documents.
//!
//! Documents are parsed one by one, so that a broken or hostile one says so and leaves the others
//! alone. All costs are bounded before they arise: size of a file, depth, number of nodes, what
//! aliases expand to.

use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle};

use crate::tree::{Content, Node, Style};

/// A list of all pods of a large cluster has some ten megabytes; a file with more is none of ours.
pub const LARGEST_FILE: usize = 64 * 1024 * 1024;
/// Documents of one file.
pub const MOST_DOCUMENTS: usize = 100_000;
/// Deeper nesting is no policy.
pub const DEEPEST: usize = 64;
/// Nodes of one document.
pub const MOST_NODES: usize = 2_000_000;
/// Nodes that the aliases of one document may stand for together.
pub const MOST_BY_ALIAS: usize = 50_000;

/// Why a document cannot be read, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{words}")]
pub struct ReadError {
    words: String,
    /// The place.
    pub span: Range<usize>,
}

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// The tree.
    pub root: Node,
    /// Whether it names parts of itself. Then an edit in one place could change another.
    pub has_aliases: bool,
    /// Keys that stand twice.
    pub twice: Vec<Node>,
}

/// Reads all documents of a text; each is there or says why not.
#[must_use]
pub fn documents(text: &str) -> Vec<Result<Document, ReadError>> {
    if text.len() > LARGEST_FILE {
        let words = format!("{} bytes are too many: at most {LARGEST_FILE} are read", text.len());
        return vec![Err(ReadError { words, span: 0..0 })];
    }
    let chunks = chunks(text);
    if chunks.len() > MOST_DOCUMENTS {
        let words = format!("more than {MOST_DOCUMENTS} documents in one file");
        return vec![Err(ReadError { words, span: 0..0 })];
    }
    let mut found = Vec::new();
    for chunk in chunks {
        found.extend(document(text, chunk).transpose());
    }
    found
}

/// The spans between lines that begin a document.
fn chunks(text: &str) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let marker = line.strip_prefix("---");
        if marker.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            // A directive belongs to the document that follows it; nobody writes them here.
            chunks.push(start..at);
            start = at;
        }
        at += line.len();
    }
    chunks.push(start..text.len());
    chunks.retain(|chunk| !chunk.is_empty());
    chunks
}

fn document(text: &str, chunk: Range<usize>) -> Result<Option<Document>, ReadError> {
    let base = chunk.start;
    let part = text.get(chunk).unwrap_or_default();
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder { base, ..Builder::default() };
    for event in Parser::new_from_str_with_options(part, options) {
        let (event, span) = event.map_err(|error| {
            let at = base + error.marker().byte_offset().unwrap_or(0).min(part.len());
            let mut words = format!("this is not YAML: {}", error.info());
            if part.contains("{{") {
                words += " (a template is checked after it was rendered: `helm template`)";
            }
            ReadError { words, span: at..at }
        })?;
        builder.take(event, span)?;
    }
    let Builder { root, has_aliases, twice, .. } = builder;
    Ok(root.filter(|root| !root.is_null()).map(|root| Document { root, has_aliases, twice }))
}

/// A collection that is being read.
#[derive(Debug)]
struct Open {
    start: usize,
    anchor: usize,
    style: Style,
    parts: Parts,
}

#[derive(Debug)]
enum Parts {
    List(Vec<Node>),
    Map { entries: Vec<(Node, Node)>, key: Option<Node> },
}

#[derive(Debug, Default)]
struct Builder {
    base: usize,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    aliased: usize,
    anchored: usize,
    has_aliases: bool,
    twice: Vec<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), ReadError> {
        let range = self.range(&span);
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let quoted = style != ScalarStyle::Plain;
                let content = Content::Scalar { text: text.into_owned(), quoted };
                self.add(Node { span: range, content }, anchor)
            }
            Event::SequenceStart(style, anchor, _) => {
                self.begin(range.start, anchor, style, Parts::List(Vec::new()))
            }
            Event::MappingStart(style, anchor, _) => {
                let parts = Parts::Map { entries: Vec::new(), key: None };
                self.begin(range.start, anchor, style, parts)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(&range),
            Event::Alias(anchor) => {
                self.has_aliases = true;
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(wrong("an alias that names what it stands in", range));
                };
                self.aliased = self.aliased.saturating_add(node.size());
                if self.aliased > MOST_BY_ALIAS {
                    let words = format!("aliases that stand for more than {MOST_BY_ALIAS} values");
                    return Err(ReadError { words, span: range });
                }
                self.put(node);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn range(&self, span: &Span) -> Range<usize> {
        let range = span.byte_range().unwrap_or(0..0);
        self.base + range.start..self.base + range.end.max(range.start)
    }

    fn begin(
        &mut self,
        start: usize,
        anchor: usize,
        style: StructureStyle,
        parts: Parts,
    ) -> Result<(), ReadError> {
        if self.open.len() >= DEEPEST {
            let words = format!("nested more than {DEEPEST} deep");
            return Err(ReadError { words, span: start..start });
        }
        let style = match style {
            StructureStyle::Block => Style::Block,
            StructureStyle::Flow => Style::Flow,
        };
        self.open.push(Open { start, anchor, style, parts });
        Ok(())
    }

    fn end(&mut self, closing: &Range<usize>) -> Result<(), ReadError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        // A block ends where its last part does; the parser says so only at the next token.
        let (last, content) = match open.parts {
            Parts::List(items) => {
                let last = items.last().map(|node| node.span.end);
                (last, Content::List { items, style: open.style })
            }
            Parts::Map { entries, .. } => {
                let last = entries.last().map(|(key, value)| {
                    if value.span.is_empty() { key.span.end } else { value.span.end }
                });
                self.twice.extend(repeated(&entries));
                (last, Content::Map { entries, style: open.style })
            }
        };
        let end = match open.style {
            Style::Block => last.unwrap_or(open.start),
            Style::Flow => closing.end,
        };
        let span = open.start..end.max(open.start);
        self.add(Node { span, content }, open.anchor)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), ReadError> {
        self.count(1, &node.span)?;
        if anchor > 0 {
            self.anchored = self.anchored.saturating_add(node.size());
            if self.anchored > MOST_BY_ALIAS {
                let words = format!("anchors on more than {MOST_BY_ALIAS} values");
                return Err(ReadError { words, span: node.span });
            }
            self.anchors.insert(anchor, node.clone());
        }
        self.put(node);
        Ok(())
    }

    fn put(&mut self, node: Node) {
        match self.open.last_mut().map(|open| &mut open.parts) {
            Some(Parts::List(items)) => items.push(node),
            Some(Parts::Map { entries, key }) => match key.take() {
                Some(name) => entries.push((name, node)),
                None => *key = Some(node),
            },
            None => self.root = Some(node),
        }
    }

    fn count(&mut self, nodes: usize, span: &Range<usize>) -> Result<(), ReadError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MOST_NODES {
            let words = format!("more than {MOST_NODES} values");
            return Err(ReadError { words, span: span.clone() });
        }
        Ok(())
    }
}

fn repeated(entries: &[(Node, Node)]) -> Vec<Node> {
    if entries.len() > 256 {
        return Vec::new();
    }
    let twice = entries.iter().enumerate().filter(|(index, (key, _))| {
        let before = entries.iter().take(*index);
        key.text().is_some() && before.clone().any(|(other, _)| other.text() == key.text())
    });
    twice.map(|(_, (key, _))| key.clone()).collect()
}

fn wrong(words: &str, span: Range<usize>) -> ReadError {
    ReadError { words: words.to_owned(), span }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(text: &'a str, node: &Node) -> &'a str {
        text.get(node.span.clone()).unwrap()
    }

    fn one(text: &str) -> Node {
        documents(text).remove(0).unwrap().root
    }

    #[test]
    fn every_value_knows_its_place() {
        let text =
            "spec:\n  items:\n  - path: /tmp/ # here\n    action: \"Block\"\n  last: [a, 'b']\n";
        let root = one(text);
        let item = &root.at(&["spec", "items"]).unwrap().items()[0];
        assert_eq!(at(text, item.get("path").unwrap()), "/tmp/");
        assert_eq!(at(text, item.get("action").unwrap()), "\"Block\"");
        assert_eq!(at(text, root.at(&["spec", "last"]).unwrap()), "[a, 'b']");
        assert_eq!(at(text, item), "path: /tmp/ # here\n    action: \"Block\"");
        assert_eq!(root.at(&["spec"]).unwrap().words("last"), ["a", "b"]);
    }

    #[test]
    fn a_broken_document_leaves_the_others() {
        let text = "a: 1\n---\nb: [\n---\nc: 3\n";
        let all = documents(text);
        assert_eq!(all.len(), 3);
        assert!(all[1].is_err());
        assert_eq!(all[2].as_ref().unwrap().root.word("c"), Some("3"));
        let at = all[2].as_ref().unwrap().root.get("c").unwrap().span.clone();
        assert_eq!(text.get(at).unwrap(), "3");
    }

    #[test]
    fn an_unrendered_template_is_called_one() {
        let error = documents("a: {{ .Values.a }}\nb: {{- if x }}\n").remove(0).unwrap_err();
        assert!(error.to_string().contains("helm template"), "{error}");
    }

    #[test]
    fn aliases_are_followed_within_a_budget() {
        assert_eq!(one("a: &x {k: v}\nb: *x\n").at(&["b", "k"]).unwrap().text(), Some("v"));
        assert_eq!(one("a: &x {k: v}\nb: {<<: *x}\n").at(&["b", "k"]).unwrap().text(), Some("v"));
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let before = level - 1;
            bomb +=
                &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 9].join(","));
        }
        let error = documents(&bomb).remove(0).unwrap_err();
        assert!(error.to_string().contains("aliases"), "{error}");
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = "[".repeat(DEEPEST + 2) + &"]".repeat(DEEPEST + 2);
        assert!(documents(&deep).remove(0).unwrap_err().to_string().contains("nested"));
        let long = "a".repeat(LARGEST_FILE + 1);
        assert!(documents(&long).remove(0).unwrap_err().to_string().contains("bytes"));
    }

    #[test]
    fn json_is_read_too() {
        let text =
            "{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"syscalls\": [{\"names\": [\"read\"]}]}";
        let root = one(text);
        assert_eq!(root.list("syscalls")[0].words("names"), ["read"]);
    }

    #[test]
    fn a_key_that_stands_twice_is_the_last_and_is_told() {
        let document = documents("a: 1\na: 2\n").remove(0).unwrap();
        assert_eq!(document.root.word("a"), Some("2"));
        assert_eq!(document.twice.len(), 1);
    }
}
