//! What may be claimed: C1 to C8, each with the assumptions that it stands on.
//!
//! A claim passes only where the receipts that were verified carry it. Nothing here ever says that
//! a provider cannot decrypt: that is a universal negative, and no log proves one.

use serde::Serialize;

use super::{
    Report,
    tally::{HYBRID, Tally},
};
use crate::{notice, policy::Seen, receipt::Assurance, reconcile::Reconciliation};

/// How a claim stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It holds, if its assumptions do.
    Pass,
    /// It is contradicted.
    Fail,
    /// What was given neither shows nor contradicts it.
    NotProvable,
}

/// One claim.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    /// `C1` to `C8`.
    pub id: &'static str,
    /// What is claimed.
    pub claim: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// Why.
    pub because: String,
    /// What it stands on: `A1` to `A9`.
    pub assumptions: &'static [&'static str],
}

/// Every claim there is.
pub const IDS: [&str; 8] = ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8"];

/// What claims stand on, and no evidence here can show.
pub const ASSUMPTIONS: [(&str, &str); 9] = [
    ("A1", "the operators of OpenBao are honest, up to the quorum of its unseal keys"),
    ("A2", "the TLS keys of bridge and wrapper are with them alone"),
    ("A3", "the programs are what their source code says"),
    ("A4", "the bridge is honest about what it decided and what it saw"),
    ("A5", "of the witnesses that the policy counts, enough are honest"),
    (
        "A6",
        "the CPU vendor's keys are with the vendor alone, and nobody tampers with the hardware, the \
         provider's staff included",
    ),
    ("A7", "all code inside the confidential machine is in its measurement"),
    ("A8", "nobody reads the storage of OpenBao around its interface"),
    ("A9", "ML-KEM-768 or X25519 holds"),
];

/// What no evidence of this kind covers, for every report.
pub const NOT_COVERED: [&str; 4] = [
    "what the app does with a secret after it has it, and personal data that it processes",
    "T6: without verified confidential hardware the provider's hypervisor can read the memory of \
     every pod, and nothing here would show it",
    "T5: without verified hardware the provider can run a false node that says what a true one says",
    "who holds copies of secrets that were known elsewhere before they were put into OpenBao",
];

/// Draws the claims from what was verified.
#[must_use]
pub fn claims(report: &Report, audit: Option<&Reconciliation>) -> Vec<Claim> {
    let tally = &report.tally;
    vec![
        storage(),
        ciphertext_only(tally),
        decided(tally),
        hardware(tally),
        sealed(tally),
        unaltered(report),
        complete(tally, audit),
        quantum(tally),
    ]
}

fn storage() -> Claim {
    Claim {
        id: "C1",
        claim: "the secrets and their keys were stored only under keys made in the EU vault",
        standing: Standing::NotProvable,
        because: "no record of a key ceremony or of OpenBao's seal is in the evidence".to_owned(),
        assumptions: &["A1"],
    }
}

/// Whether something holds of all releases, in words: what they do, and what some do not.
fn of_all(tally: &Tally, having: u64, does: &str, lacks: &str) -> (Standing, String) {
    let all = tally.released;
    if all == 0 {
        return (Standing::NotProvable, "no release is in the evidence".to_owned());
    }
    if having == all {
        return (Standing::Pass, format!("all {all} releases {does}"));
    }
    (Standing::NotProvable, format!("{} of {all} releases {lacks}", all - having))
}

fn ciphertext_only(tally: &Tally) -> Claim {
    let [_, _, _, [_, _, closed], _, _] = tally.rows;
    let (standing, because) = of_all(
        tally,
        closed,
        "were in a session with the row T4 closed",
        "did not have the row T4 closed",
    );
    Claim {
        id: "C2",
        claim: "what lies between bridge and wrapper (beacon, load balancers, control plane) carried \
                only ciphertext",
        standing,
        because,
        assumptions: &["A2", "A3", "A4"],
    }
}

fn decided(tally: &Tally) -> Claim {
    let named = tally.bridges.values().sum();
    let does = "name the policy and the bridge that decided";
    let (standing, because) = of_all(tally, named, does, "do not name the bridge that decided");
    let policies = tally.policies.len();
    let aside = match tally.break_glass {
        0 => String::new(),
        some => format!("; for {some} releases people set the policy aside"),
    };
    Claim {
        id: "C3",
        claim: "each release was decided by a known policy in a known build of the bridge",
        standing,
        because: format!("{because}; {policies} policies, {} builds{aside}", tally.bridges.len()),
        assumptions: &["A3", "A4", "A5"],
    }
}

fn hardware(tally: &Tally) -> Claim {
    let (standing, because) = measured(tally);
    Claim {
        id: "C4",
        claim: "each release went to a key that hardware evidence binds to a measured machine",
        standing,
        because,
        assumptions: &["A6", "A7"],
    }
}

/// Passes where hardware that is not the provider's signed for every release.
fn measured(tally: &Tally) -> (Standing, String) {
    let all = tally.released;
    let from = |level| tally.hardware.range(level..).map(|(_, count)| count).sum::<u64>();
    let (by_any, by_strong) = (from(Assurance::L1), from(Assurance::L2));
    if tally.overstated > 0 {
        let why = format!("{} receipts say more than their statements show", tally.overstated);
        return (Standing::Fail, why);
    }
    if all > 0 && by_strong == all {
        let own = from(Assurance::L4);
        let mut why = match own {
            0 => String::new(),
            own => format!(
                "of {own} releases a TPM that the policy calls the customer's own signed the boot, \
                 the statement and the key (L4); "
            ),
        };
        if own < all {
            let third = from(Assurance::L3) - own;
            why.push_str(&format!(
                "of {} the processor of a confidential machine did, as the policy allows it, over \
                 the statement and the key ({third} with nothing of the provider's inside, L3, the \
                 others L2); ",
                all - own
            ));
        }
        return (Standing::Pass, format!("{why}all {all} releases have evidence of this kind"));
    }
    let weakest = tally.weakest().map_or("none", Assurance::as_str);
    let mut why =
        format!("{by_any} of {all} releases have evidence of hardware (weakest: {weakest})");
    if by_any > by_strong {
        why.push_str(&format!(
            "; of {} it is a TPM at the provider's (L1), which shows what was booted and proves \
             nothing against the provider",
            by_any - by_strong
        ));
    }
    if tally.unjudged > 0 {
        why.push_str(&format!(
            "; for {} hardware signed, and the release policy that says whose it is was not given",
            tally.unjudged
        ));
    }
    let software = tally.attested.saturating_sub(by_any + tally.unjudged);
    if software > 0 {
        why.push_str(&format!(
            "; of {software} the statement is here that the node signed by a key in software, which \
             shows who said so and not that it is so (L0)"
        ));
    }
    (Standing::NotProvable, why)
}

fn sealed(tally: &Tally) -> Claim {
    let having = tally.sealings.values().sum();
    let does = "were sealed to a key of the recipient's";
    let (standing, because) = of_all(tally, having, does, "were not sealed to a recipient's key");
    Claim {
        id: "C5",
        claim: "who relays or takes over a session gains nothing: opening needs the recipient's key",
        standing,
        because,
        assumptions: &["A4", "A6"],
    }
}

fn unaltered(report: &Report) -> Claim {
    let tally = &report.tally;
    let count = report.witnesses.len();
    let names: Vec<&str> = report.witnesses.iter().map(|seen| seen.witness.as_str()).collect();
    let (standing, because) = if count == 0 {
        let why = "the log's signature, every proof and every chain hold, but no witness signed: \
                   the log could show others another past";
        (Standing::NotProvable, why.to_owned())
    } else if let Some(seen) = dated_after(report) {
        let why = format!(
            "receipts are dated after {seen} signed the log with them: a clock is wrong, or the \
             times are"
        );
        (Standing::NotProvable, why)
    } else {
        let mut why = format!(
            "signatures, proofs and chains of {} receipts hold; {} saw the log at size {}",
            tally.receipts,
            names.join(", "),
            report.size
        );
        if tally.unrelated_checkpoints > 0 {
            why.push_str("; checkpoints from elsewhere could not be related to it");
        }
        (Standing::Pass, why)
    };
    Claim {
        id: "C6",
        claim: "no receipt was altered or removed later, and nobody was shown another log",
        standing,
        because,
        assumptions: &["A5"],
    }
}

/// A witness that had signed before a receipt under its signature says that it was made.
fn dated_after(report: &Report) -> Option<&str> {
    /// More than clocks that are kept differ.
    const TOLERANCE_MS: u64 = 300_000;
    let (_, last) = report.tally.time_ms?;
    let is_before =
        |seen: &&Seen| seen.unix_seconds.saturating_mul(1000).saturating_add(TOLERANCE_MS) < last;
    report.witnesses.iter().find(is_before).map(|seen| seen.witness.as_str())
}

fn complete(tally: &Tally, audit: Option<&Reconciliation>) -> Claim {
    let around = tally.notices.get(notice::AROUND).copied().unwrap_or(0);
    let (standing, because) = match audit {
        // A bridge that is OpenBao's audit device has heard it.
        _ if around > 0 => (
            Standing::Fail,
            format!(
                "the bridge heard {around} times that OpenBao gave out a secret for which no session \
                 had asked"
            ),
        ),
        None => (
            Standing::NotProvable,
            format!(
                "OpenBao's audit log was not compared; numbers missing between the receipts here: \
                 {}",
                tally.missing()
            ),
        ),
        Some(audit) if !audit.agrees() => (Standing::Fail, audit.in_words()),
        Some(audit) if !tally.whole_log => {
            let why = format!("{}, but not the whole log was verified", audit.in_words());
            (Standing::NotProvable, why)
        }
        Some(audit) => (Standing::Pass, audit.in_words()),
    };
    Claim {
        id: "C7",
        claim: "no release happened without a receipt",
        standing,
        because,
        assumptions: &["A1", "A4", "A8"],
    }
}

fn quantum(tally: &Tally) -> Claim {
    let hybrid = tally.key_exchanges.get(HYBRID).copied().unwrap_or(0);
    let does = "used a hybrid post-quantum key exchange";
    let (standing, because) = of_all(tally, hybrid, does, "did not, or do not say it");
    Claim {
        id: "C8",
        claim: "recorded traffic stays confidential against a later quantum computer",
        standing,
        because,
        assumptions: &["A2", "A4", "A9"],
    }
}
