//! Objects as the sum of their fields, and who owns each: how server-side apply sees them.
//!
//! Simpler than the real thing in one respect: a list whose items all have a `name` is a map by that
//! name, and any other list is one field. For the kinds of an installation that is what their
//! schemas say (`webhooks`, `containers`, `env`, `ports`, `volumes` against `args`, `rules`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// A step on the way to a field.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Step {
    /// A field of an object.
    Field(String),
    /// The item of a list that has this name.
    Named(String),
}

pub(crate) type Path = Vec<Step>;
pub(crate) type Fields = BTreeMap<Path, Value>;

/// Takes an object apart.
pub(crate) fn fields(object: &Value) -> Fields {
    let mut all = Fields::new();
    collect(object, &mut Path::new(), &mut all);
    all
}

fn collect(value: &Value, path: &mut Path, all: &mut Fields) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                path.push(Step::Field(name.clone()));
                collect(value, path, all);
                path.pop();
            }
        }
        Value::Array(items) if is_map(items) => {
            for item in items {
                path.push(Step::Named(item["name"].as_str().unwrap().to_owned()));
                collect(item, path, all);
                path.pop();
            }
        }
        leaf => {
            all.insert(path.clone(), leaf.clone());
        }
    }
}

fn is_map(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| item["name"].is_string())
}

/// Puts an object together again; named lists come in the order of their names.
pub(crate) fn object(fields: &Fields) -> Value {
    let mut root = Value::Null;
    for (path, value) in fields {
        let mut place = &mut root;
        for step in path {
            place = match step {
                Step::Field(name) => {
                    if !place.is_object() {
                        *place = Value::Object(Map::new());
                    }
                    place.as_object_mut().unwrap().entry(name.clone()).or_insert(Value::Null)
                }
                Step::Named(name) => {
                    if !place.is_array() {
                        *place = Value::Array(Vec::new());
                    }
                    let items = place.as_array_mut().unwrap();
                    let at = items.iter().position(|item| item["name"] == name.as_str());
                    let at = at.unwrap_or_else(|| {
                        items.push(serde_json::json!({ "name": name }));
                        items.len() - 1
                    });
                    &mut items[at]
                }
            };
        }
        *place = value.clone();
    }
    root
}

/// Who owns what.
pub(crate) type Owners = BTreeMap<String, BTreeSet<Path>>;

/// Applies as a manager: gives the new fields, or the fields that others own with other values.
pub(crate) fn apply(
    live: &Fields,
    owners: &mut Owners,
    wanted: &Fields,
    manager: &str,
    force: bool,
) -> Result<Fields, Vec<(String, Path)>> {
    let mut conflicts = Vec::new();
    for (other, owned) in owners.iter().filter(|(other, _)| *other != manager) {
        let differs =
            |path: &&Path| wanted.get(*path).is_some_and(|value| live.get(*path) != Some(value));
        conflicts.extend(owned.iter().filter(differs).map(|path| (other.clone(), path.clone())));
    }
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    for (other, path) in conflicts {
        owners.get_mut(&other).unwrap().remove(&path);
    }
    let before = owners.insert(manager.to_owned(), wanted.keys().cloned().collect());
    let mut now = live.clone();
    for path in before.unwrap_or_default() {
        let kept = wanted.contains_key(&path)
            || owners.iter().any(|(other, owned)| other != manager && owned.contains(&path));
        if !kept {
            now.remove(&path);
        }
    }
    // A field that becomes a map, or the reverse, takes the place of what was there.
    now.retain(|path, _| !wanted.keys().any(|new| new != path && is_within(new, path)));
    now.extend(wanted.clone());
    Ok(now)
}

fn is_within(inner: &Path, outer: &Path) -> bool {
    inner.len() > outer.len() && inner.starts_with(outer)
}

/// A path as an API server writes it.
pub(crate) fn shown(path: &Path) -> String {
    path.iter()
        .map(|step| match step {
            Step::Field(name) => format!(".{name}"),
            Step::Named(name) => format!("[name=\"{name}\"]"),
        })
        .collect()
}
