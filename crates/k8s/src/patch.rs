//! JSON Patch (RFC 6902), as much of it as is needed: nothing here can take anything away.

use serde::Serialize;
use serde_json::Value;

/// A list of changes, applied in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Patch(pub Vec<Operation>);

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Operation {
    /// Puts a value where none is, or into a list.
    Add {
        /// Where, as JSON Pointer.
        path: String,
        /// What.
        value: Value,
    },
    /// Takes something from one place to another.
    Move {
        /// Where it is.
        from: String,
        /// Where it goes.
        path: String,
    },
    /// Puts a value in the place of another.
    Replace {
        /// Where, as JSON Pointer.
        path: String,
        /// What.
        value: Value,
    },
}

impl Patch {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the first change is, for messages.
    #[must_use]
    pub fn first_place(&self) -> Option<&str> {
        self.0.first().map(|operation| match operation {
            Operation::Add { path, .. }
            | Operation::Move { path, .. }
            | Operation::Replace { path, .. } => path.as_str(),
        })
    }

    pub(crate) fn add(&mut self, path: impl Into<String>, value: Value) {
        self.0.push(Operation::Add { path: path.into(), value });
    }

    pub(crate) fn replace(&mut self, path: impl Into<String>, value: Value) {
        self.0.push(Operation::Replace { path: path.into(), value });
    }

    pub(crate) fn relocate(&mut self, from: impl Into<String>, path: impl Into<String>) {
        self.0.push(Operation::Move { from: from.into(), path: path.into() });
    }

    /// Sets a member of an object that exists.
    pub(crate) fn set(&mut self, object: &Value, at: &str, member: &str, value: Value) {
        let path = format!("{at}/{}", escaped(member));
        match object.get(member) {
            Some(found) if *found == value => {}
            Some(_) => self.replace(path, value),
            None => self.add(path, value),
        }
    }

    /// Puts elements behind those of a list, which is made where there is none.
    pub(crate) fn extend(&mut self, object: &Value, at: &str, list: &str, more: Vec<Value>) {
        if more.is_empty() {
            return;
        }
        let path = format!("{at}/{list}");
        match object.get(list) {
            Some(Value::Array(_)) => {
                for value in more {
                    self.add(format!("{path}/-"), value);
                }
            }
            // `null` counts as absent; adding a member replaces it.
            _ => self.add(path, Value::Array(more)),
        }
    }
}

/// One step of a JSON Pointer (RFC 6901 §3).
pub(crate) fn escaped(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_have_the_form_of_the_rfc() {
        let mut patch = Patch::default();
        patch.set(&json!({}), "/metadata/annotations", "a/b~c", json!("x"));
        patch.set(&json!({"a": 1}), "", "a", json!(2));
        patch.set(&json!({"a": 1}), "", "a", json!(1));
        patch.relocate("/a/1", "/a/0");
        assert_eq!(
            serde_json::to_value(&patch).unwrap(),
            json!([
                {"op": "add", "path": "/metadata/annotations/a~1b~0c", "value": "x"},
                {"op": "replace", "path": "/a", "value": 2},
                {"op": "move", "from": "/a/1", "path": "/a/0"},
            ])
        );
    }
}
