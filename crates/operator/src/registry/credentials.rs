//! Credentials for registries, in the forms that pull secrets have.

use std::collections::BTreeMap;

use cloudtaser_core::Secret;
use cloudtaser_k8s::image::Reference;
use data_encoding::BASE64;
use serde::Deserialize;
use zeroize::Zeroizing;

/// All credentials at hand, in the order in which they came.
#[derive(Default)]
pub(super) struct Keychain(Vec<(String, Secret)>);

/// What is read of a Secret. Its texts are wiped when this is dropped.
#[derive(Default, Deserialize)]
pub(crate) struct PullSecret {
    #[serde(default)]
    data: BTreeMap<String, Zeroizing<String>>,
}

/// A document with credentials that cannot be read. It says nothing of the content.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this is no docker configuration with `auths`")]
pub(crate) struct NoKeychain;

#[derive(Deserialize)]
struct Document {
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<Zeroizing<String>>,
    username: Option<Zeroizing<String>>,
    password: Option<Zeroizing<String>>,
}

impl Keychain {
    /// Reads a document in the form of `.docker/config.json`.
    ///
    /// # Errors
    /// [`NoKeychain`].
    pub(super) fn parse(json: &[u8]) -> Result<Self, NoKeychain> {
        let document: Document = serde_json::from_slice(json).map_err(|_form| NoKeychain)?;
        Ok(Self::of(document.auths))
    }

    /// Adds what a pull secret holds, in either of its two forms; one that cannot be read adds
    /// nothing, as with the kubelet.
    pub(super) fn add_secret(&mut self, secret: &PullSecret) {
        let data = |name: &str| {
            let text = secret.data.get(name)?;
            BASE64.decode(text.as_bytes()).ok().map(Zeroizing::new)
        };
        if let Some(json) = data(".dockerconfigjson") {
            self.extend(Self::parse(&json).unwrap_or_default());
        }
        if let Some(json) = data(".dockercfg") {
            let auths: BTreeMap<String, Entry> = serde_json::from_slice(&json).unwrap_or_default();
            self.extend(Self::of(auths));
        }
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// All that match an image, the most special one first: `Basic` credentials.
    pub(super) fn matching(&self, reference: &Reference) -> Vec<&Secret> {
        let mut found: Vec<(usize, &Secret)> = self
            .0
            .iter()
            .filter(|(place, _)| matches(place, reference))
            .map(|(place, secret)| (place.len(), secret))
            .collect();
        // Stable: of two that are as special, the first named comes first.
        found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        found.into_iter().map(|(_, secret)| secret).collect()
    }

    fn of(auths: BTreeMap<String, Entry>) -> Self {
        let pair = |entry: Entry| match (entry.auth, entry.username, entry.password) {
            (Some(auth), ..) if !auth.is_empty() => Some(Secret::from(auth.as_str().to_owned())),
            (_, Some(user), Some(password)) => {
                let pair = Zeroizing::new(format!("{}:{}", user.as_str(), password.as_str()));
                Some(Secret::from(BASE64.encode(pair.as_bytes())))
            }
            _ => None,
        };
        let all = auths.into_iter().filter_map(|(place, entry)| Some((bare(&place), pair(entry)?)));
        Self(all.collect())
    }
}

/// `https://index.docker.io/v1/` and the like, as host and path.
fn bare(place: &str) -> String {
    let rest = place.trim_start_matches("https://").trim_start_matches("http://");
    let rest = rest.trim_end_matches('/');
    let rest = rest.strip_suffix("/v1").or_else(|| rest.strip_suffix("/v2")).unwrap_or(rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") }
}

/// As the kubelet matches: globs for each label of the host, the port exactly, and the path as a
/// beginning.
fn matches(place: &str, reference: &Reference) -> bool {
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let (wanted, wanted_port) =
        reference.host.split_once(':').unwrap_or((reference.host.as_str(), ""));
    let labels: Vec<&str> = name.split('.').collect();
    let wanted: Vec<&str> = wanted.split('.').collect();
    let rest = reference.repository.strip_prefix(path);
    port == wanted_port
        && labels.len() == wanted.len()
        && labels.iter().zip(&wanted).all(|(pattern, label)| glob(pattern, label))
        && rest.is_some_and(|rest| path.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

fn glob(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == label,
        Some((start, rest)) => label.strip_prefix(start).is_some_and(|label| {
            (0..=label.len()).filter_map(|at| label.get(at..)).any(|tail| glob(rest, tail))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, image: &str) -> Vec<String> {
        let keychain = Keychain::parse(json.as_bytes()).unwrap();
        let reference = Reference::parse(image).unwrap();
        let decode =
            |secret: &&Secret| String::from_utf8(BASE64.decode(secret.expose()).unwrap()).unwrap();
        keychain.matching(&reference).iter().map(decode).collect()
    }

    #[test]
    fn every_credential_that_matches_is_found_and_the_most_special_comes_first() {
        let json = r#"{"auths": {
            "reg.example": {"username": "host", "password": "p"},
            "reg.example/team": {"auth": "dGVhbTpw"},
            "*.example": {"username": "glob", "password": "p"},
            "reg.example:5000": {"username": "port", "password": "p"},
            "other.example": {"username": "other", "password": "p"}}}"#;
        assert_eq!(found(json, "reg.example/team/app:1"), ["team:p", "host:p", "glob:p"]);
        assert_eq!(found(json, "reg.example/teams/app:1"), ["host:p", "glob:p"]);
        assert_eq!(found(json, "reg.example:5000/a"), ["port:p"]);
        assert!(found(json, "a.reg.example/x").is_empty(), "a glob is one label");
    }

    #[test]
    fn the_default_registry_is_known_under_its_old_names() {
        let json = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "YTpi"}}}"#;
        assert_eq!(found(json, "nginx"), ["a:b"]);
        assert!(found(json, "reg.example/nginx").is_empty());
    }

    #[test]
    fn both_forms_of_pull_secrets_are_read_and_a_broken_one_is_passed_over() {
        let mut keychain = Keychain::default();
        let encode = |text: &str| BASE64.encode(text.as_bytes());
        let secret = |json: serde_json::Value| serde_json::from_value::<PullSecret>(json).unwrap();
        keychain.add_secret(&secret(serde_json::json!({"data": {".dockerconfigjson": "%%"}})));
        keychain
            .add_secret(&secret(serde_json::json!({"data": {".dockerconfigjson": encode("{")}})));
        keychain.add_secret(&secret(serde_json::json!({"data": {
            ".dockercfg": encode(r#"{"a.example": {"auth": "eDp5"}}"#)}})));
        keychain.add_secret(&secret(serde_json::json!({"data": {
            ".dockerconfigjson": encode(r#"{"auths": {"a.example": {"auth": "dTp2"}}}"#)}})));
        let reference = Reference::parse("a.example/i").unwrap();
        assert_eq!(keychain.matching(&reference).len(), 2);
        let error = Keychain::parse(b"{\"hunter2\"").err().unwrap();
        assert!(!error.to_string().contains("hunter2"));
    }
}
