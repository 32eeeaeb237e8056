//! What the API server trusts: the authorities of all replicas, as one PEM text.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use serde_json::{Value, json};

/// More than any number of replicas; what is beyond was not written by replicas.
const MOST: usize = 64;
/// One of ours is under a kilobyte.
const MAX_PEM_LEN: usize = 4096;

/// A set of authorities.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Bundle(BTreeSet<String>);

impl Bundle {
    /// Adds the certificates of a PEM text; everything else in it is left out.
    pub(crate) fn add(&mut self, text: &str) {
        let mut rest = text;
        while let Some((block, after)) = first_block(rest) {
            rest = after;
            if block.len() <= MAX_PEM_LEN && self.0.len() < MOST {
                self.0.insert(block.to_owned());
            }
        }
    }

    /// Whether all certificates of a PEM text are in it.
    pub(crate) fn has(&self, text: &str) -> bool {
        let mut others = Self::default();
        others.add(text);
        !others.0.is_empty() && others.0.is_subset(&self.0)
    }

    /// What both trust.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As it stands in `caBundle`.
    fn encoded(&self) -> String {
        let text: String = self.0.iter().flat_map(|pem| [pem.as_str(), "\n"]).collect();
        BASE64.encode(text.as_bytes())
    }

    /// The authorities that every webhook of a configuration trusts.
    pub(crate) fn of_configuration(object: &Value) -> Self {
        let all = webhooks(object).map(|webhook| {
            let mut bundle = Self::default();
            let text = webhook.pointer("/clientConfig/caBundle").and_then(Value::as_str);
            let bytes = text.and_then(|text| BASE64.decode(text.as_bytes()).ok());
            bundle.add(&String::from_utf8_lossy(&bytes.unwrap_or_default()));
            bundle
        });
        let common = all.reduce(|one, other| one.and(&other));
        common.unwrap_or_default()
    }

    /// The patch that makes a configuration trust this and nothing else; `None` where it does.
    pub(crate) fn patch(&self, object: &Value) -> Option<Value> {
        let encoded = self.encoded();
        let mut patch = Vec::new();
        for (at, webhook) in webhooks(object).enumerate() {
            let there = webhook.pointer("/clientConfig/caBundle").and_then(Value::as_str);
            if there != Some(encoded.as_str()) {
                let path = format!("/webhooks/{at}/clientConfig/caBundle");
                patch.push(json!({"op": "add", "path": path, "value": encoded}));
            }
        }
        if patch.is_empty() {
            return None;
        }
        let version = object.pointer("/metadata/resourceVersion")?;
        let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": version});
        patch.insert(0, test);
        Some(Value::Array(patch))
    }
}

fn webhooks(object: &Value) -> impl Iterator<Item = &Value> {
    object.get("webhooks").and_then(Value::as_array).into_iter().flatten()
}

fn first_block(text: &str) -> Option<(&str, &str)> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let from = text.get(text.find(BEGIN)?..)?;
    let end = from.find(END)?.checked_add(END.len())?;
    from.split_at_checked(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----";
    const B: &str = "-----BEGIN CERTIFICATE-----\nQg==\n-----END CERTIFICATE-----";

    fn configuration(bundles: &[&str]) -> Value {
        let webhooks: Vec<Value> = bundles
            .iter()
            .map(|text| json!({"clientConfig": {"caBundle": BASE64.encode(text.as_bytes())}}))
            .collect();
        json!({"metadata": {"resourceVersion": "5"}, "webhooks": webhooks})
    }

    #[test]
    fn only_certificates_are_taken_over_and_only_once() {
        let mut bundle = Bundle::default();
        bundle.add(&format!("x{A}\n{B}junk{A}\n-----BEGIN PRIVATE KEY-----\n"));
        assert!(bundle.has(A) && bundle.has(&format!("{A}{B}")));
        assert_eq!(bundle.0.len(), 2);
        assert!(!bundle.has("") && !bundle.has("junk"));
        bundle.add("-----BEGIN CERTIFICATE-----");
        assert_eq!(bundle.0.len(), 2);
    }

    #[test]
    fn a_configuration_trusts_what_all_its_webhooks_trust() {
        let both = format!("{A}\n{B}");
        let bundle = Bundle::of_configuration(&configuration(&[&both, A]));
        assert!(bundle.has(A) && !bundle.has(B));
        assert!(Bundle::of_configuration(&json!({})).is_empty());
        let broken = json!({"webhooks": [{"clientConfig": {"caBundle": "%"}}]});
        assert!(Bundle::of_configuration(&broken).is_empty());
    }

    #[test]
    fn a_patch_is_made_where_something_differs_and_only_for_the_version_that_was_read() {
        let mut bundle = Bundle::default();
        bundle.add(A);
        let written = format!("{A}\n");
        assert_eq!(bundle.patch(&configuration(&[&written])), None);
        let patch = bundle.patch(&configuration(&[&written, B])).unwrap();
        assert_eq!(patch[0]["op"], "test");
        assert_eq!(patch[1]["path"], "/webhooks/1/clientConfig/caBundle");
        assert_eq!(patch.as_array().unwrap().len(), 2);
    }
}
