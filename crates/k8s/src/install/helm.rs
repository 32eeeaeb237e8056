//! The Helm chart, written from the objects of an installation.
//!
//! Only whole scalars are templated, as JSON, and whole documents are conditional. There is no
//! loop, no named template and no text put together, so that what Helm makes of a chart is what
//! `install` makes of the same values; a test evaluates the chart and compares.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::source::{Source, sorted, to_yaml, unmark};
use super::{Object, Values, all};

/// The least version of Kubernetes: `matchConditions` are there without a switch.
const KUBERNETES: &str = ">=1.30.0-0";

const NOTES: &str = "\
cloudtaser is in {{ .Release.Namespace }}.

A pod is opted in by its label:  cloudtaser.io/inject: \"true\"
What is protected:               cloudtaser status
An invitation of a bridge:       kubectl create secret generic cloudtaser-invitation
                                   --namespace {{ .Release.Namespace }} --from-file=invitation=FILE
";

/// Every file of the chart by its path in it.
///
/// # Errors
/// What cannot be written as YAML; a test makes all of it.
pub fn chart(version: &str) -> Result<BTreeMap<String, String>, serde_saphyr::SerializeError> {
    let mut files = BTreeMap::new();
    files.insert("Chart.yaml".to_owned(), to_yaml(&about(version))?);
    files.insert("templates/NOTES.txt".to_owned(), NOTES.to_owned());
    files.insert("values.yaml".to_owned(), format!("{VALUES_HEAD}{}", to_yaml(&defaults())?));
    files.insert("values.schema.json".to_owned(), schema());
    for object in all(&Source::Chart) {
        let text = files.entry(format!("templates/{}", object.file)).or_default();
        text.push_str(&document(&object)?);
    }
    Ok(files)
}

const VALUES_HEAD: &str = "\
# Generated. What each means: docs/guide/install.md. The same file serves `cloudtaser install --values`.
";

/// The values of a chart: images are named by whoever installs, and are empty until then.
fn defaults() -> Value {
    let mut values = serde_json::to_value(Values::default()).unwrap_or_default();
    if let Some(images) = values.get_mut("images").and_then(Value::as_object_mut) {
        for name in ["agent", "operator", "wrapper"] {
            images.insert(name.to_owned(), "".into());
        }
    }
    values
}

fn about(version: &str) -> Value {
    json!({
        "apiVersion": "v2",
        "appVersion": version,
        "description": "Keeps secrets out of everything that a cloud provider stores or relays",
        "kubeVersion": KUBERNETES,
        "name": super::NAME,
        "type": "application",
        "version": version,
    })
}

fn document(object: &Object) -> Result<String, serde_saphyr::SerializeError> {
    let yaml = unmark(&to_yaml(&object.json)?);
    Ok(match object.when {
        None => format!("---\n{yaml}"),
        Some(path) => format!("{{{{- if .Values.{path} }}}}\n---\n{yaml}{{{{- end }}}}\n"),
    })
}

/// The form of the values, which Helm checks before it renders: fields that nobody knows, images
/// that nobody named.
fn schema() -> String {
    let values = defaults();
    let mut schema = shape(&values);
    schema.as_object_mut().into_iter().for_each(|schema| {
        schema.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
        let on = |part: &str| {
            json!({ "properties": {
            part: { "properties": { "enabled": { "const": true } } },
        } })
        };
        let then = |part: &str, field: &str, more: Value| {
            json!({ "properties": {
            part: { "properties": { field: more } },
        } })
        };
        schema.insert(
            "allOf".to_owned(),
            json!([
                { "if": on("agent"), "then": then("images", "agent", json!({ "minLength": 1 })) },
                // A pod needs a server: the bridge, or an OpenBao.
                { "if": on("bridge"), "then": then("bridge", "key", json!({ "minLength": 1 })),
                  "else": then("openbao", "servers", json!({ "minItems": 1 })) },
            ]),
        );
        // Helm adds this one to the values of every chart.
        if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            fields.insert("global".to_owned(), json!({ "type": "object" }));
        }
    });
    for (path, more) in [
        ("/properties/images/properties/operator", json!({ "minLength": 1 })),
        ("/properties/images/properties/wrapper", json!({ "minLength": 1 })),
        ("/properties/operator/properties/replicas", json!({ "minimum": 1, "maximum": 9 })),
        ("/properties/webhook/properties/timeoutSeconds", json!({ "minimum": 1, "maximum": 30 })),
        (
            "/properties/images/properties/pullPolicy",
            json!({ "enum": ["Always", "IfNotPresent", "Never"] }),
        ),
        ("/properties/openbao/properties/servers", servers()),
    ] {
        let place = schema.pointer_mut(path).and_then(Value::as_object_mut);
        if let (Some(place), Value::Object(more)) = (place, more) {
            place.extend(more);
        }
    }
    let text = serde_json::to_string_pretty(&sorted(schema)).unwrap_or_default();
    text + "\n"
}

/// Maps that take any key: what is in them is not ours to know.
const OPEN: &[&str] = &["limits", "nodeSelector", "requests"];

/// A schema from the defaults.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let properties: BTreeMap<&String, Value> = fields
                .iter()
                .map(|(name, value)| {
                    let open = OPEN.contains(&name.as_str());
                    (name, if open { json!({ "type": "object" }) } else { shape(value) })
                })
                .collect();
            json!({ "type": "object", "additionalProperties": false, "properties": properties })
        }
        Value::Array(_) => json!({ "type": "array" }),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(_) => json!({ "type": "integer" }),
        Value::Null | Value::String(_) => json!({ "type": "string" }),
    }
}

/// A server in the schema.
fn servers() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    json!({
        "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["address", "name"],
            "properties": {
                "address": { "type": "string", "pattern": "^https://[A-Za-z0-9.:\\[\\]-]+/?$" },
                "authMount": text, "ca": text, "name": text, "namespace": text, "serverName": text,
                "spkiPin": text,
            },
        },
    })
}
