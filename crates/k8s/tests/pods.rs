//! Recorded questions of a real API server, and generated pods: what comes out is a pod that the
//! API server takes, nothing of the user's is lost, and a second round changes nothing.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};

use cloudtaser_core::names::{WRAPPER, kubernetes as names};
use cloudtaser_k8s::{
    Config, Entrypoint, ImageRequest, ImageResolver, Review, image::NoRegistry, inject,
    inject::verify,
};
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Every image starts `/entry serve`.
struct Images;

impl ImageResolver for Images {
    fn entrypoint(&self, _request: &ImageRequest) -> Result<Entrypoint, String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Ok(Entrypoint { entrypoint: words(&["/entry"]), cmd: words(&["serve"]) })
    }
}

fn config() -> Config {
    serde_json::from_value::<Config>(json!({
        "wrapper": {"image": "registry.example/wrapper@sha256:00", "pull_policy": "IfNotPresent"},
        "server": [{"name": "main", "address": "https://bao.example:8200", "ca": "-----BEGIN CERTIFICATE-----"}],
    }))
    .unwrap()
    .checked()
    .unwrap()
}

fn apply(pod: &Value) -> Value {
    let injection = inject(pod, &config(), &Images).unwrap();
    let mut after = pod.clone();
    let patch = serde_json::to_value(&injection.patch).unwrap();
    let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
    json_patch::patch(&mut after, &patch).unwrap();
    after
}

/// What the API server does between the two calls: its ServiceAccount plugin mounts the token into
/// the container that we added, and defaults are filled in.
fn as_the_server_leaves_it(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let container = &mut pod["spec"]["initContainers"][0];
    container["terminationMessagePath"] = json!("/dev/termination-log");
    container["terminationMessagePolicy"] = json!("File");
    container["volumeMounts"].as_array_mut().unwrap().push(json!({
        "name": "kube-api-access-x", "readOnly": true,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    }));
    for volume in pod["spec"]["volumes"].as_array_mut().unwrap() {
        if let Some(projected) = volume.get_mut("projected") {
            projected["defaultMode"] = json!(420);
        }
    }
    pod
}

fn recorded(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/admission/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

const RECORDED: [&str; 4] =
    ["1-create-p1", "2-create-p1", "3-create-generated", "4-create-generated"];

fn answer(review: &Value) -> Value {
    let review = Review::parse(&serde_json::to_vec(review).unwrap()).unwrap();
    serde_json::from_slice(&review.mutate(&config(), &Images).to_json()).unwrap()
}

#[test]
fn recorded_questions_about_pods_that_did_not_ask_are_answered_without_a_patch() {
    for name in RECORDED {
        let review = recorded(name);
        let answer = answer(&review);
        let uid = review["request"]["uid"].clone();
        assert_eq!(answer["response"], json!({"uid": uid, "allowed": true}), "{name}");
    }
}

#[test]
fn recorded_questions_about_pods_that_asked_get_a_patch_that_fits() {
    for name in RECORDED {
        let mut review = recorded(name);
        review["request"]["object"]["metadata"]["labels"][names::INJECT] = json!("true");
        let answer = answer(&review);
        assert_eq!(answer["response"]["allowed"], true, "{name}: {answer}");
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
        let patch = answer["response"]["patch"].as_str().unwrap();
        let patch = data_encoding::BASE64.decode(patch.as_bytes()).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        let before = review["request"]["object"].clone();
        let mut after = before.clone();
        json_patch::patch(&mut after, &patch).unwrap();
        holds(&before, &after);
        review["request"]["object"] = as_the_server_leaves_it(&after);
        let second = self::answer(&review);
        assert_eq!(second["response"]["patch"], Value::Null, "{name}: {second}");
        let review = Review::parse(&serde_json::to_vec(&review).unwrap()).unwrap();
        assert!(review.validate(&config()).outcome.is_ok());
    }
}

#[test]
fn a_pod_that_the_webhook_did_not_see_is_refused_with_the_reason() {
    let mut review = recorded("3-create-generated");
    review["request"]["object"]["metadata"]["labels"][names::INJECT] = json!("true");
    let review = Review::parse(&serde_json::to_vec(&review).unwrap()).unwrap();
    let answer: Value = serde_json::from_slice(&review.validate(&config()).to_json()).unwrap();
    assert_eq!(answer["response"]["allowed"], false);
    let message = answer["response"]["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("cloudtaser: "), "{message}");
}

#[test]
fn questions_that_are_none_are_errors_and_updates_are_let_through() {
    for broken in ["", "{}", "[]", "null", "{\"apiVersion\":\"admission.k8s.io/v1\"}"] {
        assert!(Review::parse(broken.as_bytes()).is_err(), "{broken}");
    }
    let mut review = recorded("1-create-p1");
    review["apiVersion"] = json!("admission.k8s.io/v1beta1");
    assert!(Review::parse(&serde_json::to_vec(&review).unwrap()).is_err());
    let mut review = recorded("1-create-p1");
    review["request"]["resource"]["resource"] = json!("secrets");
    assert!(Review::parse(&serde_json::to_vec(&review).unwrap()).is_err());
    let mut review = recorded("1-create-p1");
    review["request"]["object"]["metadata"]["labels"] = json!({names::INJECT: "true"});
    review["request"]["operation"] = json!("UPDATE");
    assert_eq!(answer(&review)["response"]["patch"], Value::Null);
}

#[test]
fn nothing_that_is_written_holds_a_value() {
    let mut review = recorded("1-create-p1");
    let object = &mut review["request"]["object"];
    object["metadata"]["labels"][names::INJECT] = json!("true");
    object["spec"]["containers"][0]["env"] = json!([
        {"name": "PASSWORD", "value": "vault:secret/data/db#password"}]);
    let answer = answer(&review);
    let patch = answer["response"]["patch"].as_str().unwrap();
    let patch = data_encoding::BASE64.decode(patch.as_bytes()).unwrap();
    let patch = String::from_utf8(patch).unwrap();
    assert!(!patch.contains("secret/data/db"), "references stay where they are: {patch}");
    assert!(patch.contains(WRAPPER));
}

/// All that must hold of a pod and what became of it.
fn holds(before: &Value, after: &Value) {
    strict(after);
    unique_and_mounted(before, after);
    nothing_lost(before, after);
    assert_eq!(quality(before), quality(after), "quality of service");
    assert_eq!(verify(after, &config()), Ok(()));
    assert_eq!(verify(&as_the_server_leaves_it(after), &config()), Ok(()));
    let second = inject(&as_the_server_leaves_it(after), &config(), &NoRegistry).unwrap();
    assert!(second.patch.is_empty(), "{:?}", second.patch);
}

/// The types of the API know every field that is there.
fn strict(pod: &Value) {
    let typed: Pod = serde_json::from_value(pod.clone()).unwrap();
    assert_eq!(without_empty(&serde_json::to_value(typed).unwrap()), without_empty(pod));
}

/// `{}`, `[]` and `null` where something may be absent mean the same.
fn without_empty(value: &Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Array(list) => list.is_empty(),
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    match value {
        Value::Array(list) => list.iter().map(without_empty).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), without_empty(value)))
            .filter(|(_, value)| !is_empty(value))
            .collect(),
        other => other.clone(),
    }
}

fn containers<'a>(pod: &'a Value, list: &str) -> Vec<&'a Value> {
    pod["spec"][list].as_array().map(|list| list.iter().collect()).unwrap_or_default()
}

fn all_containers(pod: &Value) -> Vec<&Value> {
    [containers(pod, "initContainers"), containers(pod, "containers")].concat()
}

fn unique_and_mounted(before: &Value, pod: &Value) {
    let was_loose = |name: &str| {
        let mounts = all_containers(before).into_iter().flat_map(|c| c["volumeMounts"].as_array());
        mounts.flatten().any(|mount| mount["name"] == name)
    };
    let volumes: Vec<_> = pod["spec"]["volumes"].as_array().into_iter().flatten().collect();
    let volume_names: BTreeSet<_> = volumes.iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(volume_names.len(), volumes.len(), "volume names");
    let all = all_containers(pod);
    let container_names: BTreeSet<_> = all.iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(container_names.len(), all.len(), "container names");
    for container in all {
        let mounts: Vec<_> = container["volumeMounts"].as_array().into_iter().flatten().collect();
        let paths: BTreeSet<_> = mounts.iter().map(|m| m["mountPath"].as_str().unwrap()).collect();
        assert_eq!(paths.len(), mounts.len(), "mount paths of {}", container["name"]);
        for mount in mounts {
            let name = mount["name"].as_str().unwrap();
            // In one recorded pod another webhook adds the volume afterwards.
            assert!(volume_names.contains(name) || was_loose(name), "{name} is no volume");
        }
        let env: Vec<_> = container["env"].as_array().into_iter().flatten().collect();
        let plans = env.iter().filter(|e| e["name"] == "CLOUDTASER_PLAN").count();
        assert!(plans <= 1);
    }
}

/// Every member of the user's pod is there with its value; lists are longer, commands have a
/// prefix.
fn nothing_lost(before: &Value, after: &Value) {
    let mut rest = after.clone();
    let spec = rest["spec"].as_object_mut().unwrap();
    let ours = |value: &Value| {
        let name = value["name"].as_str().unwrap_or_default();
        [names::BIN_VOLUME, names::TOKEN_VOLUME, names::DELIVER, "CLOUDTASER_PLAN"].contains(&name)
    };
    for list in ["volumes", "initContainers"] {
        if let Some(list) = spec.get_mut(list).and_then(Value::as_array_mut) {
            list.retain(|value| !ours(value));
        }
    }
    for list in ["initContainers", "containers"] {
        let befores = containers(before, list);
        for (at, container) in
            spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().enumerate()
        {
            for member in ["env", "volumeMounts"] {
                if let Some(list) = container.get_mut(member).and_then(Value::as_array_mut) {
                    list.retain(|value| !ours(value));
                }
            }
            let original = befores[at];
            let is_given = original["command"].as_array().is_some_and(|words| !words.is_empty());
            if let Some(command) = container.get_mut("command").and_then(Value::as_array_mut)
                && command.first() == Some(&json!(names::WRAPPER_PATH))
            {
                command.drain(..3);
                if !is_given {
                    assert_eq!(*command, [json!("/entry")]);
                    command.clear();
                    if original["args"].as_array().is_none_or(Vec::is_empty) {
                        assert_eq!(container["args"], json!(["serve"]));
                        container["args"] = Value::Null;
                    }
                }
            }
            for place in ["livenessProbe", "readinessProbe"] {
                let command = container.pointer_mut(&format!("/{place}/exec/command"));
                if let Some(command) = command.and_then(Value::as_array_mut)
                    && command.first() == Some(&json!(names::WRAPPER_PATH))
                {
                    command.drain(..3);
                }
            }
        }
    }
    rest["metadata"]["annotations"].as_object_mut().unwrap().remove(names::WRAPPED);
    assert_eq!(without_empty(&rest), without_empty(before));
}

/// The class that the API server would give the pod.
fn quality(pod: &Value) -> &'static str {
    let of = |container: &Value, kind: &str| -> BTreeMap<String, Value> {
        let amounts = container.pointer(&format!("/resources/{kind}")).and_then(Value::as_object);
        amounts.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let all = all_containers(pod);
    if all.iter().all(|c| of(c, "limits").is_empty() && of(c, "requests").is_empty()) {
        return "BestEffort";
    }
    let is_whole = |container: &&Value| {
        let (limits, requests) = (of(container, "limits"), of(container, "requests"));
        ["cpu", "memory"].iter().all(|kind| limits.contains_key(*kind))
            && requests.iter().all(|(kind, amount)| limits.get(kind) == Some(amount))
    };
    if all.iter().all(is_whole) { "Guaranteed" } else { "Burstable" }
}

fn maybe(what: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::Null), 2 => what]
}

fn words() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!([])),
        Just(json!(["/app"])),
        Just(json!(["sh", "-c", "exec app \"$HOME\" $(HOST) $$(X)"])),
        proptest::collection::vec("[a-z/$() -]{1,12}", 1..4).prop_map(|words| json!(words)),
    ]
}

fn variables() -> impl Strategy<Value = Value> {
    let one = prop_oneof![
        Just(json!({"name": "PW", "value": "vault:secret/data/db#password"})),
        Just(json!({"name": "URL", "value": "db://${bao:kv/a#u}:${bao:kv/a#p}@h"})),
        Just(json!({"name": "HOST", "value": "h"})),
        Just(json!({"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}})),
        Just(json!({"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})),
    ];
    proptest::collection::btree_map("[A-Z]{2}", one, 0..4).prop_map(|map| {
        let entries = map.into_iter().map(|(suffix, mut entry)| {
            entry["name"] = json!(format!("{}_{suffix}", entry["name"].as_str().unwrap()));
            entry
        });
        entries.collect()
    })
}

fn resources() -> impl Strategy<Value = Value> {
    let amounts = json!({"cpu": "1", "memory": "1Gi"});
    prop_oneof![
        Just(json!({})),
        Just(json!({"requests": {"cpu": "100m"}})),
        Just(json!({"requests": amounts, "limits": amounts})),
    ]
}

fn container(name: String, sidecars: bool) -> impl Strategy<Value = Value> {
    let probe = Just(json!({"exec": {"command": ["check", "-q"]}, "periodSeconds": 7}));
    let mounts = prop_oneof![
        Just(json!([])),
        Just(json!([{"name": "data", "mountPath": "/data", "readOnly": true}])),
    ];
    let security = Just(json!({"runAsUser": 1000, "readOnlyRootFilesystem": true}));
    let ports = Just(json!([{"containerPort": 80, "protocol": "TCP"}]));
    let restart = prop_oneof![Just(Value::Null), Just(json!("Always"))];
    (
        (maybe(words()), maybe(words()), maybe(variables()), maybe(resources())),
        (maybe(probe), maybe(mounts), maybe(security), maybe(ports), restart),
    )
        .prop_map(
            move |((command, args, env, resources), (probe, mounts, security, ports, restart))| {
                let mut container = json!({"name": name, "image": "registry.example/app:1"});
                let members = [
                    ("command", command),
                    ("args", args),
                    ("env", env),
                    ("resources", resources),
                    ("livenessProbe", probe),
                    ("volumeMounts", mounts),
                    ("securityContext", security),
                    ("ports", ports),
                    ("restartPolicy", if sidecars { restart } else { Value::Null }),
                ];
                for (member, value) in members {
                    if !value.is_null() {
                        container[member] = value;
                    }
                }
                container
            },
        )
}

fn list(prefix: &'static str, most: usize, least: usize) -> impl Strategy<Value = Value> {
    (least..=most)
        .prop_flat_map(move |count| {
            (0..count)
                .map(|at| container(format!("{prefix}-{at}"), prefix == "init"))
                .collect::<Vec<_>>()
        })
        .prop_map(Value::Array)
}

fn pod() -> impl Strategy<Value = Value> {
    let security = prop_oneof![
        Just(json!({})),
        Just(json!({"runAsUser": 0})),
        Just(json!({"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 2000})),
    ];
    let annotations = prop_oneof![
        Just(Value::Null),
        Just(json!({"team": "a/b~c"})),
        Just(json!({"cloudtaser.io/from": "secret/data/app", "cloudtaser.io/probes": "true"})),
        Just(json!({"cloudtaser.io/containers": "*"})),
        Just(
            json!({"vault.security.banzaicloud.io/vault-role": "r", "cloudtaser.io/file.k": "vault:a/b#c"})
        ),
    ];
    (
        list("app", 3, 1),
        list("init", 3, 0),
        any::<bool>(),
        maybe(security),
        annotations,
        any::<bool>(),
    )
        .prop_map(|(apps, inits, is_generated, security, annotations, is_shared)| {
            let mut pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"labels": {names::INJECT: "true", "app": "x"}},
                "spec": {
                    "containers": apps, "restartPolicy": "Always", "serviceAccountName": "app",
                    "volumes": [{"name": "data", "emptyDir": {}}],
                    "tolerations": [{"key": "k", "operator": "Exists"}],
                },
            });
            let name = if is_generated { "generateName" } else { "name" };
            pod["metadata"][name] = json!("p");
            if !annotations.is_null() {
                pod["metadata"]["annotations"] = annotations;
            }
            if inits.as_array().is_some_and(|list| !list.is_empty()) {
                pod["spec"]["initContainers"] = inits;
            }
            if !security.is_null() {
                pod["spec"]["securityContext"] = security;
            }
            if is_shared {
                pod["spec"]["shareProcessNamespace"] = json!(true);
            }
            pod
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_pod_comes_out_whole_and_valid_and_stays_so(before in pod()) {
        holds(&before, &apply(&before));
    }
}

#[test]
fn a_field_of_a_later_version_stays_where_it_is() {
    let before = json!({
        "metadata": {"labels": {names::INJECT: "true"}, "future": {"a": [1]}},
        "spec": {"futureOfSpec": {"b": null}, "containers": [
            {"name": "a", "image": "i", "command": ["x"], "futureOfContainer": 7}]},
    });
    let after = apply(&before);
    assert_eq!(after["metadata"]["future"], before["metadata"]["future"]);
    assert_eq!(after["spec"]["futureOfSpec"], before["spec"]["futureOfSpec"]);
    assert_eq!(after["spec"]["containers"][0]["futureOfContainer"], 7);
}
