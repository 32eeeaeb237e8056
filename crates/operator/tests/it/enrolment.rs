//! How a cluster comes to its bridge, stays there, and is put out.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use cloudtaser_e2e::{
    Issuer, Pod, Releases, SHOP, canary,
    cluster::{Cluster, Rule},
    until,
};
use data_encoding::BASE64;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{road::Road, support::*};

/// Also for a Lease of a leader that was killed, on a slow machine.
const LONG: Duration = Duration::from_secs(90);
const SECRETS: &str = "/api/v1/namespaces/cloudtaser-system/secrets";
const KEPT: &str = "/api/v1/namespaces/cloudtaser-system/secrets/cloudtaser-cluster";
const INVITED: &str = "/api/v1/namespaces/cloudtaser-system/secrets/cloudtaser-invitation";

const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";
/// The key of RFC 7515, appendix A.3.
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"one","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

/// A cluster with the empty Secret of an installation, where only what the operator needs is allowed.
fn bridged() -> Cluster {
    let cluster = cluster();
    cluster.allow_only(bridged_rules());
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "type": "cloudtaser.io/cluster",
        "metadata": { "name": "cloudtaser-cluster", "labels": { "a": "b" } } });
    cluster.put(KEPT, &secret);
    publish(&cluster, "https://kubernetes.example", JWKS);
    cluster
}

/// Has the API server say who it is, and by which keys it signs.
fn publish(cluster: &Cluster, issuer: &str, keys: &str) {
    cluster.put(DISCOVERY, &json!({ "issuer": issuer, "jwks_uri": "https://elsewhere/" }));
    cluster.put(KEYS, &serde_json::from_str(keys).unwrap());
}

fn bridged_rules() -> Vec<Rule> {
    let mut rules = rules();
    rules.push(Rule::new("GET", KEPT));
    rules.push(Rule::new("PATCH", KEPT));
    rules.push(Rule::new("GET", INVITED));
    rules.push(Rule::new("DELETE", INVITED));
    rules.push(Rule::new("GET", DISCOVERY));
    rules.push(Rule::new("GET", KEYS));
    rules
}

fn operator(cluster: &Cluster, road: &Road, pod: &str) -> Operator {
    operator_of(cluster, &road.key, pod)
}

fn operator_of(cluster: &Cluster, bridge: &str, pod: &str) -> Operator {
    let config = format!("{CONFIG}\n[bridge]\nkey = \"{bridge}\"\n");
    let more = ["--broker=127.0.0.1:0", "--knock=1s"];
    Operator::configured(cluster, pod, &config, &more)
}

/// Brings an invitation as `cloudtaser install` does.
fn bring(cluster: &Cluster, text: &str) {
    let data = json!({ "invitation": BASE64.encode(text.as_bytes()) });
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "data": data,
        "metadata": { "name": "cloudtaser-invitation" } });
    cluster.put(INVITED, &secret);
}

fn said(cluster: &Cluster) -> Option<Value> {
    let lease = cluster.get(&format!("{LEASES}/cloudtaser-enrolment"))?;
    let text = lease["metadata"]["annotations"]["cloudtaser.io/enrolment"].as_str()?;
    serde_json::from_str(text).ok()
}

fn until_standing(cluster: &Cluster, standing: &str) -> Value {
    until(standing, LONG, || said(cluster).filter(|said| said["standing"] == standing))
}

fn kept(cluster: &Cluster, field: &str) -> Option<String> {
    let text = cluster.get(KEPT)?["data"][field].as_str()?.to_owned();
    String::from_utf8(BASE64.decode(text.as_bytes()).ok()?).ok()
}

/// The first byte of what a broker answers a program that shows a key.
fn knock(broker: SocketAddr) -> Option<u8> {
    let mut stream = TcpStream::connect(broker).ok()?;
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(&[b"CTB1".as_slice(), &[7; 32]].concat()).ok()?;
    let mut answer = [0];
    stream.read_exact(&mut answer).ok()?;
    Some(answer[0])
}

const PASS: Option<u8> = Some(0);
const NOT_ENROLLED: Option<u8> = Some(1);

fn until_it_vouches(operator: &Operator) {
    until("its broker vouches", LONG, || (knock(operator.broker()) == PASS).then_some(()));
}

/// An operator of a cluster that is let in by an invitation that people approved beforehand, and the
/// cluster's key.
fn let_in(cluster: &Cluster, road: &Road) -> (Operator, String) {
    bring(cluster, &road.invite("prod", &["--approved"]));
    let operator = operator(cluster, road, "op-0");
    operator.wait_until_ready();
    let key = text(&until_standing(cluster, "enrolled"), "key");
    until_it_vouches(&operator);
    (operator, key)
}

/// Puts the cluster out, which says so.
fn put_out(cluster: &Cluster, road: &Road, key: &str) {
    road.says("revoke", &[key]);
    let out = until_standing(cluster, "refused");
    assert!(text(&out, "why").contains("revoked"), "{out}");
}

#[test]
fn an_invitation_makes_a_key_that_a_person_lets_in_and_both_replicas_vouch() {
    let (cluster, road) = (bridged(), Road::start());
    let (first, second) = (operator(&cluster, &road, "op-0"), operator(&cluster, &road, "op-1"));
    first.wait_until_ready();
    second.wait_until_ready();
    until_standing(&cluster, "uninvited");
    assert_eq!(knock(first.broker()), NOT_ENROLLED);
    bring(&cluster, &road.invite("prod", &[]));
    let waits = until_standing(&cluster, "pending");
    let key = waits["key"].as_str().unwrap();
    assert_eq!(road.clusters(), [(key.to_owned(), "pending".to_owned())]);
    until("the invitation is gone", LONG, || cluster.get(INVITED).is_none().then_some(()));
    road.says("approve", &[key]);
    let enrolled = until_standing(&cluster, "enrolled");
    assert!(enrolled["good_until"].as_u64().is_some());
    for operator in [&first, &second] {
        until_it_vouches(operator);
        let until = operator.metric("cloudtaser_broker_certificate_not_after_seconds");
        assert!(until > 1.0);
    }
    assert_eq!(cluster.forbidden(), []);
    let secret = cluster.get(KEPT).unwrap();
    assert_eq!(secret["metadata"]["labels"]["a"], "b", "what others set stays");
    assert!(kept(&cluster, "key").unwrap().contains("PRIVATE KEY"));
    // Nowhere else is it.
    let mut dump = cluster.dump();
    dump.retain(|c| c != '\n');
    assert_eq!(dump.matches(secret["data"]["key"].as_str().unwrap()).count(), 1);
    for log in [&first.log, &second.log] {
        assert!(!log.lock().unwrap().contains("PRIVATE"));
    }
}

#[test]
fn whoever_was_approved_beforehand_is_in_at_once_and_survives_every_operator() {
    let (cluster, road) = (bridged(), Road::start());
    bring(&cluster, &road.invite("prod", &["--approved"]));
    let mut first = operator(&cluster, &road, "op-0");
    first.wait_until_ready();
    let enrolled = until_standing(&cluster, "enrolled");
    let key = kept(&cluster, "key").unwrap();
    assert_eq!(first.stop(), 0);
    drop(first);
    let next = operator(&cluster, &road, "op-1");
    next.wait_until_ready();
    until_it_vouches(&next);
    assert_eq!(kept(&cluster, "key").unwrap(), key);
    assert_eq!(road.clusters(), [(text(&enrolled, "key"), "approved".to_owned())]);
    // Another invitation of the same bridge changes nothing, and does not stay.
    bring(&cluster, &road.invite("again", &[]));
    until("it is taken away", LONG, || cluster.get(INVITED).is_none().then_some(()));
    assert_eq!((road.clusters().len(), kept(&cluster, "key").unwrap()), (1, key));
}

#[test]
fn a_bridge_that_dials_the_cluster_lets_it_in_and_puts_it_out_by_a_beacon_in_the_cluster() {
    let (cluster, road) = (bridged(), Road::start_reverse());
    let (_operator, key) = let_in(&cluster, &road);
    // It is asked again and again, by the same way.
    put_out(&cluster, &road, &key);
    assert!(road.has_logged("bridge registered"));
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap().to_owned()
}

#[test]
fn a_cluster_that_is_put_out_says_so_and_comes_back_by_an_invitation_with_another_key() {
    let (cluster, road) = (bridged(), Road::start());
    let (operator, first) = let_in(&cluster, &road);
    put_out(&cluster, &road, &first);
    until("nobody vouches", LONG, || (knock(operator.broker()) == NOT_ENROLLED).then_some(()));
    bring(&cluster, &road.invite("prod", &["--approved"]));
    let second = text(&until_standing(&cluster, "enrolled"), "key");
    assert_ne!(first, second);
    until_it_vouches(&operator);
}

#[test]
fn what_is_no_good_invitation_is_taken_away_with_the_reason() {
    let (cluster, road) = (bridged(), Road::start());
    let other = Road::start();
    let operator = operator(&cluster, &road, "op-0");
    operator.wait_until_ready();
    let good = road.invite("prod", &[]);
    for (text, reason) in [
        ("ctinv1.AAAA", "not whole"),
        (&*other.invite("prod", &[]), "one of the bridge"),
        (&good.to_uppercase(), "no invitation"),
    ] {
        bring(&cluster, text);
        until(reason, LONG, || {
            said(&cluster).filter(|said| said["why"].as_str().is_some_and(|w| w.contains(reason)))
        });
        until("it is gone", LONG, || cluster.get(INVITED).is_none().then_some(()));
        assert!(kept(&cluster, "key").is_none(), "no key was made");
    }
    assert_eq!(road.clusters(), []);
    // One that somebody else has used already.
    let thief = bridged();
    bring(&thief, &good);
    let theirs = self::operator(&thief, &road, "op-0");
    theirs.wait_until_ready();
    until_standing(&thief, "pending");
    bring(&cluster, &good);
    until("the copy is told", LONG, || {
        said(&cluster).filter(|s| s["why"].as_str().is_some_and(|w| w.contains("another key")))
    });
    assert!(kept(&cluster, "key").is_none());
    assert_eq!(road.clusters().len(), 1);
}

#[test]
fn a_bridge_that_is_away_is_waited_for_with_the_invitation_in_hand() {
    let (cluster, mut road) = (bridged(), Road::start());
    let invitation = road.invite("prod", &["--approved"]);
    road.close();
    bring(&cluster, &invitation);
    let operator = operator(&cluster, &road, "op-0");
    operator.wait_until_ready();
    let away = until_standing(&cluster, "troubled");
    let key = text(&away, "key");
    assert!(cluster.get(INVITED).is_some(), "it is still good for something");
    road.open();
    let enrolled = until_standing(&cluster, "enrolled");
    assert_eq!(text(&enrolled, "key"), key, "the key that was made before it was shown");
    road.close();
    until("it is told", LONG, || {
        said(&cluster).filter(|said| said["standing"] == "enrolled" && said["why"].is_string())
    });
    assert_eq!(knock(operator.broker()), PASS, "the beacon is there, and the certificate good");
}

#[test]
fn a_leader_that_is_killed_while_people_decide_is_followed_by_one_with_the_same_key() {
    let (cluster, road) = (bridged(), Road::start());
    bring(&cluster, &road.invite("prod", &[]));
    let first = operator(&cluster, &road, "op-0");
    first.wait_until_ready();
    let key = text(&until_standing(&cluster, "pending"), "key");
    let second = operator(&cluster, &road, "op-1");
    second.wait_until_ready();
    first.signal(Signal::SIGKILL);
    road.says("approve", &[&key]);
    let enrolled = until_standing(&cluster, "enrolled");
    assert_eq!(text(&enrolled, "key"), key);
    until("it vouches", LONG, || (knock(second.broker()) == PASS).then_some(()));
}

#[test]
fn a_secret_of_another_bridge_leads_nobody_there() {
    let (cluster, road, other) = (bridged(), Road::start(), Road::start());
    bring(&cluster, &other.invite("prod", &["--approved"]));
    let theirs = operator(&cluster, &other, "op-0");
    theirs.wait_until_ready();
    until_standing(&cluster, "enrolled");
    until("the invitation is gone", LONG, || cluster.get(INVITED).is_none().then_some(()));
    drop(theirs);
    let ours = operator(&cluster, &road, "op-1");
    ours.wait_until_ready();
    until_standing(&cluster, "uninvited");
    assert_eq!(knock(ours.broker()), NOT_ENROLLED);
}

#[test]
fn each_rule_of_the_enrolment_is_needed() {
    let road = Road::start();
    for (at, rule) in bridged_rules().into_iter().enumerate() {
        if ![SECRETS, DISCOVERY, KEYS].iter().any(|needed| rule.path.starts_with(needed)) {
            continue;
        }
        let cluster = bridged();
        let less = bridged_rules().into_iter().enumerate().filter(|(n, _)| *n != at);
        cluster.allow_only(less.map(|(_, rule)| rule).collect());
        bring(&cluster, &road.invite(&format!("c{at}"), &[]));
        let operator = operator(&cluster, &road, "op-0");
        operator.wait_until_ready();
        let missed = (rule.method.to_owned(), rule.path.clone());
        until(&format!("{rule:?} is missed"), LONG, || {
            cluster.forbidden().contains(&missed).then_some(())
        });
        let is_in = said(&cluster).is_some_and(|said| said["standing"] == "enrolled");
        assert!(!is_in, "nothing needs {rule:?}");
    }
}

#[test]
fn without_a_bridge_no_secret_is_asked_for_and_no_port_opened() {
    let (cluster, operator) = ready();
    assert!(cluster.seen().iter().all(|(_, path)| !path.contains("/secrets")));
    assert!(operator.log.lock().unwrap().contains("the operator listens"));
    assert!(operator.broker.is_none());
}

/// The whole way: from OpenBao in one network, by a bridge that opens no port, a beacon in a second,
/// and the operator's broker in a third, into a program.
#[test]
fn a_program_gets_its_secret_by_whichever_operator_is_there() {
    let mut gate = None;
    let road = Releases::or_skip(|networks| {
        let (road, invitation, bridge) = Releases::start_inviting(networks, SHOP)?;
        gate = Some((invitation, bridge));
        Some(road)
    });
    let (Some(mut road), Some((invitation, bridge))) = (road, gate) else { return };
    let value = canary();
    road.put("shop/db", &json!({ "password": value }));
    let (cluster, [mut first, second]) = road.networks.cluster.within(|| {
        let cluster = bridged();
        bring(&cluster, &invitation);
        let operators = ["op-0", "op-1"].map(|pod| operator_of(&cluster, &bridge, pod));
        operators.iter().for_each(Operator::wait_until_ready);
        (cluster, operators)
    });
    let key = text(&until_standing(&cluster, "enrolled"), "key");
    for operator in [&first, &second] {
        until("its broker vouches", LONG, || {
            let answer = road.networks.cluster.within(|| knock(operator.broker()));
            (answer == PASS).then_some(())
        });
        road.go_by(operator.broker().to_string(), key.clone());
        assert_eq!(got(&road), format!("got {value}\n"));
    }
    assert_eq!(first.stop(), 0);
    assert_eq!(got(&road), format!("got {value}\n"));
    assert!(!cluster.dump().contains(&value), "it was in no object");
    road.revoke();
    until_standing(&cluster, "refused");
    assert_eq!(got(&road), "", "the cluster was put out");
}

/// What a program of a new pod says.
fn got(road: &Releases) -> String {
    by_token_of(road, &road.issuer).0
}

/// What a program of a new pod says whose token is by this key, and what its wrapper says.
fn by_token_of(road: &Releases, issuer: &Issuer) -> (String, String) {
    let pod = Pod::new("shop", "web");
    let launch = road.launch(&road.token_file(pod.uid(), &issuer.token(&pod, 3600)));
    let launch = launch.env("S", "vault:secret/shop/db#password").env("CLOUDTASER_DEADLINE", "10s");
    let script = ["/bin/sh", "-c", "echo \"got $S\""];
    let output = road.networks.cluster.within(|| launch.run(script));
    println!("{}", output.stderr);
    (output.text(), output.stderr)
}

fn until_keys(cluster: &Cluster, standing: &str) -> Value {
    until(standing, LONG, || {
        let keys = said(cluster)?["keys"].clone();
        (keys["standing"] == standing).then_some(keys)
    })
}

/// The keys by which a cluster signs tokens come by its own road, and are believed when a person says
/// their fingerprint; so are those of a rotation.
#[test]
fn keys_of_the_api_server_are_believed_once_a_person_has_compared_them() {
    let mut gate = None;
    let road = Releases::or_skip(|networks| {
        let (road, invitation, bridge) = Releases::start_inviting(networks, SHOP)?;
        gate = Some((invitation, bridge));
        Some(road)
    });
    let (Some(mut road), Some((invitation, bridge))) = (road, gate) else { return };
    road.forget_keys();
    let value = canary();
    road.put("shop/db", &json!({ "password": value }));
    let (name, next) = (road.issuer.name(), road.issuer.next());
    let (cluster, operator) = road.networks.cluster.within(|| {
        let cluster = bridged();
        publish(&cluster, name, &Issuer::set(&[&road.issuer]));
        bring(&cluster, &invitation);
        let operator = operator_of(&cluster, &bridge, "op-0");
        operator.wait_until_ready();
        (cluster, operator)
    });
    let key = text(&until_standing(&cluster, "enrolled"), "key");
    let waits = until_keys(&cluster, "waits");
    assert_eq!(text(&waits, "issuer"), name);
    until("its broker vouches", LONG, || {
        let answer = road.networks.cluster.within(|| knock(operator.broker()));
        (answer == PASS).then_some(())
    });
    road.go_by(operator.broker().to_string(), key.clone());
    let (got_before, told) = by_token_of(&road, &road.issuer);
    assert_eq!(got_before, "");
    assert!(told.contains("--issuer-keys"), "the verb is not named: {told}");

    let approve = |print: &str| {
        let words = ["approve", "--config", "bridge.toml", "--issuer-keys", print, &key];
        road.bridge_verb(&words)
    };
    let nobodys = format!("sha256:{}=", "A".repeat(43));
    assert!(approve(&nobodys).unwrap_err().contains("these are not they"));
    assert!(approve(&text(&waits, "fingerprint")).unwrap().contains("one (RS256)"));
    assert_eq!(until_keys(&cluster, "believed")["fingerprint"], waits["fingerprint"]);
    assert_eq!(got(&road), format!("got {value}\n"));

    publish(&cluster, name, &Issuer::set(&[&road.issuer, &next]));
    let rotated = until_keys(&cluster, "waits");
    assert_ne!(rotated["fingerprint"], waits["fingerprint"]);
    assert_eq!(got(&road), format!("got {value}\n"), "the old key is good all the while");
    let (early, told) = by_token_of(&road, &next);
    assert!(early.is_empty() && told.contains("signed by the key two"), "{told}");
    assert!(approve(&text(&rotated, "fingerprint")).unwrap().contains("two (RS256)"));
    until_keys(&cluster, "believed");
    let pem =
        road.bridge_says(&["issuer-keys", "--config", "bridge.toml", "--issuer", "eu", "--pem"]);
    road.openbao_believes(&pem);
    assert_eq!(by_token_of(&road, &next).0, format!("got {value}\n"));
    assert_eq!(cluster.forbidden(), []);
}
