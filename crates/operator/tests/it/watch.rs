//! Pods that run although nobody wrapped them.

use cloudtaser_e2e::{cluster::Rule, until};
use serde_json::json;

use super::support::*;

const PODS: &str = "/api/v1/pods";

fn watching() -> String {
    format!("{CONFIG}\n[pods]\nwatch = true\n")
}

#[test]
fn a_pod_that_was_created_while_nobody_was_asked_is_counted_and_named() {
    let cluster = cluster();
    let mut rules = rules();
    rules.push(Rule::new("GET", PODS));
    rules.push(Rule::new("POST", "/api/v1/namespaces/team/events"));
    cluster.allow_only(rules);
    let mut early = pod("early");
    early["metadata"]["uid"] = json!("0a1b2c3d-0000-4000-8000-000000000001");
    early["status"] = json!({"phase": "Running"});
    cluster.put(&format!("{PODS}/early"), &early);
    let mut ended = pod("ended");
    ended["status"] = json!({"phase": "Succeeded"});
    cluster.put(&format!("{PODS}/ended"), &ended);
    let mut other = pod("other");
    other["metadata"]["labels"] = json!({"app": "x"});
    cluster.put(&format!("{PODS}/other"), &other);
    let operator = Operator::configured(&cluster, "op-0", &watching(), &[]);
    operator.wait_until_ready();
    until("it is counted", PATIENCE, || {
        let log = operator.log.lock().unwrap().clone();
        log.contains("team/early").then_some(())
    });
    let pods = |standing: &str| {
        operator.metric(&format!("cloudtaser_operator_pods{{standing=\"{standing}\"}}"))
    };
    assert!((pods("unwrapped") - 1.0).abs() < 0.1);
    assert!(pods("wrapped") < 0.1);
    let event = "/api/v1/namespaces/team/events/early.unwrapped-0a1b2c3d";
    let event = until("its event", PATIENCE, || cluster.get(event));
    assert_eq!(event["involvedObject"]["uid"], early["metadata"]["uid"]);
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("RunsUnwrapped")));
    assert!(event["message"].as_str().unwrap().contains("delete it"));
    assert_eq!(cluster.forbidden(), []);
    let log = operator.log.lock().unwrap().clone();
    assert!(!log.contains("team/ended") && !log.contains("team/other"), "{log}");
}

#[test]
fn without_the_setting_no_pod_is_listed_and_without_the_right_reviews_go_on() {
    let (cluster, _operator) = ready();
    assert!(cluster.seen().iter().all(|(_, path)| path != PODS));
    let operator = Operator::configured(&cluster, "op-1", &watching(), &[]);
    operator.wait_until_ready();
    cluster.endpoints(SERVICE, &[operator.reviews]);
    cluster.create_pod(&pod("p")).unwrap();
}
