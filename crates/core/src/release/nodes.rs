//! Which nodes a policy knows, and what its rules demand of what a node has signed.

use serde::Deserialize;

use crate::{
    level::Agent,
    node::{Hash, Lockdown, NodeStatement},
};

/// A node that the policy knows, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeFile {
    /// In reasons and audit lines.
    pub name: String,
    /// The key with which its agent signs: `cloudtaser-agent node-key` prints it.
    pub key: Hash,
}

/// What a rule demands of the node, as it is written. An empty one demands a signed statement.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// What the agent must be worth.
    pub agent: Option<Agent>,
    /// Tiers, any of which will do; empty allows all.
    #[serde(default)]
    pub tiers: Vec<String>,
    /// What the kernel must refuse to root.
    pub lockdown: Option<Lockdown>,
    /// Agents, by SHA-256 of their files; empty allows all.
    #[serde(default)]
    pub agents: Vec<Hash>,
    /// The same of wrappers.
    #[serde(default)]
    pub wrappers: Vec<Hash>,
    /// The same of the programs in the kernel, by the hash of their tags.
    #[serde(default)]
    pub programs: Vec<Hash>,
}

/// What a node signed about a launch. Signature, session, sealing key and pod were checked.
#[derive(Clone, Debug)]
pub struct Attested {
    /// The key that signed.
    pub key: Hash,
    /// What it says.
    pub statement: NodeStatement,
}

impl Demand {
    /// What of this is not met, in words; empty where all is.
    #[must_use]
    pub fn unmet(&self, nodes: &[NodeFile], attested: Option<&Attested>) -> Vec<String> {
        let Some(Attested { key, statement }) = attested else {
            return vec![
                "a statement that the node's agent signed is required, and there is none"
                    .to_owned(),
            ];
        };
        if !nodes.iter().any(|node| node.key == *key) {
            // Of what a stranger signs nothing is looked at.
            return vec![format!("the node's key {key} is none of those that the policy names")];
        }
        let mut unmet = Vec::new();
        if self.agent.is_some_and(|least| statement.state < least) {
            let least = self.agent.map_or("", Agent::as_str);
            let mut words = format!(
                "agent={least} is required of the signed statement, which says {}",
                statement.state.as_str()
            );
            if !statement.reasons.is_empty() {
                words.push_str(&format!(" ({})", statement.reasons.join("; ")));
            }
            unmet.push(words);
        }
        let tier = statement.tier.as_deref().unwrap_or("none");
        if !self.tiers.is_empty() && !self.tiers.iter().any(|wanted| wanted == tier) {
            unmet.push(format!("a tier of {} is required, not {tier}", self.tiers.join(", ")));
        }
        if self.lockdown.is_some_and(|least| statement.lockdown < least) {
            let least = self.lockdown.map_or("", Lockdown::as_str);
            unmet
                .push(format!("lockdown={least} is required, not {}", statement.lockdown.as_str()));
        }
        let lists = [
            ("agent", &self.agents, Some(statement.agent)),
            ("wrapper", &self.wrappers, statement.launch.wrapper),
            ("set of programs", &self.programs, Some(statement.programs.tags)),
        ];
        for (what, allowed, is) in lists {
            if allowed.is_empty() || is.is_some_and(|is| allowed.contains(&is)) {
                continue;
            }
            unmet.push(match is {
                Some(is) => format!("the {what} {is} is none of those that the rule names"),
                None => format!("the {what} is not known to the agent"),
            });
        }
        unmet
    }
}

#[cfg(test)]
mod tests;
