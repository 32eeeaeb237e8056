//! `doctor --sovereignty`: what of a deployment lies outside of what may be claimed for the EU.
//!
//! Where a machine stands and whose law binds its operator cannot be measured from here: that is
//! declared, in a file, and shown as declared. Measured is what the cluster says of itself. What is
//! neither is named as a gap. Nothing here ever says that a provider cannot read something.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::{Finding, State};
use crate::cluster::{ApiError, Cluster};

/// The file with what nobody can measure.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declared {
    #[serde(default)]
    component: Vec<Component>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    name: String,
    /// Where it stands: two letters of ISO 3166.
    country: String,
    /// Who runs it.
    operator: String,
    /// Whose law binds who runs it, parent companies included.
    operator_country: String,
    #[serde(default)]
    endpoint: Option<String>,
    /// Who holds its keys.
    #[serde(default)]
    keys: Option<String>,
}

/// What somebody gets who has power over a part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Power {
    /// Secrets in clear.
    Secrets,
    /// The proof, or which program runs.
    Proof,
    /// Who talks to whom, and whether at all.
    Traffic,
}

/// Every part that a claim for the EU stands on, and what power over it is worth.
const PARTS: [(&str, Power, &str); 10] = [
    ("openbao", Power::Secrets, "it has every secret in clear"),
    ("unseal-keys", Power::Secrets, "a quorum of them opens OpenBao's storage"),
    ("bridge", Power::Secrets, "it has what it releases in clear, in sealed memory"),
    ("log-key", Power::Proof, "it signs the log of receipts: with it another past can be signed"),
    ("witness", Power::Proof, "without one under other control, nobody sees a forked log"),
    (
        "images",
        Power::Proof,
        "whoever serves them decides which programs run, unless digests are pinned",
    ),
    ("image-signatures", Power::Proof, "whoever signs images decides which are taken"),
    ("beacon", Power::Traffic, "it carries ciphertext: it sees times and sizes, and can refuse"),
    ("dns", Power::Traffic, "it leads to beacons: a wrong answer ends in a refusal, not in a leak"),
    ("time", Power::Traffic, "a clock that goes back stops releases"),
];

/// The EU, and the EEA, where the GDPR applies as it does there.
const EEA: [&str; 30] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS",
    "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
];

/// What no look at a deployment shows.
const NOT_PROVABLE: [(&str, &str); 4] = [
    (
        "the hypervisor (T6)",
        "without verified confidential hardware whoever runs the nodes can read the memory of every \
         pod; `cloudtaser evidence verify` says of how many releases that was so",
    ),
    (
        "the control plane (T5)",
        "whoever runs the API server can start a false node; what a node says of itself is believed \
         as far as its evidence is signed",
    ),
    (
        "whose law binds an operator",
        "it follows from ownership and contracts, and is declared here, not measured",
    ),
    ("copies from before", "what a secret's value was before it came into OpenBao, and who has it"),
];

/// A declaration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DeclaredError {
    #[error("cannot read {path}")]
    Read { path: String, source: std::io::Error },
    #[error("{path} is no declaration")]
    Form { path: String, source: Box<toml::de::Error> },
    #[error("{path}: {name:?} is no part of a deployment: there are {parts}")]
    Part { path: String, name: String, parts: String },
    #[error("{path}: {name}: a country is two capital letters (ISO 3166), such as DE")]
    Country { path: String, name: String },
}

/// Reads the declaration.
pub(super) fn read(path: &Path) -> Result<Declared, DeclaredError> {
    let shown = || path.display().to_string();
    let text =
        fs::read_to_string(path).map_err(|source| DeclaredError::Read { path: shown(), source })?;
    let declared: Declared = toml::from_str(&text)
        .map_err(|source| DeclaredError::Form { path: shown(), source: Box::new(source) })?;
    for component in &declared.component {
        let name = component.name.clone();
        if !PARTS.iter().any(|(part, ..)| *part == name) {
            let parts = PARTS.map(|(part, ..)| part).join(", ");
            return Err(DeclaredError::Part { path: shown(), name, parts });
        }
        for country in [&component.country, &component.operator_country] {
            let is_code = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
            if !is_code {
                return Err(DeclaredError::Country { path: shown(), name });
            }
        }
    }
    Ok(declared)
}

/// Judges what was declared, part by part, and names what nobody can show.
pub(super) fn judge(declared: &Declared) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (part, power, why) in PARTS {
        let mut there = declared.component.iter().filter(|component| component.name == part);
        match there.next() {
            None => findings.push(Finding::new(
                part,
                State::Unknown,
                format!("not declared; {why}"),
                "say where it stands and who runs it: --declared FILE",
            )),
            Some(first) => {
                let all = std::iter::once(first).chain(there);
                findings.extend(all.map(|component| of_part(component, power, why)));
            }
        }
    }
    let open = |(what, why): (&str, &str)| {
        Finding::new(what, State::Unknown, format!("not provable: {why}"), "")
    };
    findings.extend(NOT_PROVABLE.map(open));
    findings
}

fn of_part(component: &Component, power: Power, why: &str) -> Finding {
    let Component { name, country, operator, operator_country, endpoint, keys } = component;
    let mut found = format!("declared: in {country}, run by {operator} ({operator_country})");
    if let Some(endpoint) = endpoint {
        found.push_str(&format!(", at {endpoint}"));
    }
    found.push_str(&match keys {
        Some(keys) => format!("; keys: {keys}"),
        None => "; who holds its keys is not declared".to_owned(),
    });
    let inside = |country: &String| EEA.contains(&country.as_str());
    if inside(country) && inside(operator_country) {
        // SECURITY: a declaration is no proof; it is never more than weak.
        return Finding::new(name, State::Weak, found, "declared, not measured: keep the contract");
    }
    let outside = if inside(country) { operator_country } else { country };
    found.push_str(&format!("; {outside} is outside of the EU and the EEA; {why}"));
    let (state, fix) = match power {
        Power::Secrets => {
            (State::Bad, "no claim for the EU holds: run it where EU law alone applies")
        }
        Power::Proof => {
            (State::Bad, "the proof rests on somebody outside: have it under EU control")
        }
        Power::Traffic => (State::Weak, "it gets no secret; it can see and stop traffic"),
    };
    Finding::new(name, state, found, fix)
}

/// What the cluster says of itself.
pub(super) fn measured(cluster: &Cluster) -> Result<Vec<Finding>, ApiError> {
    let version = cluster.get("/version")?.unwrap_or_default();
    let mut findings = vec![control_plane(&version)];
    match cluster.list("/api/v1/nodes", "") {
        Ok(nodes) => findings.extend(nodes.iter().map(node)),
        Err(ApiError::Forbidden { .. }) => {
            let found = "you may not list them: where they run is not known";
            findings.push(Finding::new(
                "nodes",
                State::Unknown,
                found,
                "list them as somebody who may",
            ));
        }
        Err(error) => return Err(error),
    }
    Ok(findings)
}

/// Clouds whose operators a third country's law binds, by what their nodes are called and their
/// builds of Kubernetes.
const CLOUDS: [(&str, &str, &str, &str); 3] = [
    ("aws:", "-eks-", "Amazon Web Services", "US"),
    ("azure:", "-aks", "Microsoft Azure", "US"),
    ("gce:", "-gke.", "Google Cloud", "US"),
];

fn control_plane(version: &Value) -> Finding {
    let build = version.get("gitVersion").and_then(Value::as_str).unwrap_or_default();
    let cloud = CLOUDS.iter().find(|(_, mark, ..)| build.contains(mark));
    let fix = "it holds no secret of cloudtaser's; it can start a false node (T5)";
    match cloud {
        Some((.., name, country)) => {
            let found = format!("{build}: a build of {name}, whose operator {country} law binds");
            Finding::new("control plane", State::Weak, found, fix)
        }
        None => {
            let found = format!("{build}: who runs it cannot be seen");
            Finding::new("control plane", State::Unknown, found, fix)
        }
    }
}

fn node(node: &Value) -> Finding {
    let text = |at: &str| node.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let check = format!("node {}", text("/metadata/name"));
    let provider = text("/spec/providerID");
    let region = text("/metadata/labels/topology.kubernetes.io~1region");
    let region =
        if region.is_empty() { "of no known region".to_owned() } else { format!("in {region}") };
    let fix = "require an assurance level, or keep this workload on hardware under EU control";
    let open = "its hypervisor reads what its pods have (T6), unless its hardware is verified";
    match CLOUDS.iter().find(|(scheme, ..)| provider.starts_with(scheme)) {
        Some((_, _, name, country)) => {
            let found =
                format!("{name}, {region}: the place is no answer to {country} law; {open}");
            Finding::new(&check, State::Weak, found, fix)
        }
        None => {
            let id = if provider.is_empty() { "no provider" } else { provider };
            Finding::new(&check, State::Unknown, format!("{id}, {region}: {open}"), fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn declared(text: &str) -> Vec<Finding> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("declared.toml");
        fs::write(&file, text).unwrap();
        judge(&read(&file).unwrap())
    }

    fn component(name: &str, country: &str, law: &str) -> String {
        format!(
            "[[component]]\nname = \"{name}\"\ncountry = \"{country}\"\noperator = \"X\"\n\
             operator_country = \"{law}\"\n"
        )
    }

    fn state(findings: &[Finding], check: &str) -> State {
        findings.iter().find(|finding| finding.check == check).unwrap().state
    }

    #[test]
    fn nothing_that_is_only_declared_is_called_good_and_what_is_missing_is_named() {
        let all = PARTS.map(|(part, ..)| component(part, "DE", "DE")).concat();
        let findings = declared(&all);
        assert!(findings.iter().all(|finding| finding.state != State::Ok));
        assert!(findings.iter().all(|finding| finding.state != State::Bad));
        let nothing = declared("");
        for (part, ..) in PARTS {
            assert_eq!(state(&nothing, part), State::Unknown, "{part}");
        }
        for (what, _) in NOT_PROVABLE {
            assert_eq!(state(&findings, what), State::Unknown, "{what}");
        }
    }

    #[test]
    fn a_place_in_the_eu_is_no_answer_to_another_countrys_law() {
        let findings = declared(
            &(component("openbao", "DE", "US")
                + &component("beacon", "US", "US")
                + &component("witness", "NO", "NO")
                + &component("log-key", "CH", "CH")),
        );
        assert_eq!(state(&findings, "openbao"), State::Bad);
        assert_eq!(state(&findings, "beacon"), State::Weak);
        assert_eq!(state(&findings, "witness"), State::Weak);
        assert_eq!(state(&findings, "log-key"), State::Bad);
    }

    #[test]
    fn a_slip_in_the_declaration_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("declared.toml");
        for (text, part) in [
            (component("vault", "DE", "DE"), "\"vault\" is no part"),
            (component("openbao", "Germany", "DE"), "openbao: a country is two capital letters"),
            ("[[component]]\nname = \"dns\"\n".to_owned(), "is no declaration"),
        ] {
            fs::write(&file, text).unwrap();
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_clouds_node_is_open_to_its_hypervisor_wherever_it_stands() {
        let of = |provider: &str| {
            node(&json!({
                "metadata": { "name": "n", "labels": { "topology.kubernetes.io/region": "eu-central-1" } },
                "spec": { "providerID": provider },
            }))
        };
        let aws = of("aws:///eu-central-1a/i-0");
        assert_eq!(aws.state, State::Weak);
        assert!(aws.found.contains("in eu-central-1") && aws.found.contains("T6"), "{}", aws.found);
        assert_eq!(of("").state, State::Unknown);
        assert_eq!(
            control_plane(&json!({ "gitVersion": "v1.31.2-eks-7f9249a" })).state,
            State::Weak
        );
        assert_eq!(control_plane(&json!({ "gitVersion": "v1.31.2" })).state, State::Unknown);
    }
}
