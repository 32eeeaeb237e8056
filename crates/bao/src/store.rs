//! Storing what came from elsewhere, once: for moving secrets into OpenBao.

use std::collections::BTreeMap;

use cloudtaser_core::{Secret, reference::SecretPath};

use crate::{
    answer::Session,
    client::Client,
    deadline::Deadline,
    error::{BaoError, Failure, Operation},
    json::quote,
    request::Request,
};

/// The write is refused where there is a version already.
const ONLY_NEW: &[u8] = br#","options":{"cas":0}}"#;

impl Client {
    /// Writes the first version of a secret in a KV engine of version 2. `path` has the segment
    /// `data/`. Where there is a version already OpenBao refuses (400), so nothing is replaced.
    ///
    /// # Errors
    /// [`BaoError`]; [`Failure::Shape`] where a value is not UTF-8, which JSON cannot carry.
    pub fn store_new(
        &self,
        session: &Session,
        path: &SecretPath,
        fields: &BTreeMap<String, Secret>,
        deadline: &Deadline,
    ) -> Result<(), BaoError> {
        let path = path.as_str().to_owned();
        let body =
            body(fields).map_err(|failure| BaoError::new(Operation::Write, None, failure))?;
        let request = Request::post(Operation::Write, path, body);
        self.ask(&request, Some(session.token()), deadline, |_metadata| Ok(()))
    }
}

fn body(fields: &BTreeMap<String, Secret>) -> Result<Secret, Failure> {
    let mut parts: Vec<(Secret, Secret)> = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        if value.expose_str().is_none() {
            return Err(Failure::Shape("a value is not UTF-8 text"));
        }
        parts.push((quote(name.as_bytes()), quote(value.expose())));
    }
    let len = parts.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>();
    // SECURITY: the room for all of it, so that no half of it is left behind by growing.
    let mut out = Vec::with_capacity(len + ONLY_NEW.len() + 16);
    out.extend_from_slice(br#"{"data":{"#);
    for (index, (name, value)) in parts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.expose());
        out.push(b':');
        out.extend_from_slice(value.expose());
    }
    out.push(b'}');
    out.extend_from_slice(ONLY_NEW);
    Ok(Secret::new(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&str, &[u8])]) -> BTreeMap<String, Secret> {
        all.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(value.to_vec()))).collect()
    }

    #[test]
    fn every_field_is_written_and_none_is_replaced() {
        let body = body(&fields(&[("a\"", b"x\ny\\"), ("b", "é".as_bytes())])).unwrap();
        let json: serde_json::Value = serde_json::from_slice(body.expose()).unwrap();
        assert_eq!(json["data"]["a\""], "x\ny\\");
        assert_eq!(json["data"]["b"], "é");
        assert_eq!(json["options"]["cas"], 0);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert!(matches!(body(&fields(&[("a", &[0xff])])), Err(Failure::Shape(_))));
    }
}
