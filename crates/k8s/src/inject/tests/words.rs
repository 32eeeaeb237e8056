//! What people read: behind `kubectl apply`, in the event of a ReplicaSet or Job, as a warning.
//!
//! `kubectl get events` and tables of events end at a line's end, so the first line of a refusal has
//! all of it; what follows is the place, with a caret. Warnings are cut after 256 characters.

use super::*;
use crate::review::Review;

fn by_bridge() -> Config {
    let mut config = config();
    config.servers[0].broker = Some("broker:7443".to_owned());
    config.servers[0].bridge_key = Some("ed25519:x".to_owned());
    config
}

/// The answer to the question, as the API server reads it.
fn answer(path: &str, pod: &Value, config: &Config) -> Value {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "operation": "CREATE", "namespace": "n", "object": pod,
            "resource": {"group": "", "version": "v1", "resource": "pods"},
        },
    });
    let review = Review::parse(review.to_string().as_bytes()).unwrap();
    let verdict = match path {
        "mutate" => review.mutate(config, &NoRegistry),
        _ => review.validate(config),
    };
    let answer: Value = serde_json::from_slice(&verdict.to_json()).unwrap();
    answer["response"].clone()
}

fn warned(pod: &Value, config: &Config) -> Vec<String> {
    let response = answer("mutate", pod, config);
    assert_eq!(response["allowed"], true, "{response}");
    let warnings = response["warnings"].as_array().cloned().unwrap_or_default();
    let warnings = warnings.iter().map(|one| one.as_str().unwrap().to_owned());
    warnings.inspect(|one| assert!(!one.ends_with('…'), "it is cut: {one}")).collect()
}

fn with(member: &str, value: Value) -> Value {
    let mut container = app();
    container[member] = value;
    json!({"containers": [container]})
}

#[test]
fn each_refusal_says_in_its_first_line_where_and_what_to_do() {
    let env = |value: &str| with("env", json!([{"name": "PW", "value": value}]));
    let bare = || json!({"containers": [app()]});
    let asked = |name: &str, value: &str| annotated(&[(name, value)], bare());
    let more = |value: &str| {
        json!({"containers": [app(), {"name": "more", "image": "i", "command": ["m"],
            "env": [{"name": "PW", "value": value}]}]})
    };
    let cases = [
        (pod(env("vault:secret/data/db")), "container app: variable PW: ", "#"),
        (pod(with("command", Value::Null)), "container app: ", "cloudtaser.io/command.app"),
        (
            annotated(&[("cloudtaser.io/containers", "app")], more("vault:kv/a#b")),
            "container more: ",
            "name it in cloudtaser.io/containers",
        ),
        (
            pod(json!({"containers": [{"name": "app", "image": "i", "command": ["sh", "$(PW)"],
                "env": [{"name": "PW", "value": "vault:kv/a#b"}]}]})),
            "container app: ",
            "let the program read the variable PW itself",
        ),
        (
            pod(with("command", json!(["/cloudtaser/bin/cloudtaser-wrapper", "run", "--"]))),
            "container app: ",
            "write what the container starts",
        ),
        (asked("cloudtaser.io/server", "https://x"), "annotation cloudtaser.io/server: ", "main"),
        (asked("cloudtaser.io/env.X", "hunter2"), "annotation cloudtaser.io/env.X: ", "vault:"),
        (asked("cloudtaser.io/env.a-b", "vault:kv/a#b"), "annotation ", "letters, digits and _"),
        (asked("cloudtaser.io/probes", "maybe"), "annotation cloudtaser.io/probes: ", "true or"),
        (asked("cloudtaser.io/delivery", "mail"), "annotation ", "one of auto, follow"),
        (asked("cloudtaser.io/containers", "x"), "annotation ", "no container `x`"),
        (
            asked("vault.hashicorp.com/agent-inject-secret-db", "kv/db"),
            "annotation vault.hashicorp.com/agent-inject-secret-db: ",
            "cloudtaser.io/file.NAME: vault:PATH#FIELD",
        ),
    ];
    for (pod, place, fix) in cases {
        let response = answer("mutate", &pod, &config());
        assert_eq!(response["allowed"], false, "{pod}");
        let status = &response["status"];
        assert_eq!((&status["code"], &status["reason"]), (&json!(403), &json!("Forbidden")));
        let message = status["message"].as_str().unwrap();
        let first = message.lines().next().unwrap();
        assert!(first.starts_with(&format!("cloudtaser: {place}")), "{message}");
        assert!(first.contains(fix), "no `{fix}` in: {message}");
        assert!(!message.contains("hunter2") && message.len() < 1024, "{message}");
    }
    let mut none = config();
    none.servers.clear();
    let message = answer("mutate", &pod(bare()), &none)["status"]["message"].clone();
    assert!(message.as_str().unwrap().contains("cloudtaser install --openbao"), "{message}");
}

#[test]
fn who_was_not_wrapped_is_told_so_whatever_else_is_in_the_way() {
    for spec in
        [json!({"containers": [app()]}), json!({"containers": [{"name": "a", "image": "i"}]})]
    {
        let response = answer("validate", &pod(spec), &config());
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains("is not as the injector leaves it"), "{message}");
        assert!(message.contains("kubectl get mutatingwebhookconfigurations"), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn each_warning_is_whole_and_says_what_to_do() {
    let bare = || json!({"containers": [app()]});
    let mut referring = with("readinessProbe", json!({"exec": {"command": ["/probe"]}}));
    referring["containers"][0]["env"] = json!([{"name": "PW", "value": "vault:kv/a#b"}]);
    let asked = |name: &str, value: &str| annotated(&[(name, value)], bare());
    let env = |value: &str| pod(with("env", json!([{"name": "PW", "value": value}])));
    let cases = [
        (asked("cloudtaser.io/rotate-evry", "1m"), "cloudtaser.io/rotate-every is meant?"),
        (asked("cloudtaser.io/colour", "red"), "is not known"),
        (asked("vault.hashicorp.com/ca-cert", "x"), "remove it"),
        (asked("cloudtaser.io/skip-containers", "app"), "cloudtaser.io/containers names those"),
        (pod(json!({"containers": [app()], "shareProcessNamespace": true})), "different users"),
        (pod(json!({"containers": [app()], "hostPID": true})), "leave it out"),
        (pod(referring), "cloudtaser.io/probes: \"true\""),
        (env("vualt:secret/db#password"), "one is vault:PATH#FIELD"),
        (env("op://a/b"), "as it stands"),
    ];
    for (pod, fix) in cases {
        let warnings = warned(&pod, &config());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(fix), "no `{fix}` in: {}", warnings[0]);
    }
}

#[test]
fn the_setting_that_a_pod_of_several_logins_needs_at_the_bridge_is_named_with_its_number() {
    let container = |name: &str| json!({"name": name, "image": "i", "command": ["m"]});
    let init = |name: &str| {
        json!({"name": name, "image": "i", "command": ["m"],
            "env": [{"name": "PW", "value": "vault:kv/a#b"}]})
    };
    let sidecar = |name: &str| {
        let mut sidecar = init(name);
        sidecar["restartPolicy"] = json!("Always");
        sidecar
    };
    let said = |pod: &Value| warned(pod, &by_bridge());
    let none: [String; 0] = [];
    assert_eq!(said(&pod(json!({"containers": [app()]}))), none);
    assert_eq!(said(&pod(json!({"containers": [app()], "initContainers": [init("a")]}))), none);
    for spec in [
        json!({"containers": [app(), container("more")]}),
        json!({"containers": [app()], "initContainers": [sidecar("a")]}),
    ] {
        let warnings = said(&pod(spec.clone()));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("set logins_per_pod = 2 in [release] there"), "{warnings:?}");
        let one = [("cloudtaser.io/containers", "app")];
        if spec.get("initContainers").is_none() {
            assert_eq!(said(&annotated(&one, spec)), none);
        }
    }
    let inits: Vec<Value> = ["a", "b", "c", "d"].map(init).to_vec();
    let warnings = said(&pod(json!({"containers": [app()], "initContainers": inits})));
    assert!(
        warnings[0].contains("restarts_per_pod in [release] there has to be 4"),
        "{warnings:?}"
    );
    let probes = [("cloudtaser.io/probes", "true")];
    assert_eq!(said(&annotated(&probes, json!({"containers": [app()]}))), none, "there is none");
    let probed = with("livenessProbe", json!({"exec": {"command": ["/probe"]}}));
    let warnings = said(&annotated(&probes, probed));
    assert!(warnings[0].contains("restarts_per_pod"), "{warnings:?}");
}
