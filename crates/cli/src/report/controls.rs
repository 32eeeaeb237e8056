//! What each rule asks for, which claims speak to it, and what they do not cover.
//!
//! The mapping is an opinion, and a lawyer's matter; the figures are not. A control without a claim
//! is listed all the same: that nothing here shows it is what its reader has to know.

use cloudtaser_evidence::verify::claims::{Claim, Standing};
use serde::Serialize;

/// A body of rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Framework {
    /// Regulation (EU) 2022/2554 and its technical standard 2024/1774.
    Dora,
    /// Directive (EU) 2022/2555.
    Nis2,
    /// Regulation (EU) 2016/679.
    Gdpr,
    /// Case C-311/18 with EDPB Recommendations 01/2020.
    Schrems2,
    /// All of them.
    All,
}

impl Framework {
    /// Its name for readers.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::All => "DORA, NIS2, GDPR and Schrems II",
            Self::Dora => "DORA",
            Self::Gdpr => "GDPR",
            Self::Nis2 => "NIS2",
            Self::Schrems2 => "Schrems II (EDPB 01/2020)",
        }
    }
}

/// One rule.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) framework: Framework,
    pub(crate) article: &'static str,
    pub(crate) asks: &'static str,
    /// The claims that it would stand on.
    pub(crate) claims: &'static [&'static str],
    pub(crate) not_covered: &'static str,
}

/// What the evidence shows of a control; the order is worst first. No control is whole in the
/// evidence: `supported` is as far as its last column says.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shown {
    /// A claim that it stands on fails.
    Contradicted,
    /// None of them passes, or there is none.
    #[serde(rename = "not-shown")]
    Nothing,
    /// Some of them pass.
    #[serde(rename = "partly-supported")]
    Partly,
    /// All of them pass.
    #[serde(rename = "supported")]
    Fully,
}

impl Shown {
    /// For readers.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Contradicted => "contradicted",
            Self::Nothing => "not shown",
            Self::Partly => "partly supported",
            Self::Fully => "supported",
        }
    }
}

/// A claim in few words, for who reads no engineering.
pub(crate) fn short(claim: &str) -> &'static str {
    match claim {
        "C1" => "keys made and kept in the EU",
        "C2" => "only ciphertext on the way",
        "C3" => "decided by a known policy",
        "C4" => "hardware vouches for the machine",
        "C5" => "sealed to the recipient",
        "C6" => "the log was not altered",
        "C7" => "nothing left without a receipt",
        "C8" => "safe from later quantum computers",
        _ => "",
    }
}

impl Control {
    /// What these claims show of it.
    pub(crate) fn shown_by(&self, claims: &[Claim]) -> Shown {
        let own = || claims.iter().filter(|claim| self.claims.contains(&claim.id));
        let count = |standing| own().filter(|claim| claim.standing == standing).count();
        match count(Standing::Pass) {
            _ if count(Standing::Fail) > 0 => Shown::Contradicted,
            0 => Shown::Nothing,
            passing if passing == own().count() => Shown::Fully,
            _ => Shown::Partly,
        }
    }
}

const fn control(
    framework: Framework,
    article: &'static str,
    asks: &'static str,
    claims: &'static [&'static str],
    not_covered: &'static str,
) -> Control {
    Control { framework, article, asks, claims, not_covered }
}

use Framework::{Dora, Gdpr, Nis2, Schrems2};

/// All controls.
pub(crate) const CONTROLS: &[Control] = &[
    control(
        Dora,
        "Art. 9(2)–(4)",
        "protection and prevention: confidentiality and integrity of data, strong authentication, \
         cryptographic keys protected",
        &["C2", "C3", "C5", "C8"],
        "data that the app processes; hosts outside of the release path",
    ),
    control(
        Dora,
        "RTS 2024/1774 Art. 6",
        "encryption and cryptographic controls, state of the art, in transit and in use",
        &["C2", "C4", "C8"],
        "encryption of the app's own data at rest; in use without verified confidential hardware",
    ),
    control(
        Dora,
        "RTS 2024/1774 Art. 7",
        "management of cryptographic keys over their life, and a register of them",
        &["C1"],
        "key ceremony, seal and rotation of OpenBao's keys are not in the evidence",
    ),
    control(
        Dora,
        "Art. 10",
        "detection of anomalous activities",
        &["C7"],
        "denials by node agents are in their audit records, not in this log",
    ),
    control(
        Dora,
        "Art. 11–12",
        "continuity, backup and restore, tested",
        &[],
        "no record of a restore test is in the evidence",
    ),
    control(
        Dora,
        "Art. 17–19",
        "incidents recorded, classified, reported",
        &["C6", "C7"],
        "whether an incident was seen as one, classified and reported",
    ),
    control(
        Dora,
        "Art. 28(8)",
        "exit strategies for services that support critical functions",
        &[],
        "no exit was tried; that the formats are open is no evidence of one",
    ),
    control(
        Nis2,
        "Art. 21(2)(a)",
        "policies on risk analysis and information system security",
        &["C3"],
        "the release policy is named by its hash; whether it is the right one is for its owner",
    ),
    control(
        Nis2,
        "Art. 21(2)(b)",
        "incident handling",
        &["C6", "C7"],
        "handling itself; denials by node agents",
    ),
    control(
        Nis2,
        "Art. 21(2)(c)",
        "business continuity, backup, crisis management",
        &[],
        "no record of a restore test is in the evidence",
    ),
    control(
        Nis2,
        "Art. 21(2)(d)",
        "supply chain security",
        &[],
        "receipts name builds by their hashes; where those come from is not in the log",
    ),
    control(
        Nis2,
        "Art. 21(2)(e)",
        "security in acquisition, development and maintenance, vulnerability handling",
        &[],
        "not in the evidence",
    ),
    control(
        Nis2,
        "Art. 21(2)(f)",
        "assessing the effectiveness of measures",
        &["C6", "C7"],
        "tests of measures, other than that no release went around the log",
    ),
    control(Nis2, "Art. 21(2)(g)", "basic cyber hygiene and training", &[], "not in the evidence"),
    control(
        Nis2,
        "Art. 21(2)(h)",
        "policies on cryptography and encryption",
        &["C2", "C8"],
        "encryption of the app's own data",
    ),
    control(
        Nis2,
        "Art. 21(2)(i)",
        "access control, human resources, asset management",
        &["C3", "C7"],
        "access by people with the app's own rights",
    ),
    control(
        Nis2,
        "Art. 21(2)(j)",
        "multi-factor authentication and secured communication",
        &["C2"],
        "how administrators log in",
    ),
    control(
        Gdpr,
        "Art. 5(2)",
        "accountability: being able to demonstrate",
        &["C6", "C7"],
        "purposes and legal bases",
    ),
    control(
        Gdpr,
        "Art. 25",
        "data protection by design and by default",
        &["C3"],
        "personal data that the app processes",
    ),
    control(Gdpr, "Art. 28", "processors and their guarantees", &[], "contracts"),
    control(
        Gdpr,
        "Art. 32",
        "security of processing: encryption, ongoing confidentiality, regular testing",
        &["C2", "C5", "C8"],
        "personal data in the app's memory and storage",
    ),
    control(Gdpr, "Art. 33–34", "breaches found and told", &["C7"], "breaches of the app; telling"),
    control(
        Gdpr,
        "Art. 35",
        "data protection impact assessment",
        &[],
        "the assessment is its author's; this report may be an annex to it",
    ),
    control(
        Gdpr,
        "Art. 44–46",
        "transfers to third countries with supplementary measures",
        &["C2", "C4", "C5"],
        "personal data that a provider under a third country's law processes in the clear",
    ),
    control(
        Gdpr,
        "Art. 48",
        "orders of third countries are not followed as such",
        &["C3", "C7"],
        "an order to the provider to read memory (T6) leaves no receipt",
    ),
    control(
        Schrems2,
        "EDPB use case 1",
        "storage that needs no access in the clear: encrypted before, keys in the EEA",
        &["C1", "C8"],
        "the app's own data",
    ),
    control(
        Schrems2,
        "EDPB use case 3",
        "transit: encrypted end to end, state of the art, against public authorities too",
        &["C2", "C8"],
        "traffic of the app itself",
    ),
    control(
        Schrems2,
        "EDPB use case 6",
        "processors in the cloud that need data in the clear: the EDPB knows no effective measure",
        &["C4"],
        "the open point: only verified confidential hardware would narrow it, and no evidence of \
         any is here",
    ),
];

/// Those of a framework.
pub(crate) fn of(framework: Framework) -> impl Iterator<Item = &'static Control> {
    let wanted =
        move |control: &&Control| framework == Framework::All || control.framework == framework;
    CONTROLS.iter().filter(wanted)
}
