//! Whether an object has all that ours has, whatever else it has.
//!
//! The API server adds defaults and other admission adds mounts and limits; that is no difference.

use serde_json::Value;

/// Whether every member of `wanted` is in `there`, with an equal or covering value.
pub(super) fn covers(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| there.get(name).is_some_and(|found| covers(found, value))),
        (Value::Array(there), Value::Array(wanted)) if wanted.iter().all(Value::is_object) => {
            wanted.iter().all(|value| there.iter().any(|found| covers(found, value)))
        }
        _ => there == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_added_is_no_difference_and_what_was_changed_is() {
        let wanted = json!({"a": {"b": 1}, "list": [{"name": "x"}], "words": ["p", "q"]});
        let more = json!({
            "a": {"b": 1, "c": 2}, "list": [{"name": "w"}, {"name": "x", "d": 0}],
            "words": ["p", "q"], "z": null,
        });
        assert!(covers(&more, &wanted));
        for (path, value) in [
            ("/a/b", json!(2)),
            ("/list/1/name", json!("y")),
            ("/words", json!(["p", "q", "r"])),
            ("/words", json!(["q", "p"])),
        ] {
            let mut other = more.clone();
            *other.pointer_mut(path).unwrap() = value;
            assert!(!covers(&other, &wanted), "{path}");
        }
    }
}
