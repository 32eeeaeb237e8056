//! Which nodes a policy knows, and what its rules demand of what a node has signed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hardware::{Hardware, HardwareFile};
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
    /// The name of the key by which its TPM signs quotes: `cloudtaser bridge node-enrol` prints it.
    pub tpm: Option<Hash>,
    /// Whose the machine is.
    #[serde(default)]
    pub place: Place,
}

/// Whose a machine is: what its TPM shows, and against whom, depends on it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The customer's, or of a host in the EU that he trusts with it.
    Own,
    /// The provider's, who may have made the TPM up.
    #[default]
    Provider,
}

/// A way to boot that is allowed, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFile {
    /// In rules and reasons.
    pub name: String,
    /// Values of registers, by number (`"4" = "…"`). What is not named may be anything.
    pub registers: BTreeMap<String, Hash>,
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
    /// How far the evidence must reach.
    pub assurance: Option<Assurance>,
    /// Boots, any of which will do, as a TPM signed them; empty allows all.
    #[serde(default)]
    pub boots: Vec<String>,
    /// Confidential machines, any of which will do, as the processor signed; empty allows all.
    #[serde(default)]
    pub hardware: Vec<String>,
}

/// How far evidence reaches (`L0` to `L4`), weakest first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[repr(u8)]
pub enum Assurance {
    /// Software says so: the provider can read the memory.
    L0,
    /// A measured boot with the provider's own TPM: nothing against the provider.
    L1,
    /// A confidential machine with the provider's firmware inside.
    L2,
    /// A confidential machine whose whole measured stack is the customer's, on a known chip.
    L3,
    /// Hardware of the customer's, or of a host in the EU.
    L4,
}

/// What a policy knows of nodes.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    pub(super) nodes: Vec<NodeFile>,
    pub(super) boots: Vec<BootFile>,
    pub(super) hardware: Vec<HardwareFile>,
}

/// What a node signed about a launch. Signature, session, sealing key and pod were checked.
#[derive(Clone, Debug)]
pub struct Attested {
    /// The key that signed.
    pub key: Hash,
    /// What it says.
    pub statement: NodeStatement,
    /// What its TPM signed of it.
    pub tpm: Option<Quoted>,
    /// What the processor of a confidential machine signed of it.
    pub hardware: Option<Hardware>,
}

/// A TPM's quote that was verified, over this statement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quoted {
    /// The name of the key that signed.
    pub key: Hash,
    /// The registers.
    pub registers: BTreeMap<u8, Hash>,
}

impl Nodes {
    /// The node that signs with this key.
    #[must_use]
    pub fn node(&self, key: &Hash) -> Option<&NodeFile> {
        self.nodes.iter().find(|node| node.key == *key)
    }

    /// How far this reaches: without a TPM or a machine that the policy names it is the node's own
    /// word.
    #[must_use]
    pub fn assurance(&self, attested: &Attested) -> Assurance {
        let Some(node) = self.node(&attested.key) else { return Assurance::L0 };
        let quoted = attested.tpm.as_ref().map(|quoted| quoted.key);
        let by_tpm = match node.place {
            _ if node.tpm.is_none() || node.tpm != quoted => Assurance::L0,
            Place::Own => Assurance::L4,
            Place::Provider => Assurance::L1,
        };
        let hardware = attested.hardware.as_ref();
        let machines = self.hardware.iter().filter_map(|entry| entry.check(hardware?).ok());
        machines.fold(by_tpm, Assurance::max)
    }

    /// Why the machine is none of these; nothing where it is one.
    fn is_no_machine(&self, names: &[String], hardware: Option<&Hardware>) -> Option<String> {
        let Some(hardware) = hardware else {
            return Some("no processor has signed the statement".to_owned());
        };
        let mut why = Vec::new();
        for entry in self.hardware.iter().filter(|entry| names.contains(&entry.name)) {
            match entry.check(hardware) {
                Ok(_) => return None,
                Err(refusal) => why.push(format!("{}: {refusal}", entry.name)),
            }
        }
        Some(format!(
            "the machine ({}) is none of the rule's: {}",
            hardware.as_str(),
            why.join("; ")
        ))
    }

    /// What rules name and is not here: its kind, and the name.
    pub(super) fn lacks<'a>(
        &self,
        demands: impl Iterator<Item = &'a Demand> + Clone,
    ) -> Option<(&'static str, &'a str)> {
        let mut boots = demands.clone().flat_map(|demand| &demand.boots);
        let mut machines = demands.flat_map(|demand| &demand.hardware);
        let boot = boots.find(|name| !self.boots.iter().any(|boot| boot.name == **name));
        let machine = machines.find(|name| !self.hardware.iter().any(|entry| entry.name == **name));
        let boot = boot.map(|name| ("boot", name.as_str()));
        boot.or_else(|| machine.map(|name| ("hardware", name.as_str())))
    }

    /// What is wrong with them, and with which.
    pub(super) fn check(&self) -> Result<(), (&'static str, String, &'static str)> {
        let nodes = self.nodes.iter().enumerate().map(|(at, node)| {
            let before = || self.nodes.iter().take(at);
            let what = if node.name.trim().is_empty() {
                "it has no name"
            } else if before().any(|other| other.name == node.name) {
                "there is another node of this name"
            } else if before().any(|other| other.key == node.key) {
                "another node has its key"
            } else if node.tpm.is_some() && before().any(|other| other.tpm == node.tpm) {
                "another node has its TPM"
            } else {
                return Ok(());
            };
            Err(("node", node.name.clone(), what))
        });
        let boots = self.boots.iter().enumerate().map(|(at, boot)| {
            let what = if boot.name.trim().is_empty() {
                "it has no name"
            } else if self.boots.iter().take(at).any(|other| other.name == boot.name) {
                "there is another boot of this name"
            } else if boot.registers.is_empty() {
                "it names no register"
            } else if boot.registers.keys().any(|number| number.parse::<u8>().is_err()) {
                "a register is a number"
            } else {
                return Ok(());
            };
            Err(("boot", boot.name.clone(), what))
        });
        let machines = self.hardware.iter().enumerate().map(|(at, entry)| {
            let what = if entry.name.trim().is_empty() {
                "it has no name"
            } else if self.hardware.iter().take(at).any(|other| other.name == entry.name) {
                "there is another entry of this name"
            } else if let Some(what) = entry.slip() {
                what
            } else {
                return Ok(());
            };
            Err(("hardware", entry.name.clone(), what))
        });
        nodes.chain(boots).chain(machines).collect()
    }

    /// Whether the registers are as this boot has them.
    fn is_boot(&self, name: &str, quoted: &Quoted) -> bool {
        let boot = self.boots.iter().find(|boot| boot.name == name);
        boot.is_some_and(|boot| {
            boot.registers.iter().all(|(number, value)| {
                let number = number.parse::<u8>().ok();
                number.and_then(|number| quoted.registers.get(&number)) == Some(value)
            })
        })
    }
}

impl Assurance {
    /// All, weakest first.
    pub const ALL: [Self; 5] = [Self::L0, Self::L1, Self::L2, Self::L3, Self::L4];

    /// `L0` to `L4`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L0 => "L0",
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
            Self::L4 => "L4",
        }
    }
}

impl Demand {
    /// What of this is not met, in words; empty where all is.
    #[must_use]
    pub fn unmet(&self, nodes: &Nodes, attested: Option<&Attested>) -> Vec<String> {
        let Some(attested) = attested else {
            return vec![
                "a statement that the node's agent signed is required, and there is none"
                    .to_owned(),
            ];
        };
        let Attested { key, statement, .. } = attested;
        if nodes.node(key).is_none() {
            // Of what a stranger signs nothing is looked at.
            return vec![format!("the node's key {key} is none of those that the policy names")];
        }
        let mut unmet = self.unmet_by_hardware(nodes, attested);
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

    /// What of it hardware would have to sign.
    fn unmet_by_hardware(&self, nodes: &Nodes, attested: &Attested) -> Vec<String> {
        let Attested { key, tpm, hardware, .. } = attested;
        let mut unmet = Vec::new();
        let reached = nodes.assurance(attested);
        if self.assurance.is_some_and(|least| reached < least) {
            let why = match (tpm, nodes.node(key).and_then(|node| node.tpm)) {
                _ if hardware.is_some() => ": no [[hardware]] of the policy is this machine",
                (None, _) => {
                    ": there is no quote by a TPM, and no report of a confidential machine"
                }
                (Some(_), None) => ": the policy names no TPM of this node",
                (Some(quoted), Some(named)) if quoted.key != named => ": another TPM has signed",
                _ => "",
            };
            let least = self.assurance.map_or("", Assurance::as_str);
            unmet.push(format!("{least} is required, {} is reached{why}", reached.as_str()));
        }
        if !self.boots.is_empty() {
            let known = tpm.as_ref().filter(|_quoted| reached > Assurance::L0);
            let is_one =
                |quoted: &Quoted| self.boots.iter().any(|name| nodes.is_boot(name, quoted));
            if !known.is_some_and(is_one) {
                let boots = self.boots.join(", ");
                unmet.push(format!("no TPM that the policy names has signed a boot of {boots}"));
            }
        }
        if !self.hardware.is_empty() {
            unmet.extend(nodes.is_no_machine(&self.hardware, hardware.as_ref()));
        }
        unmet
    }
}

#[cfg(test)]
mod tests;
