//! The release policy: which workload gets which path, protected how. What no rule names is closed.
//!
//! Of all rules the most specific path decides, so that a wide rule never opens what a narrow one
//! guards. A rule may demand more ([`terms`]): that people approve, that it is not too often. Pure:
//! who has the file reads it, and everybody evaluates it the same way.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::hardware::HardwareFile;
use super::nodes::{Assurance, Attested, BootFile, Demand, NodeFile, Nodes};
use crate::{
    level::{ProtectionLevel, Requirement},
    node::Hash,
};

mod rule;
pub mod terms;

pub use rule::canonical;
use rule::{Rule, segments};
use terms::{Grounds, Limit, Occasion, Quorum, Relax, Signer, Standing};

/// A policy as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// The rules. An empty file releases nothing.
    #[serde(default)]
    pub rule: Vec<RuleFile>,
    /// Who may approve releases, or set demands aside.
    #[serde(default)]
    pub signer: Vec<Signer>,
    /// Who may set demands of rules aside in need; without it nobody may.
    #[serde(default, rename = "break-glass")]
    pub break_glass: Option<Quorum>,
    /// The nodes whose signed statements count.
    #[serde(default)]
    pub node: Vec<NodeFile>,
    /// The boots that rules name.
    #[serde(default)]
    pub boot: Vec<BootFile>,
    /// The confidential machines that rules name.
    #[serde(default)]
    pub hardware: Vec<HardwareFile>,
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
    /// How much of one path one pod gets; any amount when absent.
    #[serde(default)]
    pub limit: Option<Limit>,
    /// Who has to say yes to each release; nobody when absent.
    #[serde(default)]
    pub approvals: Option<Quorum>,
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
    signers: Vec<Signer>,
    break_glass: Option<Quorum>,
    nodes: Nodes,
}

/// A policy that cannot be used, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct PolicyError {
    place: String,
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
    /// What happened before.
    pub standing: &'a Standing,
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
        /// What else it stands on.
        grounds: Grounds<'a>,
    },
    /// This rule would release it, once enough people have approved.
    Approvals {
        /// The rule's name.
        rule: &'a str,
        /// How many have to.
        needed: u32,
        /// Who has.
        have: Vec<&'a str>,
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
    /// This rule has released it as often as it may.
    Limit {
        /// The rule's name.
        rule: &'a str,
        /// How often it may.
        limit: String,
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
            Self::Release { rule, grounds } => {
                write!(f, "released by rule {rule:?}")?;
                if !grounds.approved_by.is_empty() {
                    write!(f, ", approved by {}", grounds.approved_by.join(", "))?;
                }
                if !grounds.relaxed.is_empty() {
                    let what = grounds.relaxed.iter().map(|relax| relax.as_str());
                    let what = what.collect::<Vec<_>>().join(", ");
                    write!(f, "; BREAK-GLASS: {what} set aside")?;
                }
                Ok(())
            }
            Self::Approvals { rule, needed, have } => {
                write!(f, "rule {rule:?} needs {needed} approvals of this path, and has ")?;
                if have.is_empty() {
                    f.write_str("none")
                } else {
                    write!(f, "{} ({})", have.len(), have.join(", "))
                }
            }
            Self::Limit { rule, limit } => {
                write!(
                    f,
                    "rule {rule:?} has released this path to this pod as often as it may: {limit}"
                )
            }
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

impl Decision<'_> {
    /// The one rule that decided, where one did.
    #[must_use]
    pub const fn rule(&self) -> Option<&str> {
        match self {
            Self::Approvals { rule, .. }
            | Self::Level { rule, .. }
            | Self::Limit { rule, .. }
            | Self::Release { rule, .. } => Some(rule),
            Self::Identity { .. } | Self::Path => None,
        }
    }
}

impl Policy {
    /// Checks what was written.
    ///
    /// # Errors
    /// [`PolicyError`] names the rule.
    pub fn compile(file: PolicyFile) -> Result<Self, PolicyError> {
        let PolicyFile { rule, signer: signers, break_glass, node, boot, hardware } = file;
        let nodes = Nodes { nodes: node, boots: boot, hardware };
        let of_signers = |place: &str| {
            let place = place.to_owned();
            |what| PolicyError { place, what }
        };
        terms::check_signers(&signers).map_err(of_signers("[[signer]]"))?;
        if let Some(quorum) = &break_glass {
            quorum.check(&signers).map_err(of_signers("[break-glass]"))?;
        }
        let rules = rule.into_iter().map(|rule| Rule::compile(rule, &signers));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        for (at, rule) in rules.iter().enumerate() {
            if rules.iter().take(at).any(|other| other.name == rule.name) {
                return Err(rule.error("there is another rule of this name"));
            }
        }
        let demands = rules.iter().filter_map(|rule| rule.node.as_ref());
        if let Some((part, name)) = nodes.lacks(demands) {
            let (place, what) =
                (format!("{part} {name:?}"), format!("no [[{part}]] has this name"));
            return Err(PolicyError { place, what });
        }
        if let Err((part, name, what)) = nodes.check() {
            return Err(PolicyError { place: format!("{part} {name:?}"), what: what.to_owned() });
        }
        Ok(Self { rules, signers, break_glass, nodes })
    }

    /// The key of a signer.
    #[must_use]
    pub fn signer(&self, name: &str) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.name == name)
    }

    /// Whether an order of this signer that sets demands aside counts.
    #[must_use]
    pub fn may_break(&self, signer: &str) -> bool {
        self.break_glass.as_ref().is_some_and(|quorum| quorum.by.iter().any(|by| by == signer))
    }

    /// Whether there is a rule of this name.
    #[must_use]
    pub fn has_rule(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| rule.name == name)
    }

    /// How many rules there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rules.len()
    }

    /// The node that signs with this key.
    #[must_use]
    pub fn node(&self, key: &Hash) -> Option<&NodeFile> {
        self.nodes.node(key)
    }

    /// How far it reaches what a node signed.
    #[must_use]
    pub fn assurance(&self, attested: &Attested) -> Assurance {
        self.nodes.assurance(attested)
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
        let mut best: Option<Decision<'_>> = None;
        for rule in about.iter().filter(|rule| rule.names(asked)) {
            let decision = self.of_rule(rule, asked);
            // The one with fewer terms speaks where two would release; else the one that stands first.
            let better = best.as_ref().is_none_or(|best| terms_of(&decision) < terms_of(best));
            if better {
                best = Some(decision);
            }
        }
        let names = || about.iter().map(|rule| rule.name.as_str()).collect();
        best.unwrap_or_else(|| Decision::Identity { rules: names() })
    }

    /// What a rule that names the path and the workload says.
    fn of_rule<'a>(&'a self, rule: &'a Rule, asked: &Asked<'_>) -> Decision<'a> {
        let standing = asked.standing;
        let name = rule.name.as_str();
        let mut grounds = Grounds::default();
        let unmet = asked.level.unmet(&rule.require);
        let mut unmet = unmet.iter().map(ToString::to_string).collect::<Vec<_>>();
        if let Some(demand) = &rule.node {
            unmet.extend(demand.unmet(&self.nodes, asked.node));
        }
        if !unmet.is_empty() {
            if !self.is_relaxed(rule, Relax::Level, standing) {
                return Decision::Level { rule: name, unmet };
            }
            grounds.relaxed.push(Relax::Level);
        }
        if standing.occasion == Occasion::Renewal {
            return Decision::Release { rule: name, grounds };
        }
        if let Some(quorum) = &rule.approvals {
            let have = quorum.of(|name| standing.approved_by.iter().any(|by| by == name));
            if quorum.is_met(have.len()) {
                grounds.approved_by = have;
            } else if self.is_relaxed(rule, Relax::Approvals, standing) {
                grounds.relaxed.push(Relax::Approvals);
            } else {
                return Decision::Approvals { rule: name, needed: quorum.needed, have };
            }
        }
        if let Some(limit) = &rule.limit {
            grounds.limited = true;
            if let Some(limit) = limit.reached(standing) {
                if !self.is_relaxed(rule, Relax::Limit, standing) {
                    return Decision::Limit { rule: name, limit };
                }
                grounds.relaxed.push(Relax::Limit);
            }
        }
        Decision::Release { rule: name, grounds }
    }

    /// Whether enough people have set this demand of this rule aside.
    fn is_relaxed(&self, rule: &Rule, what: Relax, standing: &Standing) -> bool {
        let Some(quorum) = &self.break_glass else { return false };
        let orders = standing.opened.iter();
        let orders = orders.filter(|order| order.rule == rule.name && order.relax.contains(&what));
        let signed = |name: &str| orders.clone().any(|order| order.by == name);
        quorum.is_met(quorum.of(signed).len())
    }
}

/// How much a decision stands on: a release on nothing but its rule has least.
fn terms_of(decision: &Decision<'_>) -> (usize, usize, bool) {
    match decision {
        Decision::Release { grounds, .. } => {
            (grounds.relaxed.len(), grounds.approved_by.len(), grounds.limited)
        }
        _ => (usize::MAX, 0, false),
    }
}

#[cfg(test)]
mod tests;
