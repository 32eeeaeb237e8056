//! Statements of nodes, held against the receipts that name them.
//!
//! A document that is not of this kind is counted and no more. One that is has to be whole: its
//! signature holds, and session, sealing key and pod are those of each receipt that names it.

use std::collections::{BTreeMap, BTreeSet};

use cloudtaser_core::{node::Hash, release::policy::Policy};
use serde::Serialize;

use super::Refusal;
use crate::{
    attest::tpm::Registers,
    hash::Digest,
    node::{Document, Launch, NodeError, Signed},
    receipt::{Assurance, Receipt},
};

/// A release policy, by which the bridge knew nodes.
#[derive(Clone, Debug)]
pub struct ReleasePolicy {
    /// SHA-256 of its file, as receipts name it.
    pub hash: Digest,
    /// What it says.
    pub policy: Policy,
}

/// What receipts say of the launch whose statement they name.
#[derive(Clone, Debug)]
pub(super) struct Uses {
    session: Digest,
    recipient: Option<Digest>,
    pod: String,
    wrapper: Option<Digest>,
    policies: BTreeSet<Digest>,
    highest: Assurance,
    releases: u64,
    agree: bool,
}

/// What one node said of itself in the same words, and for how many launches.
#[derive(Clone, Debug, Serialize)]
pub struct NodeSeen {
    /// Its name in the release policy, where that was given and names its key.
    pub name: Option<String>,
    /// Its key.
    pub key: Digest,
    /// Which boot of it.
    pub boot: String,
    /// Its kernel.
    pub kernel: String,
    /// SHA-256 of its agent.
    pub agent: Hash,
    /// What the agent was worth.
    pub state: &'static str,
    /// How the agent judged.
    pub tier: Option<String>,
    /// What the kernel refused to root.
    pub lockdown: &'static str,
    /// How far that reaches, by the policies that were given.
    pub assurance: Assurance,
    /// The key of the TPM that signed, and the registers, where there was one.
    pub tpm: Option<TpmSeen>,
    /// What the processor of a confidential machine signed, where there was one.
    pub machine: Option<MachineSeen>,
    /// How many statements.
    pub statements: u64,
    /// Releases that name one of them.
    pub releases: u64,
}

/// A TPM's quote.
#[derive(Clone, Debug, Serialize)]
pub struct TpmSeen {
    /// The name of its key.
    pub key: Digest,
    /// Its registers.
    pub registers: Registers,
    /// How often it was reset: a number per boot.
    pub resets: u32,
}

/// A confidential machine.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct MachineSeen {
    /// `SEV-SNP` or `TDX`.
    pub kind: &'static str,
    /// What it was started with, in hexadecimal.
    pub measurement: String,
}

/// What statements of one boot have in common, and what each of them shows.
type Same = (Digest, String, Hash, &'static str, Option<String>);
type Shown = (Assurance, Option<String>, Option<Digest>, Option<MachineSeen>);

/// All that were found.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    seen: BTreeMap<(Same, Shown), NodeSeen>,
    /// Releases whose statement was verified.
    pub(super) attested: u64,
    /// Of those, releases whose receipt says more than the statement shows.
    pub(super) overstated: u64,
    /// Of those, releases that hardware signed for, and whose policy was not given.
    pub(super) unjudged: u64,
    /// Of those, releases for which evidence of hardware reaches so far.
    pub(super) hardware: BTreeMap<Assurance, u64>,
}

impl Uses {
    pub(super) fn of(receipt: &Receipt) -> Self {
        let draft = &receipt.draft;
        Self {
            session: draft.session,
            recipient: draft.sealing.as_ref().map(|sealing| sealing.recipient),
            pod: draft.workload.pod.to_string(),
            wrapper: draft.wrapper,
            policies: BTreeSet::from([draft.policy]),
            highest: draft.assurance,
            releases: u64::from(receipt.is_release()),
            agree: true,
        }
    }

    pub(super) fn add(&mut self, receipt: &Receipt) {
        let other = Self::of(receipt);
        self.agree &= (self.session, &self.pod) == (other.session, &other.pod)
            && self.recipient == other.recipient;
        self.policies.extend(other.policies);
        self.highest = self.highest.max(other.highest);
        self.releases += other.releases;
    }
}

impl Nodes {
    /// Checks one document.
    pub(super) fn check(
        &mut self,
        bytes: &[u8],
        uses: &Uses,
        policies: &[ReleasePolicy],
    ) -> Result<(), Refusal> {
        if !Document::is_one(bytes) {
            return Ok(());
        }
        let refused = |source| Refusal::Statement { document: Digest::of(bytes), source };
        let signed = Document::parse(bytes).and_then(|document| document.verify());
        let signed = signed.map_err(refused)?;
        let sealing = uses.recipient.filter(|_key| uses.agree);
        let sealing = sealing.ok_or(NodeError::Sealing).map_err(refused)?;
        let launch = Launch { session: uses.session, sealing, pod: &uses.pod };
        signed.is_of(&launch).map_err(refused)?;
        let wrapper = signed.statement.launch.wrapper.map(|hash| Digest::new(*hash.as_bytes()));
        if let (Some(said), Some(known)) = (uses.wrapper, wrapper)
            && said != known
        {
            return Err(refused(NodeError::Wrapper));
        }
        self.attested += uses.releases;
        match shown(&signed, uses, policies) {
            Some(shown) if uses.highest > shown => self.overstated += uses.releases,
            Some(Assurance::L0) => {}
            Some(shown) => *self.hardware.entry(shown).or_default() += uses.releases,
            None => self.unjudged += uses.releases,
        }
        self.count(signed, uses, policies);
        Ok(())
    }

    fn count(&mut self, signed: Signed, uses: &Uses, policies: &[ReleasePolicy]) {
        let assurance = shown(&signed, uses, policies).unwrap_or(Assurance::L0);
        let Signed { key, statement, tpm, hardware } = signed;
        let machine = hardware.as_ref().map(|hardware| MachineSeen {
            kind: hardware.as_str(),
            measurement: hardware.measurement(),
        });
        let state = statement.state.as_str();
        let name = name_of(key, uses, policies);
        let same = (key, statement.boot.clone(), statement.agent, state, statement.tier.clone());
        // A statement that shows less, or whose policy is not here, does not speak for the others.
        let shown = (assurance, name.clone(), tpm.as_ref().map(|tpm| tpm.key), machine.clone());
        let place = (same, shown);
        let seen = self.seen.entry(place).or_insert_with(|| NodeSeen {
            name,
            key,
            boot: statement.boot,
            kernel: statement.kernel,
            agent: statement.agent,
            state,
            tier: statement.tier,
            lockdown: statement.lockdown.as_str(),
            assurance,
            tpm: tpm.map(|tpm| TpmSeen {
                key: tpm.key,
                registers: tpm.registers,
                resets: tpm.resets,
            }),
            machine,
            statements: 0,
            releases: 0,
        });
        seen.statements += 1;
        seen.releases += uses.releases;
    }

    pub(super) fn into_seen(self) -> Vec<NodeSeen> {
        self.seen.into_values().collect()
    }
}

/// How far it reaches by every policy that decided; unknown where hardware signed and one of them is
/// not here to say whose it is.
fn shown(signed: &Signed, uses: &Uses, policies: &[ReleasePolicy]) -> Option<Assurance> {
    if signed.tpm.is_none() && signed.hardware.is_none() {
        return Some(Assurance::L0);
    }
    let attested = signed.attested();
    let each = uses.policies.iter().map(|hash| {
        let given = policies.iter().find(|given| given.hash == *hash)?;
        Some(given.policy.assurance(&attested))
    });
    each.collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// What the policies that decided call the node; none of them is asked that was not given.
fn name_of(key: Digest, uses: &Uses, policies: &[ReleasePolicy]) -> Option<String> {
    let key = Hash::new(*key.as_bytes());
    let mut used = policies.iter().filter(|given| uses.policies.contains(&given.hash));
    used.find_map(|given| given.policy.node(&key)).map(|node| node.name.clone())
}
