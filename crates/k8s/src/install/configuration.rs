//! What the operator is told of the servers that pods may use: a file of TOML in a ConfigMap.
//!
//! Strings are written as JSON writes them, which TOML reads the same; so the text can be made here
//! and by Helm alike. There is no credential in it.

use serde_json::{Value, json};

use super::contract::operator::{FILE, FOLDER, REGISTRY_CA};
use super::namespaces::metadata;
use super::source::Source;
use super::{OPERATOR, Object};

/// Fields of a server: the value's name, and the configuration's.
const FIELDS: &[(&str, &str)] = &[
    ("name", "name"),
    ("address", "address"),
    ("namespace", "namespace"),
    ("ca", "ca"),
    ("spkiPin", "spki_pin"),
    ("serverName", "server_name"),
    ("authMount", "auth_mount"),
];

/// The ConfigMap.
pub(super) fn object(source: &Source<'_>) -> Object {
    let json = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(source, OPERATOR, &source.namespace()),
        "data": {
            FILE: source.text(text, TEMPLATE),
            REGISTRY_CA: source.leaf("registry.ca"),
        },
    });
    Object::new("operator.yaml", json)
}

/// The file from values.
fn text(values: &Value) -> String {
    let leaf = |pointer: &str| values.pointer(pointer).cloned().unwrap_or_default().to_string();
    let mut text = format!(
        "[wrapper]\nimage = {}\npull_policy = {}\n\n[token]\naudience = {}\n\n\
         [registry]\nhosts = {}\npull_secrets = {}\n{}\n[pods]\nrequire = {}\nwatch = {}\n",
        leaf("/images/wrapper"),
        leaf("/images/pullPolicy"),
        leaf("/openbao/audience"),
        leaf("/registry/hosts"),
        leaf("/registry/pullSecrets"),
        authorities(values),
        leaf("/pods/require"),
        leaf("/pods/watch"),
    );
    if values.pointer("/bridge/enabled") == Some(&Value::Bool(true)) {
        let (key, broker) = (leaf("/bridge/key"), leaf("/bridge/broker"));
        text.push_str(&format!("\n[bridge]\nkey = {key}\nbroker = {broker}\n"));
    }
    let servers = values.pointer("/openbao/servers").and_then(Value::as_array);
    for server in servers.into_iter().flatten() {
        text.push_str("\n[[server]]\n");
        for (name, toml) in FIELDS {
            if let Some(value) = server.get(name) {
                text.push_str(&format!("{toml} = {value}\n"));
            }
        }
    }
    text
}

/// The setting that names the file with the registries' authorities, where there are any.
fn authorities(values: &Value) -> String {
    let ca = values.pointer("/registry/ca").and_then(Value::as_str).unwrap_or_default();
    if ca.is_empty() { String::new() } else { format!("ca_file = \"{FOLDER}/{REGISTRY_CA}\"\n") }
}

/// The same for Helm. A test evaluates both and compares.
const TEMPLATE: &str = r#"[wrapper]
image = {{ .Values.images.wrapper | toJson }}
pull_policy = {{ .Values.images.pullPolicy | toJson }}

[token]
audience = {{ .Values.openbao.audience | toJson }}

[registry]
hosts = {{ .Values.registry.hosts | toJson }}
pull_secrets = {{ .Values.registry.pullSecrets | toJson }}
{{- with .Values.registry.ca }}
ca_file = "/etc/cloudtaser/registry-ca.pem"
{{- end }}

[pods]
require = {{ .Values.pods.require | toJson }}
watch = {{ .Values.pods.watch | toJson }}
{{- if .Values.bridge.enabled }}

[bridge]
key = {{ .Values.bridge.key | toJson }}
broker = {{ .Values.bridge.broker | toJson }}
{{- end }}
{{- range .Values.openbao.servers }}

[[server]]
name = {{ .name | toJson }}
address = {{ .address | toJson }}
{{- with .namespace }}
namespace = {{ . | toJson }}
{{- end }}
{{- with .ca }}
ca = {{ . | toJson }}
{{- end }}
{{- with .spkiPin }}
spki_pin = {{ . | toJson }}
{{- end }}
{{- with .serverName }}
server_name = {{ . | toJson }}
{{- end }}
{{- with .authMount }}
auth_mount = {{ . | toJson }}
{{- end }}
{{- end }}
"#;
