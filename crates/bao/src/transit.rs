//! Transit: ciphertexts in, plaintexts out, in batches. Pure.

use cloudtaser_core::Secret;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    answer,
    error::{Failure, Operation, presentable},
    json::{Object, quote, text_of},
    request::Request,
};

/// The key to decrypt with.
#[derive(Clone, Debug)]
pub struct TransitKey {
    /// Where Transit is mounted.
    pub mount: String,
    /// The key's name.
    pub key: String,
    /// How many ciphertexts go into one request.
    pub batch: usize,
}

impl TransitKey {
    /// What bank-vaults users are used to.
    pub const DEFAULT_BATCH: usize = 25;

    /// A key at the usual mount.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self { mount: "transit".to_owned(), key: key.into(), batch: Self::DEFAULT_BATCH }
    }

    /// The request for one batch. Decrypting twice does no harm.
    pub(crate) fn request(&self, ciphertexts: &[&str]) -> Request {
        let entries: Vec<Secret> = ciphertexts
            .iter()
            .map(|text| Object::default().raw("ciphertext", quote(text.as_bytes())).finish())
            .collect();
        let list = array(&entries);
        let path = format!("{}/decrypt/{}", self.mount.trim_matches('/'), self.key);
        Request::post(Operation::Decrypt, path, Object::default().raw("batch_input", list).finish())
            .repeatable()
    }
}

fn array(entries: &[Secret]) -> Secret {
    let len = entries.iter().map(|entry| entry.len() + 1).sum::<usize>();
    let mut out = Vec::with_capacity(len + 2);
    out.push(b'[');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(entry.expose());
    }
    out.push(b']');
    Secret::new(out)
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    batch_results: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    plaintext: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<String>,
}

/// Reads the answer to a batch of so many entries.
///
/// Fewer or more entries than were asked for, and any that failed, fail the whole: a ciphertext is
/// never handed on in place of its plaintext.
pub(crate) fn plaintexts(text: &[u8], wanted: usize) -> Result<Vec<Secret>, Failure> {
    let batch = batch(text).ok_or(Failure::Shape("it holds no batch results"))?;
    if batch.batch_results.len() != wanted {
        return Err(Failure::Shape("it has not as many entries as were asked for"));
    }
    batch.batch_results.iter().enumerate().map(|(index, entry)| entry.plaintext(index)).collect()
}

/// The first entry that failed, in an answer that was none of success: OpenBao answers 400 where
/// any entry fails.
pub(crate) fn failed_entry(text: &[u8]) -> Option<Failure> {
    let entries = batch(text)?.batch_results;
    entries.iter().enumerate().find_map(|(index, entry)| entry.plaintext(index).err())
}

fn batch(text: &[u8]) -> Option<Batch<'_>> {
    serde_json::from_str(answer::data(text)?.get()).ok()
}

impl Entry<'_> {
    fn plaintext(&self, index: usize) -> Result<Secret, Failure> {
        if let Some(error) = self.error.as_deref().filter(|error| !error.is_empty()) {
            return Err(Failure::Entry { index, said: presentable([error]).concat() });
        }
        self.plaintext
            .and_then(text_of)
            .and_then(|base64| BASE64.decode(base64.expose()).ok())
            .map(Secret::new)
            .ok_or_else(|| {
                let said = "the plaintext is missing or no base64".to_owned();
                Failure::Entry { index, said }
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_is_one_request() {
        let request = TransitKey::new("app").request(&["vault:v1:a", "vault:v1:b\""]);
        assert_eq!(request.target(), "transit/decrypt/app");
        let body = String::from_utf8(request.body.unwrap().expose().to_vec()).unwrap();
        assert_eq!(
            body,
            r#"{"batch_input":[{"ciphertext":"vault:v1:a"},{"ciphertext":"vault:v1:b\""}]}"#
        );
    }

    #[test]
    fn an_entry_that_failed_is_named_and_fails_all() {
        let text = br#"{"data":{"batch_results":[{"plaintext":"aGk="},{"error":"cipher: message authentication failed"}]}}"#;
        assert!(matches!(failed_entry(text), Some(Failure::Entry { index: 1, .. })));
        match plaintexts(text, 2) {
            Err(Failure::Entry { index, said }) => {
                assert_eq!(index, 1);
                assert!(said.contains("authentication failed"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_short_batch_or_an_empty_entry_is_refused() {
        let one = br#"{"data":{"batch_results":[{"plaintext":"aGk="}]}}"#;
        assert_eq!(plaintexts(one, 1).unwrap()[0].expose(), b"hi");
        assert!(matches!(plaintexts(one, 2), Err(Failure::Shape(_))));
        for entry in ["{}", r#"{"plaintext":null}"#, r#"{"plaintext":"*"}"#, r#"{"plaintext":3.5}"#]
        {
            let text = format!(r#"{{"data":{{"batch_results":[{entry}]}}}}"#);
            assert!(
                matches!(plaintexts(text.as_bytes(), 1), Err(Failure::Entry { index: 0, .. })),
                "{entry}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), wanted in 0_usize..3) {
            drop(plaintexts(&bytes, wanted));
        }
    }
}
