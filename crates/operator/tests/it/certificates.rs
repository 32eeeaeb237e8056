//! Certificates: made, announced, trusted, renewed, forgotten.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cloudtaser_e2e::{cluster::ask, until};
use nix::sys::signal::Signal;
use serde_json::json;

use super::support::*;

#[test]
fn a_replica_is_ready_when_the_api_server_trusts_it_and_not_before() {
    let cluster = cluster();
    let mutating = cluster.get(&configuration("mutating")).unwrap();
    cluster.remove(&configuration("mutating"));
    let operator = Operator::start(&cluster, "op-0", &[]);
    thread::sleep(Duration::from_millis(700));
    assert!(!operator.is_ready(), "there is no configuration yet");
    cluster.put(&configuration("mutating"), &mutating);
    operator.wait_until_ready();
    assert_eq!(bundle(&cluster, "mutating"), bundle(&cluster, "validating"));
    assert_eq!(authorities(&cluster), 1);
}

#[test]
fn from_cold_to_ready_nothing_is_waited_for() {
    let cluster = cluster();
    let started = Instant::now();
    let operator = Operator::start(&cluster, "op-0", &[]);
    operator.wait_until_ready();
    println!("cold start to ready: {:?}", started.elapsed());
    assert_eq!(operator.metric("cloudtaser_operator_leader"), 1.0);
}

#[test]
fn two_replicas_are_trusted_with_one_writer_and_no_common_key() {
    let cluster = cluster();
    let first = Operator::start(&cluster, "op-0", &[]);
    first.wait_until_ready();
    let second = Operator::start(&cluster, "op-1", &[]);
    second.wait_until_ready();
    assert_eq!(authorities(&cluster), 2);
    assert_eq!(first.metric("cloudtaser_operator_leader"), 1.0);
    assert_eq!(second.metric("cloudtaser_operator_leader"), 0.0);
    for operator in [&first, &second] {
        cluster.endpoints(SERVICE, &[operator.reviews]);
        cluster.create_pod(&pod("p")).unwrap();
    }
    assert_eq!(cluster.forbidden(), []);
}

#[test]
fn a_leader_that_stops_hands_over_at_once_and_is_trusted_no_longer() {
    let cluster = cluster();
    let mut first = Operator::start(&cluster, "op-0", &[]);
    first.wait_until_ready();
    let second = Operator::start(&cluster, "op-1", &[]);
    second.wait_until_ready();
    assert_eq!(first.stop(), 0);
    until("the other leads", PATIENCE, || {
        (second.metric("cloudtaser_operator_leader") >= 1.0).then_some(())
    });
    until("one authority", PATIENCE, || (authorities(&cluster) == 1).then_some(()));
    let replicas: Vec<_> =
        cluster.paths().into_iter().filter(|path| path.contains("replica-")).collect();
    assert_eq!(replicas, [format!("{LEASES}/replica-op-1")]);
    cluster.endpoints(SERVICE, &[second.reviews]);
    cluster.create_pod(&pod("p")).unwrap();
}

#[test]
fn what_somebody_else_writes_into_the_bundle_is_set_right() {
    let cluster = cluster();
    // A short life, so that it looks often.
    let operator = Operator::start(&cluster, "op-0", &["--certificate-lifetime=24s"]);
    operator.wait_until_ready();
    cluster.endpoints(SERVICE, &[operator.reviews]);
    for kind in ["mutating", "validating"] {
        let mut object = cluster.get(&configuration(kind)).unwrap();
        object["webhooks"][0]["clientConfig"]["caBundle"] = json!("Cg==");
        cluster.put(&configuration(kind), &object);
    }
    assert!(cluster.create_pod(&pod("p")).is_err());
    until("the bundle is back", PATIENCE, || cluster.create_pod(&pod("p")).ok());
    until("all writes are counted", PATIENCE, || {
        let writes = operator.metric("cloudtaser_operator_ca_bundle_writes_total");
        (writes >= 4.0).then_some(())
    });
}

#[test]
fn an_api_server_that_is_away_for_a_while_changes_nothing_for_reviews() {
    let (cluster, operator) = ready();
    let trusted = bundle(&cluster, "mutating");
    cluster.fail(true);
    let review = fixture("1-create-p1");
    for _ in 0..5 {
        let answer = ask(operator.reviews, SERVICE, trusted.as_bytes(), "/mutate", &review);
        assert_eq!(answer.unwrap().0, 200);
        thread::sleep(Duration::from_millis(100));
    }
    assert!(operator.is_ready());
    cluster.fail(false);
}

#[test]
fn certificates_change_under_load_without_one_failed_review() {
    let cluster = Arc::new(cluster());
    let lifetime = "--certificate-lifetime=6s";
    let operators = [("op-0", lifetime), ("op-1", lifetime)]
        .map(|(pod, l)| Operator::start(&cluster, pod, &[l]));
    operators.iter().for_each(Operator::wait_until_ready);
    let addresses = operators.each_ref().map(|operator| operator.reviews);
    cluster.endpoints(SERVICE, &addresses);
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = addresses
        .into_iter()
        .cycle()
        .take(4)
        .map(|address| {
            let (cluster, stop) = (Arc::clone(&cluster), Arc::clone(&stop));
            let asked = Arc::clone(&asked);
            thread::spawn(move || {
                let review = fixture("3-create-generated");
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // A handshake for each, with what the API server trusts at this instant.
                    let trusted = bundle(&cluster, "mutating");
                    match ask(address, SERVICE, trusted.as_bytes(), "/mutate", &review) {
                        Ok((200, _)) => {}
                        other => failures.push(format!("{other:?}")),
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        })
        .collect();
    until("three rotations of each", Duration::from_secs(60), || {
        let rotations =
            operators.iter().map(|o| o.metric("cloudtaser_operator_certificate_rotations_total"));
        rotations.into_iter().all(|count| count >= 3.0).then_some(())
    });
    stop.store(true, Ordering::Relaxed);
    let failures: Vec<String> =
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    println!("{} reviews, {} failed", asked.load(Ordering::Relaxed), failures.len());
    assert_eq!(failures, [""; 0]);
    assert!(asked.load(Ordering::Relaxed) > 100);
}

#[test]
fn a_replica_that_was_killed_is_forgotten_when_its_lease_stood_still() {
    let cluster = cluster();
    let first = Operator::start(&cluster, "op-0", &[]);
    first.wait_until_ready();
    let second = Operator::start(&cluster, "op-1", &[]);
    second.wait_until_ready();
    second.signal(Signal::SIGKILL);
    assert_eq!(authorities(&cluster), 2);
    until("one authority", Duration::from_secs(50), || (authorities(&cluster) == 1).then_some(()));
    assert!(first.is_ready());
}

#[test]
fn each_rule_of_the_role_is_needed() {
    for (at, rule) in rules().into_iter().enumerate() {
        // A replica that ends takes its Lease away: seen at the end, not at the start.
        if rule.method == "DELETE" {
            continue;
        }
        let cluster = cluster();
        let less: Vec<_> =
            rules().into_iter().enumerate().filter(|(n, _)| *n != at).map(|(_, r)| r).collect();
        cluster.allow_only(less);
        let operator = Operator::start(&cluster, "op-0", &["--certificate-lifetime=12s"]);
        until(&format!("{rule:?} is missed"), PATIENCE, || {
            cluster.forbidden().iter().any(|(method, _)| method == rule.method).then_some(())
        });
        drop(operator);
    }
}
