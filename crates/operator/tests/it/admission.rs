//! Pods on their way through the webhooks.

use std::process::Command;

use cloudtaser_e2e::{Scratch, cluster::ask, compile_go, skip};
use serde_json::json;

use super::support::*;

#[test]
fn an_opted_in_pod_is_wrapped_and_the_second_round_changes_nothing() {
    let (cluster, operator) = ready();
    let pod = cluster.create_pod(&pod("p")).unwrap();
    assert_eq!(pod["metadata"]["annotations"]["cloudtaser.io/wrapped"], "app");
    assert_eq!(pod["spec"]["containers"][0]["command"][0], "/cloudtaser/bin/cloudtaser-wrapper");
    let reviews = "cloudtaser_operator_reviews_total";
    assert!(operator.metric(&format!("{reviews}{{path=\"mutate\",outcome=\"patched\"}}")) >= 1.0);
    assert!(operator.metric(&format!("{reviews}{{path=\"mutate\",outcome=\"unchanged\"}}")) >= 1.0);
}

#[test]
fn pods_that_did_not_ask_are_created_while_every_operator_is_away() {
    let cluster = cluster();
    let mut other = pod("p");
    other["metadata"]["labels"] = json!({"app": "x"});
    assert_eq!(cluster.create_pod(&other), Ok(as_created(&other)));
    let refused = cluster.create_pod(&pod("p")).unwrap_err().0;
    assert!(refused.contains("failed calling webhook"), "{refused}");
}

/// The pod, and the token that the API server mounts by itself.
fn as_created(pod: &serde_json::Value) -> serde_json::Value {
    let cluster = cloudtaser_e2e::cluster::Cluster::start();
    cluster.create_pod(pod).unwrap()
}

#[test]
fn a_pod_that_cannot_be_wrapped_is_refused_with_a_reason_for_its_author() {
    let (cluster, operator) = ready();
    let mut broken = pod("p");
    broken["spec"]["containers"][0]["env"][0]["value"] = json!("vault:secret/data/db");
    let refused = cluster.create_pod(&broken).unwrap_err().0;
    assert!(refused.contains("container app: variable PW"), "{refused}");
    assert_eq!(cluster.get("/api/v1/namespaces/team/pods/p"), None);
    assert!(operator.metric("cloudtaser_operator_refusals_total{kind=\"container\"}") >= 1.0);
    let log = operator.log.lock().unwrap().clone();
    assert!(log.contains("a pod was refused") && !log.contains("secret/data/db"), "{log}");
}

#[test]
fn a_pod_that_another_webhook_unwraps_is_refused_by_the_second_rule() {
    let (cluster, _operator) = ready();
    let configuration_of_mutation = configuration("mutating");
    let mut object = cluster.get(&configuration_of_mutation).unwrap();
    object["webhooks"] = json!([]);
    cluster.put(&configuration_of_mutation, &object);
    let refused = cluster.create_pod(&pod("p")).unwrap_err().0;
    assert!(refused.contains("not as the injector leaves it"), "{refused}");
}

#[test]
fn recorded_reviews_are_answered_over_tls() {
    let (cluster, operator) = ready();
    let trusted = bundle(&cluster, "mutating");
    for name in ["1-create-p1", "2-create-p1", "3-create-generated", "4-create-generated"] {
        let mut review = fixture(name);
        let labels = json!({"cloudtaser.io/inject": "true"});
        review["request"]["object"]["metadata"]["labels"] = labels;
        let (status, answer) =
            ask(operator.reviews, SERVICE, trusted.as_bytes(), "/mutate", &review).unwrap();
        assert_eq!(status, 200);
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        assert_eq!(answer["response"]["patchType"], "JSONPatch", "{name}: {answer}");
    }
}

#[test]
fn nothing_on_the_cluster_holds_a_private_key_or_a_value() {
    let (cluster, _operator) = ready();
    cluster.create_pod(&pod("p")).unwrap();
    let dump = cluster.dump();
    assert!(!dump.contains("PRIVATE KEY"));
    assert!(cluster.paths().iter().all(|path| !path.contains("/secrets")), "{dump}");
    assert_eq!(cluster.forbidden(), []);
}

#[test]
fn the_tls_library_of_the_api_server_accepts_the_certificate() {
    let folder = Scratch::new();
    let Some(client) = compile_go(&folder, "ask.go") else { skip!("go is not installed") };
    let (cluster, operator) = ready();
    let authorities = folder.file("ca.pem", bundle(&cluster, "mutating"), 0o644);
    let ask = |name: &str, authorities: &std::path::Path| {
        let review = fixture("1-create-p1").to_string();
        let question = std::fs::File::open(folder.file("review", review, 0o644)).unwrap();
        let mut client = Command::new(&client);
        client.arg(operator.reviews.to_string()).arg(name).arg(authorities).arg("/mutate");
        let output = client.stdin(question).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(ask(SERVICE, &authorities), "200 HTTP/1.1 true\n");
    let other = ask("other.cloudtaser-system.svc", &authorities);
    assert!(other.contains("certificate is valid for"), "{other}");
    let stranger = cloudtaser_e2e::registry::Registry::start();
    let wrong = folder.file("wrong.pem", stranger.authority(), 0o644);
    let refused = ask(SERVICE, &wrong);
    assert!(refused.contains("unknown authority"), "{refused}");
}
