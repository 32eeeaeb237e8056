//! Signing what the agent is worth, for a launch that asks for it.
//!
//! Whoever asks is guarded already and known by the kernel: its pod by its cgroup, its wrapper by its
//! file. Only session and sealing key are what it says, and both are its own matter: a statement for
//! another session is of no use to it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use cloudtaser_core::cgroup::Workload;
use cloudtaser_core::node::{self, Hash, Launch, Lockdown, NodeEvidence, NodeStatement, Programs};
use sha2::{Digest as _, Sha256};

use crate::agent::Agent;
use crate::caller::has_ended;
use crate::host;
use crate::node_key::NodeKey;
use crate::peers::Asked;
use crate::quoting::Quoting;
use crate::road::{Attack, Outcome};
use crate::wrappers::hash;

/// What an agent signs with, and as which program.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) key: NodeKey,
    /// SHA-256 of this program.
    program: Hash,
    /// What hardware of the node signs too, where there is some.
    pub(crate) quoting: Option<Quoting>,
}

impl Signer {
    /// Hashes the file that this process executes.
    pub(crate) fn new(key: NodeKey, tpm: &Path) -> io::Result<Self> {
        let file = File::open("/proc/self/exe")?;
        let len = file.metadata()?.len();
        let program = Hash::new(hash(file, len)?.bytes());
        Ok(Self { key, program, quoting: Quoting::start(tpm) })
    }
}

impl Agent {
    /// A statement for whoever asks; words for why not.
    pub(crate) fn attest(
        &self,
        asked: &Asked,
        session: Hash,
        sealing: Hash,
    ) -> Result<NodeEvidence, String> {
        let signer = self.signer.as_ref().ok_or("this agent has no key to sign with")?;
        let caller = &asked.caller;
        if self.table.group(caller.pid).is_none() {
            return Err("it is not guarded: ask for the guard first".to_owned());
        }
        let Workload { pod, container } = Workload::parse(&caller.cgroup);
        let wrapper = asked.wrapper.map(|digest| Hash::new(digest.bytes()));
        let launch = Launch { wrapper, pod, container };
        let statement = NodeStatement {
            at: host::since_epoch().as_secs(),
            boot: host::boot_id(),
            kernel: host::release(),
            lockdown: lockdown(host::lockdown().as_deref()),
            state: self.state.facet(),
            tier: self.state.tier().map(|tier| tier.as_str().to_owned()),
            reasons: self.state.reasons().to_vec(),
            proved_s: self.proved.elapsed().as_secs(),
            roads: roads(&self.now),
            programs: programs(self.attached.tags()),
            ..NodeStatement::new(session, sealing, signer.program, launch)
        };
        // Everything that was read by number was this process's if it is there now.
        if has_ended(&caller.process) {
            return Err("it has ended".to_owned());
        }
        let text = statement.to_text();
        if NodeStatement::parse(&text).is_err() {
            return Err("what there is to say does not fit into a statement".to_owned());
        }
        let signature = signer.key.sign(&text);
        let key = signer.key.public();
        Ok(NodeEvidence { statement: text, key, signature, tpm: None, hardware: None })
    }
}

fn lockdown(mode: Option<&str>) -> Lockdown {
    match mode {
        Some("integrity") => Lockdown::Integrity,
        Some("confidentiality") => Lockdown::Confidentiality,
        _ => Lockdown::None,
    }
}

fn roads(attack: &Attack) -> BTreeMap<String, node::Outcome> {
    let each = attack.roads.iter().map(|tried| {
        let outcome = match tried.outcome {
            Outcome::Absent => node::Outcome::Absent,
            Outcome::Denied => node::Outcome::Denied,
            Outcome::Killed => node::Outcome::Killed,
            Outcome::Open => node::Outcome::Open,
        };
        (tried.road.clone(), outcome)
    });
    each.collect()
}

/// One hash for the tags of all programs, whatever the order in which they were attached.
fn programs(mut tags: Vec<[u8; 8]>) -> Programs {
    tags.sort_unstable();
    let mut hasher = Sha256::new();
    for tag in &tags {
        hasher.update(data_encoding::HEXLOWER.encode(tag));
        hasher.update(b"\n");
    }
    let count = u32::try_from(tags.len()).unwrap_or(u32::MAX);
    Programs { count, tags: Hash::new(hasher.finalize().into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::road::Tried;

    #[test]
    fn programs_are_the_same_in_any_order_and_not_when_one_is_another() {
        let of = |tags: &[u8]| programs(tags.iter().map(|tag| [*tag; 8]).collect()).tags;
        assert_eq!(of(&[1, 2, 3]), of(&[3, 1, 2]));
        assert_ne!(of(&[1, 2, 3]), of(&[1, 2, 4]));
        assert_ne!(of(&[1, 2]), of(&[1, 2, 2]));
    }

    #[test]
    fn the_kernels_words_are_the_statements() {
        assert_eq!(lockdown(Some("confidentiality")), Lockdown::Confidentiality);
        assert_eq!(
            lockdown(Some("something new")),
            Lockdown::None,
            "what is not known is not claimed"
        );
        assert_eq!(lockdown(None), Lockdown::None);
        let tried = Tried { road: "kcore".to_owned(), outcome: Outcome::Denied };
        let attack = Attack { roads: vec![tried], broken_neighbours: Vec::new() };
        assert_eq!(roads(&attack)["kcore"], node::Outcome::Denied);
    }
}
