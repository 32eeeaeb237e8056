//! Objects by path, with versions, and who may do what to them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::http::Message;

/// One thing that is allowed: a method, and a path or the beginning of one.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// The path; with `*` at its end, all that begin with it.
    pub path: String,
}

/// All objects.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<String, Value>,
    version: u64,
    pub(super) rules: Option<Vec<Rule>>,
    pub(super) fails: bool,
    pub(super) seen: Vec<(String, String)>,
    pub(super) forbidden: Vec<(String, String)>,
}

impl Rule {
    /// A rule of one method and one path.
    #[must_use]
    pub fn new(method: &'static str, path: &str) -> Self {
        Self { method, path: path.to_owned() }
    }

    fn allows(&self, method: &str, path: &str) -> bool {
        let fits = match self.path.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == self.path,
        };
        fits && self.method == method
    }
}

impl Store {
    pub(super) fn get(&self, path: &str) -> Option<Value> {
        self.objects.get(path).cloned()
    }

    pub(super) fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    pub(super) fn remove(&mut self, path: &str) -> Option<Value> {
        self.objects.remove(path)
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    pub(super) fn dump(&self) -> String {
        self.objects.iter().map(|(path, object)| format!("{path} {object}\n")).collect()
    }

    pub(super) fn answer(&mut self, request: &Message) -> (u16, Value) {
        let method = request.first.split(' ').next().unwrap_or_default().to_owned();
        let (path, query) =
            request.second().split_once('?').unwrap_or_else(|| (request.second(), ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        self.seen.push((method.clone(), path.clone()));
        if self.fails {
            return status(500, "the double was told to fail");
        }
        if let Some(rules) = &self.rules
            && !rules.iter().any(|rule| rule.allows(&method, &path))
        {
            self.forbidden.push((method, path));
            return status(403, "no rule allows this");
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match method.as_str() {
            "GET" => self.read(&path, &query),
            "POST" => self.create(&path, body),
            "PUT" => self.replace(&path, body),
            "PATCH" => self.patch(&path, request, body),
            "DELETE" => match self.remove(&path) {
                Some(_) => status(200, "deleted"),
                None => status(404, "not found"),
            },
            _ => status(405, "no such method"),
        }
    }

    fn read(&self, path: &str, query: &str) -> (u16, Value) {
        if let Some(object) = self.get(path) {
            return (200, object);
        }
        // A collection: its name is a plural, and its objects stand one step below.
        let below = format!("{path}/");
        let wanted = query.split('&').find_map(|part| part.strip_prefix("labelSelector="));
        let wanted = wanted.map(|text| text.replace("%3D", "=").replace("%2F", "/"));
        let fits = |object: &&Value| match wanted.as_deref().and_then(|text| text.split_once('=')) {
            Some((name, value)) => object["metadata"]["labels"][name] == value,
            None => true,
        };
        let items: Vec<Value> = self
            .objects
            .iter()
            .filter(|(key, _)| key.strip_prefix(&below).is_some_and(|rest| !rest.contains('/')))
            .map(|(_, object)| object)
            .filter(fits)
            .cloned()
            .collect();
        let is_collection = path.rsplit('/').next().is_some_and(|last| {
            last.ends_with('s') && path.matches('/').count() >= 3 && !last.contains('-')
        });
        if items.is_empty() && !is_collection {
            return status(404, "not found");
        }
        (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}))
    }

    fn create(&mut self, path: &str, object: Value) -> (u16, Value) {
        let Some(name) = object["metadata"]["name"].as_str() else {
            return status(422, "a name is needed");
        };
        let path = format!("{path}/{name}");
        if self.objects.contains_key(&path) {
            return status(409, "it exists already");
        }
        (201, self.put(&path, object))
    }

    fn replace(&mut self, path: &str, object: Value) -> (u16, Value) {
        let Some(there) = self.objects.get(path) else { return status(404, "not found") };
        let given = &object["metadata"]["resourceVersion"];
        if !given.is_null() && *given != there["metadata"]["resourceVersion"] {
            return status(409, "the object has been modified");
        }
        (200, self.put(path, object))
    }

    fn patch(&mut self, path: &str, request: &Message, patch: Value) -> (u16, Value) {
        if request.header("content-type") != Some("application/json-patch+json") {
            return status(415, "only JSON Patch is understood");
        }
        let Some(mut object) = self.get(path) else { return status(404, "not found") };
        let Ok(patch) = serde_json::from_value::<json_patch::Patch>(patch) else {
            return status(400, "this is no patch");
        };
        match json_patch::patch(&mut object, &patch) {
            Ok(()) => (200, self.put(path, object)),
            Err(_) => status(422, "the patch does not apply"),
        }
    }
}

/// A `Status`, as the API server answers without an object.
pub(super) fn status(code: u16, message: &str) -> (u16, Value) {
    let word = if code < 300 { "Success" } else { "Failure" };
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": word, "message": message, "code": code}),
    )
}
