//! The release policy: which workload gets which path, protected how. What no rule names is closed.
//!
//! Of all rules the most specific path decides, so that a wide rule never opens what a narrow one
//! guards. Pure: who has the file reads it, and everybody evaluates it the same way.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::nodes::{Attested, Demand, NodeFile};
use crate::{
    level::{ProtectionLevel, Requirement},
    node::Hash,
};

/// A policy as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// The rules. An empty file releases nothing.
    #[serde(default)]
    pub rule: Vec<RuleFile>,
    /// The nodes whose signed statements count.
    #[serde(default)]
    pub node: Vec<NodeFile>,
}

/// A rule as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// In errors and audit lines.
    pub name: String,
    /// Paths and all below them; the last segment may end with `*`.
    pub paths: Vec<String>,
    /// `issuer:namespace/serviceaccount`, each part a name or `*`.
    pub identities: Vec<String>,
    /// What may be done; reading when absent.
    #[serde(default = "reading")]
    pub operations: Vec<Action>,
    /// What the launch must reach, such as `memory=sealed`.
    #[serde(default)]
    pub require: Vec<Requirement>,
    /// What the node must have signed; nothing when absent.
    pub node: Option<Demand>,
}

fn reading() -> Vec<Action> {
    vec![Action::Read]
}

/// What is done with a path.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Ciphertexts are decrypted with the key `MOUNT/decrypt/NAME`.
    Decrypt,
    /// It is read.
    Read,
    /// It is written to, and the answer read.
    Write,
}

/// Who asks.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Identity {
    /// The name that the bridge's configuration gives to the token's issuer.
    pub issuer: String,
    /// The namespace.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
}

/// A policy that can be asked.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    nodes: Vec<NodeFile>,
}

#[derive(Clone, Debug)]
struct Rule {
    name: String,
    paths: Vec<Prefix>,
    identities: Vec<[Option<String>; 3]>,
    operations: Vec<Action>,
    require: Vec<Requirement>,
    node: Option<Demand>,
}

/// A path and all below it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Prefix {
    segments: Vec<String>,
    /// The last segment is the beginning of one.
    open: bool,
}

/// A policy that cannot be used, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{part} {name:?}: {what}")]
pub struct PolicyError {
    part: &'static str,
    name: String,
    what: String,
}

/// A question to the policy.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who.
    pub identity: &'a Identity,
    /// To do what.
    pub action: Action,
    /// With which path.
    pub path: &'a str,
    /// How the launch is protected.
    pub level: &'a ProtectionLevel,
    /// What its node has signed.
    pub node: Option<&'a Attested>,
}

/// What the policy says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision<'a> {
    /// It is released, by this rule.
    Release {
        /// The rule's name.
        rule: &'a str,
    },
    /// This rule would release it to a launch that is protected better.
    Level {
        /// The rule's name.
        rule: &'a str,
        /// What is not reached.
        unmet: Vec<String>,
    },
    /// The rules for this path do not name this workload, or not for this.
    Identity {
        /// The rules' names.
        rules: Vec<&'a str>,
    },
    /// No rule names the path.
    Path,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.issuer, self.namespace, self.service_account)
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release { rule } => write!(f, "released by rule {rule:?}"),
            Self::Level { rule, unmet } => {
                write!(f, "rule {rule:?} demands better protection: {}", unmet.join("; "))
            }
            Self::Identity { rules } => write!(
                f,
                "the policy names this path, and not for this workload and operation (rules: {})",
                rules.join(", ")
            ),
            Self::Path => f.write_str("no rule of the policy names this path"),
        }
    }
}

impl Policy {
    /// Checks what was written.
    ///
    /// # Errors
    /// [`PolicyError`] names the rule.
    pub fn compile(file: PolicyFile) -> Result<Self, PolicyError> {
        let rules = file.rule.into_iter().map(Rule::compile).collect::<Result<Vec<_>, _>>()?;
        for (at, rule) in rules.iter().enumerate() {
            if rules.iter().take(at).any(|other| other.name == rule.name) {
                return Err(rule.error("there is another rule of this name"));
            }
        }
        for (at, node) in file.node.iter().enumerate() {
            let before = || file.node.iter().take(at);
            for (is_so, what) in [
                (node.name.trim().is_empty(), "it has no name"),
                (
                    before().any(|other| other.name == node.name),
                    "there is another node of this name",
                ),
                (before().any(|other| other.key == node.key), "another node has its key"),
            ] {
                if is_so {
                    let (name, what) = (node.name.clone(), what.to_owned());
                    return Err(PolicyError { part: "node", name, what });
                }
            }
        }
        Ok(Self { rules, nodes: file.node })
    }

    /// How many rules there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rules.len()
    }

    /// The node that signs with this key.
    #[must_use]
    pub fn node(&self, key: &Hash) -> Option<&NodeFile> {
        self.nodes.iter().find(|node| node.key == *key)
    }

    /// Whether nothing is ever released.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What becomes of a question.
    #[must_use]
    pub fn decide(&self, asked: &Asked<'_>) -> Decision<'_> {
        let Some(path) = segments(asked.path) else { return Decision::Path };
        let specific = |rule: &Rule| rule.paths.iter().filter_map(|p| p.fits(&path)).max();
        let Some(most) = self.rules.iter().filter_map(specific).max() else {
            return Decision::Path;
        };
        let about = self.rules.iter().filter(|rule| specific(rule) == Some(most));
        let about = about.collect::<Vec<_>>();
        let mut weaker = None;
        for rule in about.iter().filter(|rule| rule.names(asked)) {
            let unmet = asked.level.unmet(&rule.require);
            let mut unmet = unmet.iter().map(ToString::to_string).collect::<Vec<_>>();
            if let Some(demand) = &rule.node {
                unmet.extend(demand.unmet(&self.nodes, asked.node));
            }
            if unmet.is_empty() {
                return Decision::Release { rule: &rule.name };
            }
            weaker.get_or_insert(Decision::Level { rule: &rule.name, unmet });
        }
        let names = || about.iter().map(|rule| rule.name.as_str()).collect();
        weaker.unwrap_or_else(|| Decision::Identity { rules: names() })
    }
}

impl Rule {
    fn compile(file: RuleFile) -> Result<Self, PolicyError> {
        let error = |what: String| PolicyError { part: "rule", name: file.name.clone(), what };
        let paths = file.paths.iter().map(|path| {
            Prefix::parse(path).ok_or_else(|| {
                error(format!("{path:?} is no path: write mount/path, with * at its end at most"))
            })
        });
        let identities = file.identities.iter().map(|text| {
            identity(text).ok_or_else(|| {
                error(format!("{text:?} is no identity: write issuer:namespace/serviceaccount"))
            })
        });
        let rule = Self {
            paths: paths.collect::<Result<_, _>>()?,
            identities: identities.collect::<Result<_, _>>()?,
            operations: file.operations,
            require: file.require,
            node: file.node,
            name: file.name,
        };
        for (is_empty, what) in [
            (rule.name.trim().is_empty(), "it has no name"),
            (rule.paths.is_empty(), "it names no path"),
            (rule.identities.is_empty(), "it names no identity"),
            (rule.operations.is_empty(), "it names no operation"),
        ] {
            if is_empty {
                return Err(rule.error(what));
            }
        }
        Ok(rule)
    }

    fn error(&self, what: &str) -> PolicyError {
        PolicyError { part: "rule", name: self.name.clone(), what: what.to_owned() }
    }

    fn names(&self, asked: &Asked<'_>) -> bool {
        let Identity { issuer, namespace, service_account } = asked.identity;
        let parts = [issuer, namespace, service_account];
        let fits = |pattern: &[Option<String>; 3]| {
            pattern.iter().zip(parts).all(|(want, is)| want.as_ref().is_none_or(|want| want == is))
        };
        self.operations.contains(&asked.action) && self.identities.iter().any(fits)
    }
}

impl Prefix {
    fn parse(text: &str) -> Option<Self> {
        let (text, open) = match text.strip_suffix('*') {
            Some(rest) => (rest, !rest.ends_with('/') && !rest.is_empty()),
            None => (text, false),
        };
        let segments = segments(text)?;
        let clean = |segment: &String| !segment.contains('*');
        segments.iter().all(clean).then_some(Self { segments, open })
    }

    /// How specific it is about a path that it covers.
    fn fits(&self, path: &[String]) -> Option<(usize, usize, bool)> {
        let (head, _) = path.split_at_checked(self.segments.len())?;
        let same = head.iter().zip(&self.segments).enumerate().all(|(at, (is, want))| {
            let last = at + 1 == self.segments.len();
            if last && self.open { is.starts_with(want.as_str()) } else { is == want }
        });
        let len = self.segments.iter().map(String::len).sum();
        same.then_some((self.segments.len(), len, !self.open))
    }
}

/// The segments of a path, without the `data` by which KV v2 spells the same secret twice; `None`
/// for what is no path.
fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.trim_matches('/');
    let mut segments = path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let strange = |segment: &String| {
        matches!(segment.as_str(), "" | "." | "..") || segment.contains(char::is_control)
    };
    if segments.iter().any(strange) {
        return None;
    }
    let data = segments.iter().skip(1).position(|segment| segment == "data");
    if let Some(at) = data {
        segments.remove(at + 1);
    }
    Some(segments)
}

/// One spelling for all that name the same secret, so that a hash of it can be looked for.
#[must_use]
pub fn canonical(path: &str) -> Option<String> {
    segments(path).map(|segments| segments.join("/"))
}

fn identity(text: &str) -> Option<[Option<String>; 3]> {
    let (issuer, rest) = text.split_once(':')?;
    let (namespace, account) = rest.split_once('/')?;
    let part = |part: &str| match part {
        "*" => Some(None),
        "" => None,
        part if part.contains(['*', '/', ':']) => None,
        part => Some(Some(part.to_owned())),
    };
    Some([part(issuer)?, part(namespace)?, part(account)?])
}

#[cfg(test)]
mod tests;
