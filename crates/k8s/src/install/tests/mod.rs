//! What must hold of every installation, whatever was chosen.

mod evaluate;

use std::collections::BTreeSet;

use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apps::v1::{DaemonSet, Deployment},
    core::v1::{ConfigMap, Namespace, ResourceQuota, Secret, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

fn values() -> Values {
    let mut values = Values::default();
    values.images.fill("registry.example/cloudtaser", "0.1.0").unwrap();
    values
}

fn parsed(yaml: &str) -> Values {
    let given: Value = serde_saphyr::from_str(yaml).unwrap();
    let mut values = Values::over_defaults(&given).unwrap();
    values.images.fill("registry.example/cloudtaser", "0.1.0").unwrap();
    values
}

/// Choices that differ from the defaults in every part.
fn choices() -> Vec<Values> {
    vec![
        values(),
        parsed(
            "agent: { enabled: false }\nopenbao:\n  servers:\n  - { name: a, address: 'https://a:8200', \
             ca: \"-----BEGIN\\nx\\n\" }\n  - { name: b, address: 'https://b', namespace: 'n \\\" é', \
             spkiPin: 'sha256//x=', serverName: s, authMount: m }",
        ),
        parsed(
            "images: { pullPolicy: Always, pullSecrets: [{ name: regcred }], agent: 'x/y:1' }\n\
             operator:\n  replicas: 3\n  priorityClassName: high\n  \
             nodeSelector: { pool: 'true', n: '1' }\n  tolerations:\n  - { key: a, operator: Equal, \
             value: 'yes', effect: NoExecute, tolerationSeconds: 30 }\n  resources: { requests: { \
             cpu: '1' }, limits: {} }\nregistry: { hosts: ['r.example:5000', docker.io], pullSecrets: true, ca: \"-----BEGIN CERTIFICATE-----\\nx\" }\n\
             pods: { require: [memory=sealed, 'T1=closed'], watch: true }\nwebhook: { timeoutSeconds: 9, excludedNamespaces: [team-a] \
             }\nagent: { namespace: other, tolerations: [], arguments: ['--leave-open=bpf'] }\n\
             bridge: { enabled: true, key: 'ed25519:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=', broker: '10.96.0.9:7443' }",
        ),
    ]
}

fn of_kind<'a>(objects: &'a [Object], kind: &str, name: &str) -> &'a Value {
    let mut found = objects.iter().filter(|o| o.kind() == kind && o.name() == name);
    &found.next().unwrap_or_else(|| panic!("no {kind} {name}")).json
}

/// The typed object keeps each field: one that Kubernetes does not know would be lost on the way.
fn keeps<T: DeserializeOwned + Serialize>(json: &Value) {
    let typed: T = serde_json::from_value(json.clone()).unwrap();
    let mut again = serde_json::to_value(&typed).unwrap();
    let mut expected = json.clone();
    for each in [&mut again, &mut expected] {
        without_empty(each);
    }
    assert_eq!(again, expected);
}

/// Empty maps and lists are the same as none.
fn without_empty(value: &mut Value) {
    let empty = |value: &Value| {
        value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
    };
    match value {
        Value::Object(all) => {
            all.values_mut().for_each(without_empty);
            all.retain(|_, value| !empty(value));
        }
        Value::Array(all) => all.iter_mut().for_each(without_empty),
        _ => {}
    }
}

#[test]
fn every_object_has_the_schema_of_its_kind() {
    for values in choices() {
        for object in objects(&values, "ours") {
            let json = &object.json;
            match object.kind() {
                "ClusterRole" => keeps::<ClusterRole>(json),
                "ClusterRoleBinding" => keeps::<ClusterRoleBinding>(json),
                "ConfigMap" => keeps::<ConfigMap>(json),
                "DaemonSet" => keeps::<DaemonSet>(json),
                "Deployment" => keeps::<Deployment>(json),
                "MutatingWebhookConfiguration" => keeps::<MutatingWebhookConfiguration>(json),
                "Namespace" => keeps::<Namespace>(json),
                "NetworkPolicy" => keeps::<NetworkPolicy>(json),
                "PodDisruptionBudget" => keeps::<PodDisruptionBudget>(json),
                "ResourceQuota" => keeps::<ResourceQuota>(json),
                "Role" => keeps::<Role>(json),
                "RoleBinding" => keeps::<RoleBinding>(json),
                "Secret" => keeps::<Secret>(json),
                "Service" => keeps::<Service>(json),
                "ServiceAccount" => keeps::<ServiceAccount>(json),
                "ValidatingWebhookConfiguration" => keeps::<ValidatingWebhookConfiguration>(json),
                other => panic!("no schema is checked for {other}"),
            }
        }
    }
}

#[test]
fn a_field_that_kubernetes_does_not_know_would_be_seen() {
    let mut service = of_kind(&objects(&values(), "ours"), "Service", OPERATOR).clone();
    service["spec"]["selectors"] = json!({ "a": "b" });
    assert!(std::panic::catch_unwind(|| keeps::<Service>(&service)).is_err());
}

#[test]
fn the_same_values_give_the_same_bytes() {
    let text = |values: &Values| {
        let objects = objects(values, "ours");
        objects.iter().map(|o| to_yaml(&o.json).unwrap()).collect::<Vec<_>>().join("---\n")
    };
    insta::assert_snapshot!("install", text(&values()));
    for values in choices() {
        assert_eq!(text(&values), text(&values.clone()));
    }
}

#[test]
fn yaml_says_what_json_says() {
    for values in choices() {
        for object in objects(&values, "ours") {
            let yaml = to_yaml(&object.json).unwrap();
            let back: Value = serde_saphyr::from_str(&yaml).unwrap();
            assert_eq!(back, object.json, "{yaml}");
        }
    }
}

#[test]
fn no_leaf_is_forgotten_and_no_object_is_there_twice() {
    for values in choices() {
        let objects = objects(&values, "ours");
        let mut seen = BTreeSet::new();
        for object in &objects {
            assert!(!object.json.to_string().contains("null"), "{}", object.json);
            assert!(!object.json.to_string().contains("HELM"), "{}", object.json);
            let id = (object.kind(), object.namespace(), object.name());
            assert!(seen.insert(id), "{id:?} is there twice");
        }
    }
}

#[test]
fn every_object_says_whose_it_is() {
    for object in objects(&values(), "ours") {
        let label = object.json.pointer("/metadata/labels/app.kubernetes.io~1managed-by");
        assert_eq!(label, Some(&json!("cloudtaser")), "{} {}", object.kind(), object.name());
    }
}

#[test]
fn selectors_select_the_pods_of_their_program_and_no_others() {
    let objects = objects(&values(), "ours");
    for (kind, name) in [("Deployment", OPERATOR), ("DaemonSet", AGENT)] {
        let object = of_kind(&objects, kind, name);
        let labels = object.pointer("/spec/template/metadata/labels").unwrap();
        let selector = object.pointer("/spec/selector/matchLabels").unwrap().as_object().unwrap();
        assert!(selector.iter().all(|(key, value)| labels.get(key) == Some(value)));
        assert!(selector.values().any(|value| value == name), "{selector:?}");
    }
    let service = of_kind(&objects, "Service", OPERATOR);
    assert_eq!(
        service.pointer("/spec/selector"),
        of_kind(&objects, "Deployment", OPERATOR).pointer("/spec/selector/matchLabels")
    );
}

/// The restricted Pod Security Standard, as far as a pod template can break it.
fn restricted(pod: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    for field in ["hostPID", "hostIPC", "hostNetwork"] {
        if pod.get(field) == Some(&json!(true)) {
            broken.push(field.to_owned());
        }
    }
    let at = |value: &Value, pointer: &str| value.pointer(pointer).cloned().unwrap_or_default();
    let own = at(pod, "/securityContext");
    for volume in at(pod, "/volumes").as_array().into_iter().flatten() {
        let allowed = ["configMap", "downwardAPI", "emptyDir", "projected", "secret"];
        if !allowed.iter().any(|kind| volume.get(kind).is_some()) {
            broken.push(format!("volume {}", volume["name"]));
        }
    }
    for container in pod["containers"].as_array().unwrap() {
        let context = at(container, "/securityContext");
        let inherited = |field: &str| context.get(field).or_else(|| own.get(field)).cloned();
        let rules = [
            ("privileged", context.get("privileged") != Some(&json!(true))),
            ("escalation", context["allowPrivilegeEscalation"] == json!(false)),
            ("drop", at(&context, "/capabilities/drop") == json!(["ALL"])),
            ("add", at(&context, "/capabilities/add").is_null()),
            ("nonroot", inherited("runAsNonRoot") == Some(json!(true))),
            ("user", inherited("runAsUser") != Some(json!(0))),
            ("seccomp", inherited("seccompProfile") == Some(json!({ "type": "RuntimeDefault" }))),
        ];
        broken.extend(rules.iter().filter(|rule| !rule.1).map(|rule| rule.0.to_owned()));
    }
    broken
}

#[test]
fn the_operator_passes_the_restricted_standard_that_its_namespace_enforces() {
    let objects = objects(&values(), "ours");
    let pod = |kind, name| of_kind(&objects, kind, name).pointer("/spec/template/spec").unwrap();
    assert_eq!(restricted(pod("Deployment", OPERATOR)), [""; 0]);
    assert!(!restricted(pod("DaemonSet", AGENT)).is_empty(), "the judge can say no");
    let enforced = |name: &str| {
        of_kind(&objects, "Namespace", name)
            .pointer("/metadata/labels/pod-security.kubernetes.io~1enforce")
            .unwrap()
            .clone()
    };
    assert_eq!(enforced("ours"), "restricted");
    assert_eq!(enforced(AGENT_NAMESPACE), "privileged");
}

#[test]
fn the_operators_root_cannot_be_written_and_has_a_numeric_user() {
    let objects = objects(&values(), "ours");
    let pod = of_kind(&objects, "Deployment", OPERATOR).pointer("/spec/template/spec").unwrap();
    assert!(pod["securityContext"]["runAsUser"].as_u64().unwrap() > 0);
    assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], json!(true));
}

#[test]
fn the_agent_has_no_token_and_no_rights() {
    let objects = objects(&values(), "ours");
    let pod = of_kind(&objects, "DaemonSet", AGENT).pointer("/spec/template/spec").unwrap();
    assert_eq!(pod["automountServiceAccountToken"], json!(false));
    let rights = objects.iter().filter(|o| o.kind().ends_with("Binding"));
    for binding in rights {
        assert_eq!(binding.json["subjects"][0]["name"], OPERATOR, "{}", binding.json);
    }
}

#[test]
fn a_dead_operator_blocks_opted_in_pods_and_nothing_else() {
    let objects = objects(&choices()[2], "ours");
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let webhook = &of_kind(&objects, kind, WEBHOOKS)["webhooks"][0];
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert_eq!(
            webhook["objectSelector"]["matchLabels"],
            json!({ "cloudtaser.io/inject": "true" })
        );
        assert_eq!(webhook["sideEffects"], "None");
        assert_eq!(webhook["timeoutSeconds"], 9);
        let excluded = webhook["namespaceSelector"].to_string();
        for namespace in ["ours", "other", "team-a"] {
            assert!(excluded.contains(&format!("\"{namespace}\"")), "{excluded}");
        }
        for rule in webhook["rules"].as_array().unwrap() {
            assert!(rule["resources"][0].as_str().unwrap().starts_with("pods"), "{rule}");
        }
    }
    let defaults = super::objects(&values(), "ours");
    let webhook = of_kind(&defaults, "MutatingWebhookConfiguration", WEBHOOKS).to_string();
    assert!(webhook.contains("\"kube-system\""));
}

#[test]
fn an_installation_never_applies_the_ca_bundle() {
    for object in objects(&values(), "ours") {
        assert!(!object.json.to_string().contains("caBundle"), "it belongs to the operator");
    }
}

#[test]
fn webhooks_are_applied_last() {
    let objects = objects(&values(), "ours");
    let first = objects.iter().position(|o| o.kind().ends_with("WebhookConfiguration")).unwrap();
    assert!(objects[first..].iter().all(|o| o.kind().ends_with("WebhookConfiguration")));
    assert_eq!(objects[0].kind(), "Namespace");
}

/// What the operator does on a cluster: (what fails otherwise, verb, group, resource, name, where).
const NEEDS: &[(&str, &str, &str, &str, &str, &str)] = &[
    ("caBundle of mutation", "get", HOOKS, "mutatingwebhookconfigurations", WEBHOOKS, ""),
    ("caBundle of mutation", "patch", HOOKS, "mutatingwebhookconfigurations", WEBHOOKS, ""),
    ("caBundle of validation", "get", HOOKS, "validatingwebhookconfigurations", WEBHOOKS, ""),
    ("caBundle of validation", "patch", HOOKS, "validatingwebhookconfigurations", WEBHOOKS, ""),
    ("first leader", "create", "coordination.k8s.io", "leases", "", "ours"),
    ("leader", "get", "coordination.k8s.io", "leases", OPERATOR, "ours"),
    ("leader stays", "update", "coordination.k8s.io", "leases", OPERATOR, "ours"),
    ("authorities of replicas", "list", "coordination.k8s.io", "leases", "", "ours"),
    ("a replica leaves", "delete", "coordination.k8s.io", "leases", "a-pod", "ours"),
    ("pull secret of a pod", "get", "", "secrets", "regcred", "any"),
    ("pull secret of an account", "get", "", "serviceaccounts", "default", "any"),
    ("the cluster's key", "get", "", "secrets", "cloudtaser-cluster", "ours"),
    ("a new certificate", "patch", "", "secrets", "cloudtaser-cluster", "ours"),
    ("an invitation", "get", "", "secrets", "cloudtaser-invitation", "ours"),
    ("an invitation that was used", "delete", "", "secrets", "cloudtaser-invitation", "ours"),
    ("who issues tokens", "get", "", "/.well-known/openid-configuration", "", ""),
    ("by which keys", "get", "", "/openid/v1/jwks", "", ""),
    ("pods that run unwrapped", "list", "", "pods", "", "any"),
    ("their events", "create", "", "events", "", "any"),
];

const HOOKS: &str = "admissionregistration.k8s.io";

/// What it must never be able to do.
const NEVER: &[(&str, &str, &str, &str, &str)] = &[
    ("watch", "", "secrets", "", "any"),
    ("list", "", "secrets", "", "any"),
    ("create", "", "secrets", "", "ours"),
    ("patch", "", "secrets", "another", "ours"),
    ("patch", "", "secrets", "cloudtaser-invitation", "ours"),
    ("delete", "", "secrets", "cloudtaser-cluster", "ours"),
    ("patch", "", "secrets", "cloudtaser-cluster", "any"),
    ("create", "", "serviceaccounts/token", "default", "any"),
    ("get", "", "pods", "x", "any"),
    ("create", "", "pods", "", "any"),
    ("patch", "", "pods", "x", "any"),
    ("create", "", "pods/exec", "x", "any"),
    ("patch", "apps", "deployments", "x", "any"),
    ("patch", HOOKS, "mutatingwebhookconfigurations", "another", ""),
    ("create", HOOKS, "mutatingwebhookconfigurations", "", ""),
    ("update", "coordination.k8s.io", "leases", OPERATOR, "kube-system"),
    ("escalate", "rbac.authorization.k8s.io", "clusterroles", "x", ""),
    ("impersonate", "", "users", "x", ""),
    ("get", "", "/metrics", "", ""),
    ("get", "", "/logs/", "", ""),
];

/// Whether RBAC lets it pass, as the API server decides.
fn allows(
    roles: &[Value],
    verb: &str,
    group: &str,
    resource: &str,
    name: &str,
    place: &str,
) -> bool {
    roles.iter().any(|role| {
        let here = role["kind"] == "ClusterRole" || role["metadata"]["namespace"] == place;
        here && role["rules"].as_array().unwrap().iter().any(|rule| {
            let has = |field: &str, wanted: &str| {
                let all = rule[field].as_array().into_iter().flatten();
                all.clone().any(|each| each == wanted || each == "*")
            };
            if resource.starts_with('/') {
                return has("verbs", verb) && has("nonResourceURLs", resource);
            }
            let names = rule["resourceNames"].as_array();
            has("verbs", verb)
                && has("apiGroups", group)
                && has("resources", resource)
                && names.is_none_or(|names| names.iter().any(|each| each == name))
        })
    })
}

fn roles(values: &Values) -> Vec<Value> {
    let objects = objects(values, "ours");
    objects.into_iter().filter(|o| o.kind().ends_with("Role")).map(|o| o.json).collect()
}

#[test]
fn each_rule_is_needed_and_what_fails_without_it_is_named() {
    let all = roles(&choices()[2]);
    let fails = |roles: &[Value]| {
        NEEDS
            .iter()
            .filter(|(_, verb, group, resource, name, place)| {
                !allows(roles, verb, group, resource, name, place)
            })
            .map(|need| need.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(fails(&all), [""; 0]);
    let mut removed = 0;
    for (at, role) in all.iter().enumerate() {
        for rule in 0..role["rules"].as_array().unwrap().len() {
            let mut fewer = all.clone();
            fewer[at]["rules"].as_array_mut().unwrap().remove(rule);
            assert!(!fails(&fewer).is_empty(), "nothing needs {}", role["rules"][rule]);
            removed += 1;
        }
    }
    assert_eq!(removed, grants().len());
    for grant in grants() {
        assert!(grant.why.len() > 20 && grant.without.len() > 20, "{grant:?}");
    }
}

#[test]
fn nothing_that_is_not_needed_is_allowed() {
    for values in choices() {
        let roles = roles(&values);
        for (verb, group, resource, name, place) in NEVER {
            assert!(!allows(&roles, verb, group, resource, name, place), "{verb} {resource}");
        }
        assert!(!json!(roles).to_string().contains('*'));
    }
    for place in ["any", "ours"] {
        assert!(!allows(&roles(&values()), "get", "", "secrets", "x", place), "not unless asked");
        let own = "cloudtaser-cluster";
        assert!(!allows(&roles(&values()), "get", "", "secrets", own, place), "not unless asked");
        let bridged = parsed("bridge: { enabled: true }");
        assert!(!allows(&roles(&bridged), "get", "", "secrets", "x", place), "two, and no others");
        assert!(!allows(&roles(&values()), "list", "", "pods", "", place), "not unless asked");
        let keys = "/openid/v1/jwks";
        assert!(!allows(&roles(&values()), "get", "", keys, "", place), "not without a bridge");
        assert!(!allows(&roles(&values()), "create", "", "events", "", place), "not unless asked");
    }
}

#[test]
fn slips_in_values_are_errors_that_name_them() {
    for (yaml, named) in [
        ("operater: {}", "operater"),
        ("operator: { replicas: 0 }", "must be from 1 to 9"),
        ("pods: { require: [memory=solid] }", "memory=sealed"),
        ("webhook: { timeoutSeconds: 31 }", "must be from 1 to 30"),
        ("images: { agent: 'a b' }", "is no image"),
        ("openbao: { servers: [{ name: a, address: 'http://bao' }] }", "is no address"),
        ("agent: { resources: { limits: { memory: 64MB } } }", "is no quantity"),
        ("agent: { namespace: Up }", "is no name"),
        ("bridge: { key: 'ed25519:x' }", "is no key of a bridge"),
        ("bridge: { broker: 'broker' }", "is no address of a broker"),
    ] {
        let error = serde_saphyr::from_str::<Values>(yaml).unwrap_err().to_string();
        assert!(error.contains(named), "{yaml}: {error}");
    }
}

#[test]
fn the_chart_gives_what_install_gives() {
    let chart = chart("0.1.0").unwrap();
    for values in choices() {
        let mut given = serde_json::to_value(&values).unwrap();
        given["global"] = json!({});
        let rendered = evaluate::render(&chart, &given, "ours");
        let mut expected: Vec<Value> =
            objects(&values, "ours").into_iter().map(|o| o.json).collect();
        // Helm makes the release's namespace, with `--create-namespace`.
        expected.retain(|o| !(o["kind"] == "Namespace" && o["metadata"]["name"] == "ours"));
        let mut rendered = rendered;
        for object in rendered.iter_mut().chain(&mut expected) {
            // A digest of all values, which in a chart have fields of Helm's own.
            let annotations = object.pointer_mut("/spec/template/metadata/annotations");
            if let Some(digest) = annotations.and_then(|all| all.get_mut("cloudtaser.io/values")) {
                assert_eq!(digest.as_str().unwrap().len(), 64);
                *digest = "".into();
            }
        }
        let sorted = |mut all: Vec<Value>| {
            all.sort_by_key(|o| (o["kind"].to_string(), o["metadata"].to_string()));
            all
        };
        assert_eq!(sorted(rendered), sorted(expected));
    }
}

#[test]
fn the_charts_own_values_are_the_defaults() {
    let chart = chart("0.1.0").unwrap();
    let values: Value = serde_saphyr::from_str(&chart["values.yaml"]).unwrap();
    for image in ["agent", "operator", "wrapper"] {
        assert_eq!(values["images"][image], "", "nobody named one yet");
    }
    let parsed: Values = serde_json::from_value(values).unwrap();
    assert_eq!(parsed, Values::default());
}

#[test]
fn the_operators_configuration_is_toml_with_what_was_chosen() {
    let objects = objects(&choices()[1], "ours");
    let text = of_kind(&objects, "ConfigMap", OPERATOR)["data"]["operator.toml"].as_str().unwrap();
    let read: toml::Table = text.parse().unwrap();
    let read = serde_json::to_value(read).unwrap();
    assert_eq!(read["wrapper"]["image"], "registry.example/cloudtaser/cloudtaser-wrapper:0.1.0");
    assert_eq!(read["token"]["audience"], "cloudtaser");
    assert_eq!(read["registry"], json!({ "hosts": [], "pull_secrets": false }));
    assert_eq!(read["pods"], json!({ "require": [], "watch": false }));
    assert_eq!(
        read["server"][0],
        json!({ "name": "a", "address": "https://a:8200",
        "ca": "-----BEGIN\nx\n" })
    );
    assert_eq!(
        read["server"][1],
        json!({ "name": "b", "address": "https://b",
        "namespace": "n \\\" é", "spki_pin": "sha256//x=", "server_name": "s", "auth_mount": "m" })
    );
}

#[test]
fn another_value_is_another_pod_of_the_operator() {
    let digest = |values: &Values| {
        let objects = objects(values, "ours");
        of_kind(&objects, "Deployment", OPERATOR)["spec"]["template"]["metadata"].clone()
    };
    assert_ne!(digest(&choices()[0]), digest(&choices()[1]));
    assert_eq!(digest(&choices()[1]), digest(&choices()[1]));
}

#[test]
fn every_expression_of_the_chart_is_about_a_value_that_is_there() {
    let chart = chart("0.1.0").unwrap();
    let values: Value = serde_saphyr::from_str(&chart["values.yaml"]).unwrap();
    for (name, text) in &chart {
        for piece in text.split(".Values.").skip(1) {
            let path = piece.split([' ', '}']).next().unwrap();
            let found = path.split('.').try_fold(&values, |value, key| value.get(key));
            assert!(found.is_some(), "{name}: {path}");
        }
    }
}

#[test]
fn registries_are_vouched_for_by_a_file_beside_the_configuration() {
    assert!(values().registry.hosts.is_empty() && !values().registry.lacks_authorities());
    let asked = objects(&choices()[2], "ours");
    let data = &of_kind(&asked, "ConfigMap", OPERATOR)["data"];
    let read: toml::Table = data["operator.toml"].as_str().unwrap().parse().unwrap();
    let file = read["registry"]["ca_file"].as_str().unwrap();
    assert_eq!(file, "/etc/cloudtaser/registry-ca.pem");
    assert!(data["registry-ca.pem"].as_str().unwrap().starts_with("-----BEGIN"));
    let none = parsed("registry: { hosts: [docker.io] }");
    assert!(none.registry.lacks_authorities() && !choices()[2].registry.lacks_authorities());
}
