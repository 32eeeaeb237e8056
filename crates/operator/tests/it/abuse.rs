//! Whoever reaches the port and speaks nonsense.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use cloudtaser_e2e::{cluster::ask, until};
use serde_json::json;

use super::support::*;

#[test]
fn bodies_that_are_no_review_are_errors_of_the_sender() {
    let (cluster, operator) = ready();
    let trusted = bundle(&cluster, "mutating");
    let ask = |path: &str, body: &serde_json::Value| {
        ask(operator.reviews, SERVICE, trusted.as_bytes(), path, body).unwrap().0
    };
    for body in [json!({}), json!([]), json!(7), json!({"apiVersion": "admission.k8s.io/v1"})] {
        assert_eq!(ask("/mutate", &body), 400, "{body}");
        assert_eq!(ask("/validate", &body), 400, "{body}");
    }
    assert_eq!(ask("/nowhere", &json!({})), 404);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(ask("/mutate", &json!(deep)), 400);
    assert!(operator.is_ready());
}

#[test]
fn a_review_that_is_too_large_is_refused_and_the_next_is_answered() {
    let (cluster, operator) = ready();
    let trusted = bundle(&cluster, "mutating");
    let mut review = fixture("1-create-p1");
    review["request"]["object"]["metadata"]["annotations"]["big"] = json!("x".repeat(8 << 20));
    let large = ask(operator.reviews, SERVICE, trusted.as_bytes(), "/mutate", &review);
    // The refusal may come before the whole body was sent, which ends the connection.
    assert!(large.is_err() || large.unwrap().0 == 413);
    let small = fixture("1-create-p1");
    assert_eq!(
        ask(operator.reviews, SERVICE, trusted.as_bytes(), "/mutate", &small).unwrap().0,
        200
    );
}

#[test]
fn a_pod_of_ten_thousand_containers_is_answered() {
    let (cluster, operator) = ready();
    let trusted = bundle(&cluster, "mutating");
    let mut review = fixture("1-create-p1");
    let object = &mut review["request"]["object"];
    object["metadata"]["labels"] = json!({"cloudtaser.io/inject": "true"});
    let containers: Vec<_> = (0..10_000)
        .map(|at| json!({"name": format!("c{at}"), "image": "i", "command": ["x"]}))
        .collect();
    object["spec"]["containers"] = json!(containers);
    let started = Instant::now();
    let (status, _) =
        ask(operator.reviews, SERVICE, trusted.as_bytes(), "/mutate", &review).unwrap();
    println!("ten thousand containers: {:?}", started.elapsed());
    assert_eq!(status, 200);
}

#[test]
fn those_who_say_nothing_hold_up_nobody() {
    let (cluster, operator) = ready();
    let trusted = bundle(&cluster, "mutating");
    let mut silent: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(operator.reviews).unwrap()).collect();
    for stream in silent.iter_mut().take(50) {
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    }
    let review = fixture("1-create-p1");
    let started = Instant::now();
    assert_eq!(
        ask(operator.reviews, SERVICE, trusted.as_bytes(), "/mutate", &review).unwrap().0,
        200
    );
    assert!(started.elapsed() < Duration::from_secs(3));
    // Each is closed by the time that a handshake may take.
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest);
    }
    until("all are counted", PATIENCE, || {
        let failed = operator.metric("cloudtaser_operator_tls_handshakes_failed_total");
        (failed >= 200.0).then_some(())
    });
}
