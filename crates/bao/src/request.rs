//! Requests to OpenBao, built without sending them.

use cloudtaser_core::Secret;

use crate::{
    address::encode,
    error::{Failure, Operation, Place},
    retry::Safety,
};

/// One request, complete but for the token.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) safety: Safety,
    /// `None` makes it a GET.
    pub(crate) body: Option<Secret>,
    /// The path as people write it.
    path: String,
    query: Option<String>,
    /// The namespace, where it is not the client's.
    pub(crate) namespace: Option<String>,
}

impl Request {
    pub(crate) const fn get(operation: Operation, path: String) -> Self {
        let safety = Safety::Repeatable;
        Self { operation, safety, body: None, path, query: None, namespace: None }
    }

    pub(crate) const fn post(operation: Operation, path: String, body: Secret) -> Self {
        let safety = Safety::Write;
        Self { operation, safety, body: Some(body), path, query: None, namespace: None }
    }

    /// Says that doing it twice does no harm.
    pub(crate) const fn repeatable(mut self) -> Self {
        self.safety = Safety::Repeatable;
        self
    }

    pub(crate) fn in_namespace(mut self, namespace: Option<&str>) -> Self {
        self.namespace = namespace.map(str::to_owned);
        self
    }

    /// Asks for one version. Engines without versions ignore it.
    pub(crate) fn version(mut self, version: Option<u32>) -> Self {
        self.query = version.map(|version| format!("version={version}"));
        self
    }

    /// Refuses a path that would lead somewhere else once it is part of a URL.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        // SECURITY: user names, mounts and key names become part of the path.
        let strange = |segment: &str| matches!(segment, "" | "." | "..");
        if self.path.split('/').any(strange) || self.path.contains(char::is_control) {
            return Err(Failure::Path);
        }
        Ok(())
    }

    /// Path and query, encoded, to be put after `/v1/`.
    pub(crate) fn target(&self) -> String {
        let path = encode(&self.path);
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        }
    }

    /// The place to name in an error.
    pub(crate) fn place(&self) -> Place {
        let method = if self.body.is_some() { "POST" } else { "GET" };
        Place { method, path: self.path.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_goes_into_the_query_and_not_into_the_place() {
        let request = Request::get(Operation::Read, "kv/data/a b".to_owned()).version(Some(3));
        assert_eq!(request.target(), "kv/data/a%20b?version=3");
        assert_eq!(request.place(), Place { method: "GET", path: "kv/data/a b".to_owned() });
    }

    #[test]
    fn a_path_that_leads_away_is_refused() {
        for path in ["auth/userpass/login/../../sys", "a//b", "a/./b", "a/b\nc", ""] {
            assert!(Request::get(Operation::Read, path.to_owned()).check().is_err(), "{path}");
        }
        assert!(Request::get(Operation::Read, "a/..b/c".to_owned()).check().is_ok());
    }

    #[test]
    fn a_post_is_a_write_unless_it_says_otherwise() {
        let post = || Request::post(Operation::Write, "p".to_owned(), Secret::new(b"{}".to_vec()));
        assert_eq!(post().safety, Safety::Write);
        assert_eq!(post().repeatable().safety, Safety::Repeatable);
    }
}
