//! Whether a selector selects, as far as one can say.
//!
//! Labels of a pod that was not given are not known. Then the answer is [`Selects::Perhaps`], and
//! what is asked goes on as if it were yes: a finding that does not apply costs less than one that
//! is missed. A pod that was given has all its labels, so the answer is certain.

use std::collections::BTreeMap;

use crate::tree::Node;

/// An answer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Selects {
    /// Certainly not.
    No,
    /// It depends on labels that are not known.
    Perhaps,
    /// Certainly.
    Yes,
}

impl Selects {
    /// Both must hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.min(other)
    }

    fn of(certain: bool) -> Self {
        if certain { Self::Yes } else { Self::No }
    }

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Perhaps => Self::Perhaps,
            Self::Yes => Self::No,
        }
    }
}

/// Labels, all of them or those that are known.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    known: BTreeMap<String, String>,
    complete: bool,
}

impl Labels {
    /// Labels of something that was given.
    #[must_use]
    pub fn complete(known: BTreeMap<String, String>) -> Self {
        Self { known, complete: true }
    }

    /// Some labels of something that was not given.
    #[must_use]
    pub fn partial(known: BTreeMap<String, String>) -> Self {
        Self { known, complete: false }
    }

    /// Adds a label.
    pub(crate) fn learn(&mut self, key: &str, value: &str) {
        self.known.insert(key.to_owned(), value.to_owned());
    }

    /// The value of a label that is known.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.known.get(key).map(String::as_str)
    }

    fn is(&self, key: &str, value: &str) -> Selects {
        match self.get(key) {
            Some(known) => Selects::of(known == value),
            None if self.complete && !is_derived(key) => Selects::No,
            None => Selects::Perhaps,
        }
    }

    fn is_one_of(&self, key: &str, values: &[&str]) -> Selects {
        values.iter().map(|value| self.is(key, value)).max().unwrap_or(Selects::No)
    }

    fn exists(&self, key: &str) -> Selects {
        match self.get(key) {
            Some(_) => Selects::Yes,
            None if self.complete && !is_derived(key) => Selects::No,
            None => Selects::Perhaps,
        }
    }

    /// A label selector of Kubernetes: all of it must hold, an empty one selects everything.
    #[must_use]
    pub fn chosen_by(&self, selector: &Node) -> Selects {
        let labels = self.match_labels(selector);
        let expressions = selector.list("matchExpressions").iter();
        expressions.map(|expression| self.expression(expression)).fold(labels, Selects::and)
    }

    /// `matchLabels`. Prefixes that Cilium and Tetragon give to sources of labels are understood.
    #[must_use]
    pub fn match_labels(&self, selector: &Node) -> Selects {
        let pairs = selector.get("matchLabels").map_or(&[][..], Node::entries);
        let one = pairs.iter().map(|(key, value)| {
            let key = plain_key(key.text().unwrap_or_default());
            // Of KubeArmor, and about containers; whether it holds is seen where containers are.
            if key.starts_with("kubearmor.io/") {
                return Selects::Perhaps;
            }
            self.is(key, value.text().unwrap_or_default())
        });
        one.fold(Selects::Yes, Selects::and)
    }

    fn expression(&self, expression: &Node) -> Selects {
        let key = plain_key(expression.word("key").unwrap_or_default());
        let values = expression.words("values");
        match expression.word("operator").unwrap_or_default() {
            "In" => self.is_one_of(key, &values),
            "NotIn" => self.is_one_of(key, &values).not(),
            "Exists" => self.exists(key),
            "DoesNotExist" => self.exists(key).not(),
            _ => Selects::Perhaps,
        }
    }

    /// Whether one of `key=value` holds, as KubeArmor writes labels in expressions.
    #[must_use]
    pub fn has_one_of(&self, pairs: &[&str]) -> Selects {
        let one = pairs.iter().map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.is(key.trim(), value.trim())
        });
        one.max().unwrap_or(Selects::No)
    }

    /// Whether none of `key=value` holds.
    #[must_use]
    pub fn has_none_of(&self, pairs: &[&str]) -> Selects {
        self.has_one_of(pairs).not()
    }
}

/// Whether a selector selects at least what another one does, by what is written: all its labels are
/// among the other's, and it has no expressions that the other has not.
#[must_use]
pub fn at_least_as_wide(wide: Option<&Node>, narrow: Option<&Node>) -> bool {
    let Some(wide) = wide else { return true };
    let pairs = |selector: Option<&Node>| -> Vec<(String, String)> {
        let labels = selector.and_then(|selector| selector.get("matchLabels"));
        let pairs = labels.map_or(&[][..], Node::entries).iter();
        let text = |node: &Node| node.text().unwrap_or_default().to_owned();
        pairs.map(|(key, value)| (text(key), text(value))).collect()
    };
    let has = pairs(narrow);
    let same = |one: &Node| {
        narrow
            .is_some_and(|other| other.list("matchExpressions").iter().any(|own| own.is_like(one)))
    };
    pairs(Some(wide)).iter().all(|pair| has.contains(pair))
        && wide.list("matchExpressions").iter().all(same)
}

/// Labels that are made from where a pod is; no manifest has them.
fn is_derived(key: &str) -> bool {
    ["io.kubernetes.", "io.cilium.", "reserved:"].iter().any(|prefix| key.starts_with(prefix))
}

/// A key without the source that Cilium writes before it.
fn plain_key(key: &str) -> &str {
    ["k8s:", "any:", "k8s."].iter().find_map(|prefix| key.strip_prefix(prefix)).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::documents;

    fn selector(text: &str) -> Node {
        documents(text).remove(0).unwrap().root
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn all_of_a_selector_must_hold() {
        let given = Labels::complete(labels(&[("app", "web"), ("tier", "a")]));
        let yes = "matchLabels: {app: web}\nmatchExpressions: [{key: tier, operator: In, values: [a, b]}]";
        let no = "matchLabels: {app: web}\nmatchExpressions: [{key: tier, operator: NotIn, values: [a]}]";
        assert_eq!(given.chosen_by(&selector(yes)), Selects::Yes);
        assert_eq!(given.chosen_by(&selector(no)), Selects::No);
        assert_eq!(given.chosen_by(&selector("matchLabels: {k8s:app: web}")), Selects::Yes);
        assert_eq!(
            given.chosen_by(&selector("matchExpressions: [{key: x, operator: Exists}]")),
            Selects::No
        );
    }

    #[test]
    fn what_is_not_known_is_perhaps() {
        let assumed = Labels::partial(labels(&[("cloudtaser.io/inject", "true")]));
        assert_eq!(assumed.chosen_by(&selector("matchLabels: {app: web}")), Selects::Perhaps);
        let out =
            "matchExpressions: [{key: cloudtaser.io/inject, operator: NotIn, values: ['true']}]";
        assert_eq!(assumed.chosen_by(&selector(out)), Selects::No);
        assert_eq!(assumed.has_none_of(&["cloudtaser.io/inject=true"]), Selects::No);
        assert_eq!(assumed.has_one_of(&["app=web"]), Selects::Perhaps);
    }
}
