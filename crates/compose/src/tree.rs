//! A document of YAML or JSON as a tree in which every node knows its place in the text.
//!
//! Scalars keep what was written, so `80` is the text "80": the readers of policies compare words
//! and do not need types. An alias is the node that it names, expanded within a budget.

use std::ops::Range;

/// A value and where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// First byte to behind the last; of a block collection, behind its last part.
    pub span: Range<usize>,
    /// What it is.
    pub content: Content,
}

/// What a node is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// A mapping.
    Map {
        /// Keys and values in the order of the text.
        entries: Vec<(Node, Node)>,
        /// How it is written.
        style: Style,
    },
    /// A scalar.
    Scalar {
        /// The text without quotes and escapes.
        text: String,
        /// Whether it was quoted, so that `"null"` is a text.
        quoted: bool,
    },
    /// A sequence.
    List {
        /// The items.
        items: Vec<Node>,
        /// How it is written.
        style: Style,
    },
}

/// How a collection is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// By indentation.
    Block,
    /// In brackets.
    Flow,
}

impl Node {
    /// The value of a key; the last one where a key stands twice, as Kubernetes reads it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let entries = self.entries();
        let own = entries.iter().rev().find(|(name, _)| name.text() == Some(key));
        own.map(|(_, value)| value)
            .or_else(|| entries.iter().find(|(name, _)| name.text() == Some("<<"))?.1.get(key))
            .filter(|value| !value.is_null())
    }

    /// The value behind several keys.
    #[must_use]
    pub fn at(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The key's own node, to point at.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<&Self> {
        self.entries().iter().rev().find(|(name, _)| name.text() == Some(key)).map(|(name, _)| name)
    }

    /// Keys and values; none where it is no mapping.
    #[must_use]
    pub fn entries(&self) -> &[(Self, Self)] {
        match &self.content {
            Content::Map { entries, .. } => entries,
            _ => &[],
        }
    }

    /// Items; none where it is no sequence.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.content {
            Content::List { items, .. } => items,
            _ => &[],
        }
    }

    /// Items behind a key.
    #[must_use]
    pub fn list(&self, key: &str) -> &[Self] {
        self.get(key).map_or(&[], Self::items)
    }

    /// The text of a scalar.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The text behind a key.
    #[must_use]
    pub fn word(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    /// The texts of a list of scalars; of a single scalar, that one.
    #[must_use]
    pub fn words(&self, key: &str) -> Vec<&str> {
        let Some(value) = self.get(key) else { return Vec::new() };
        value.text().map_or_else(
            || value.items().iter().filter_map(Self::text).collect(),
            |single| vec![single],
        )
    }

    /// Whether a key says yes.
    #[must_use]
    pub fn says(&self, key: &str) -> bool {
        self.word(key).is_some_and(is_true)
    }

    /// Whether nothing is written here.
    #[must_use]
    pub fn is_null(&self) -> bool {
        match &self.content {
            Content::Scalar { text, quoted } => {
                !quoted && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// Whether two nodes say the same, wherever they stand.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (&self.content, &other.content) {
            (Content::Scalar { text: one, .. }, Content::Scalar { text: two, .. }) => one == two,
            (Content::List { items: one, .. }, Content::List { items: two, .. }) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.is_like(two))
            }
            (Content::Map { entries: one, .. }, Content::Map { entries: two, .. }) => {
                one.len() == two.len()
                    && one.iter().all(|(key, value)| {
                        let other = key.text().and_then(|key| other.get(key));
                        other.is_some_and(|other| value.is_like(other))
                    })
            }
            _ => false,
        }
    }

    /// How many nodes it is made of.
    #[must_use]
    pub fn size(&self) -> usize {
        match &self.content {
            Content::Map { entries, .. } => {
                1 + entries.iter().map(|(key, value)| key.size() + value.size()).sum::<usize>()
            }
            Content::Scalar { .. } => 1,
            Content::List { items, .. } => 1 + items.iter().map(Self::size).sum::<usize>(),
        }
    }
}

/// What YAML 1.1 and the Kubernetes API take for true.
#[must_use]
pub fn is_true(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "yes" | "on")
}
