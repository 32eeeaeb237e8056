//! A plan of moving: what to write into each pod template, and which values to put where.

use std::collections::{BTreeMap, BTreeSet};

use cloudtaser_core::names::kubernetes as names;
use serde::Serialize;
use serde_json::Value;

use super::uses::{self, Use, Way};

/// The form of the file.
const VERSION: &str = "cloudtaser.io/v1alpha1";

const HEAD: &str = "\
# What uses Kubernetes Secrets, and what would take its place. Read it, change it, keep it.
# Values are nowhere in it: put each Secret's fields into OpenBao at the path that is given, then
# write label, annotations and variables into the workload's pod template.
";

/// Everything that was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    api_version: &'static str,
    kind: &'static str,
    #[serde(skip)]
    mount: String,
    /// Which Secret's fields go where.
    secrets: BTreeSet<Move>,
    pub(super) workloads: Vec<Workload>,
}

#[derive(Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
struct Move {
    namespace: String,
    secret: String,
    path: String,
}

/// One workload.
#[derive(Debug, Serialize)]
pub(super) struct Workload {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uses: Vec<Use>,
    template: Change,
}

/// What its template gets.
#[derive(Debug, Default, Serialize)]
struct Change {
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    /// By container: variables that become references.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<String, BTreeMap<String, String>>,
}

impl Plan {
    pub(super) fn new(mount: &str) -> Self {
        Self {
            api_version: VERSION,
            kind: "MigrationPlan",
            mount: mount.trim_matches('/').to_owned(),
            secrets: BTreeSet::new(),
            workloads: Vec::new(),
        }
    }

    /// Takes a workload in, if it uses a Secret.
    pub(super) fn add(&mut self, kind: &str, namespace: &str, name: &str, template: &Value) {
        let uses = uses::of(template);
        if uses.is_empty() {
            return;
        }
        let path = |secret: &str| format!("{}/data/{namespace}/{secret}", self.mount);
        let mut change = Change::default();
        change.labels.insert(names::INJECT.to_owned(), "true".to_owned());
        for each in &uses {
            let path = path(&each.secret);
            self.secrets.insert(Move {
                namespace: namespace.to_owned(),
                secret: each.secret.clone(),
                path: path.clone(),
            });
            match (&each.way, &each.key) {
                (Way::Variable(variable), Some(key)) => {
                    let all = change.variables.entry(each.container.clone()).or_default();
                    all.insert(variable.clone(), format!("vault:{path}#{key}"));
                }
                (Way::AllVariables(prefix), _) if prefix.is_empty() => {
                    let all = change.annotations.entry(names::FROM.to_owned()).or_default();
                    if !all.split(',').any(|known| known == path) {
                        all.push_str(if all.is_empty() { "" } else { "," });
                        all.push_str(&path);
                    }
                }
                (Way::Files(_), Some(key)) => {
                    let name = format!("{}{key}", names::FILE);
                    change.annotations.insert(name, format!("vault:{path}#{key}"));
                }
                // A person has to say more.
                _ => {}
            }
        }
        self.workloads.push(Workload {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uses,
            template: change,
        });
    }

    pub(super) fn to_yaml(&self) -> Result<String, serde_saphyr::SerializeError> {
        Ok(format!("{HEAD}{}", serde_saphyr::to_string(self)?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(template: Value) -> Value {
        let mut plan = Plan::new("kv");
        plan.add("Deployment", "shop", "web", &template);
        serde_json::to_value(&plan).unwrap()
    }

    #[test]
    fn variables_become_references_and_bulk_becomes_an_annotation() {
        let plan = plan(json!({ "spec": { "containers": [{ "name": "web",
            "env": [
                { "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "db", "key": "pw" } } },
                { "name": "PLAIN", "value": "x" },
            ],
            "envFrom": [{ "secretRef": { "name": "all" } }, { "configMapRef": { "name": "c" } }] }] } }));
        let template = &plan["workloads"][0]["template"];
        assert_eq!(template["labels"], json!({ "cloudtaser.io/inject": "true" }));
        assert_eq!(
            template["variables"],
            json!({ "web": { "PASSWORD": "vault:kv/data/shop/db#pw" } })
        );
        assert_eq!(template["annotations"], json!({ "cloudtaser.io/from": "kv/data/shop/all" }));
        assert_eq!(plan["secrets"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn every_reference_of_a_plan_can_be_read() {
        let plan = plan(json!({ "spec": { "containers": [{ "name": "web", "env": [{ "name": "A",
            "valueFrom": { "secretKeyRef": { "name": "tls.crt-1", "key": "a.b_c" } } }] }] } }));
        let text = plan["workloads"][0]["template"]["variables"]["web"]["A"].as_str().unwrap();
        let parsed = cloudtaser_core::reference::Value::parse(text).unwrap();
        assert_eq!(parsed.references().count(), 1, "{text}");
    }

    #[test]
    fn files_need_a_person_and_say_what_changes() {
        let plan = plan(json!({ "spec": {
            "containers": [{ "name": "web", "volumeMounts": [{ "name": "v", "mountPath": "/etc/tls" }] }],
            "volumes": [{ "name": "v", "secret": { "secretName": "tls",
                "items": [{ "key": "tls.key", "path": "k" }] } }] } }));
        let workload = &plan["workloads"][0];
        assert_eq!(
            workload["template"]["annotations"]["cloudtaser.io/file.tls.key"],
            "vault:kv/data/shop/tls#tls.key"
        );
        let by_hand = workload["uses"][0]["by_hand"].as_str().unwrap();
        assert!(by_hand.contains("/etc/tls") && by_hand.contains("/run/cloudtaser/tls.key"));
    }

    #[test]
    fn projected_volumes_and_init_containers_count_too() {
        let plan = plan(json!({ "spec": {
            "initContainers": [{ "name": "init", "volumeMounts": [{ "name": "v", "mountPath": "/x" }] }],
            "containers": [{ "name": "web" }],
            "volumes": [{ "name": "v", "projected": { "sources": [{ "configMap": { "name": "c" } },
                { "secret": { "name": "s" } }] } }] } }));
        assert_eq!(plan["workloads"][0]["uses"][0]["container"], "init");
    }

    #[test]
    fn what_uses_none_is_not_in_the_plan() {
        assert_eq!(
            plan(json!({ "spec": { "containers": [{ "name": "web" }] } }))["workloads"],
            json!([])
        );
    }
}
