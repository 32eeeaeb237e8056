//! Secrets of every kind, from a real OpenBao.

use std::time::Duration;

use crate::support::{Bao, bao, http_answer, http_stub, session, soon, source, text};
use cloudtaser_bao::{BaoError, Client, Failure, ReadSet, Session, TransitKey};
use cloudtaser_core::{Blame, reference::Value};
use data_encoding::BASE64;
use serde_json::json;

fn engine(bao: &Bao, path: &str, kind: &str, version: &str) {
    let options = json!({ "type": kind, "options": { "version": version } });
    bao.admin("POST", &format!("sys/mounts/{path}"), &options);
}

fn limited(bao: &Bao, client: &Client, name: &str, rules: &str) -> Session {
    bao.policy(name, rules);
    // Without the default policy: what the rules do not say is refused.
    session(client, &bao.token(&json!({ "policies": [name], "no_default_policy": true })))
}

fn fail(client: &Client, session: &Session, path: &str) -> BaoError {
    client.read(session, &source(path), &soon()).unwrap_err()
}

#[test]
fn a_versioned_secret_is_read_with_and_without_data() {
    let Some(bao) = bao() else { return };
    engine(&bao, "team/kv", "kv", "2");
    bao.admin("POST", "team/kv/data/app", &json!({ "data": { "user": "u", "port": 5432 } }));
    bao.admin("POST", "team/kv/data/data/odd", &json!({ "data": { "user": "o" } }));
    let client = bao.client();
    let root = bao.root(&client);
    for path in ["team/kv/app", "team/kv/data/app"] {
        let answer = client.read(&root, &source(path), &soon()).unwrap();
        assert_eq!(text(answer.fields.get("user").unwrap()), "u");
        assert_eq!(text(answer.fields.get("port").unwrap()), "5432");
        assert_eq!((answer.path.as_str(), answer.version), ("team/kv/data/app", Some(1)));
        assert!(answer.lease.is_none());
    }
    // A secret whose own name begins with data/.
    let odd = client.read(&root, &source("team/kv/data/odd"), &soon()).unwrap();
    assert_eq!(odd.path, "team/kv/data/data/odd");
}

#[test]
fn versions_are_pinned_and_gone_ones_say_so() {
    let Some(bao) = bao() else { return };
    for value in ["one", "two", "three"] {
        bao.admin("POST", "secret/data/versions", &json!({ "data": { "v": value } }));
    }
    bao.admin("POST", "secret/delete/versions", &json!({ "versions": [1] }));
    bao.admin("PUT", "secret/destroy/versions", &json!({ "versions": [2] }));
    let client = bao.client();
    let root = bao.root(&client);
    let newest = client.read(&root, &source("secret/versions"), &soon()).unwrap();
    assert_eq!(newest.version, Some(3));
    let pinned = client.read(&root, &source("secret/versions#3"), &soon()).unwrap();
    assert_eq!(text(pinned.fields.get("v").unwrap()), "three");

    let deleted = fail(&client, &root, "secret/versions#1");
    assert!(deleted.to_string().contains("version 1 was deleted: undelete it"), "{deleted}");
    let destroyed = fail(&client, &root, "secret/versions#2");
    assert!(destroyed.to_string().contains("version 2 was destroyed"), "{destroyed}");
    assert!(deleted.is_missing() && destroyed.is_missing());
    let never = fail(&client, &root, "secret/data/versions#9");
    assert_eq!((never.status(), never.tries()), (Some(404), 1));
}

#[test]
fn an_unversioned_secret_is_read_as_written() {
    let Some(bao) = bao() else { return };
    engine(&bao, "kv1", "kv", "1");
    bao.admin("POST", "kv1/data/app", &json!({ "user": "u1" }));
    bao.admin("POST", "kv1/app", &json!({ "user": "u2" }));
    let client = bao.client();
    let root = bao.root(&client);
    for (path, user) in [("kv1/data/app", "u1"), ("kv1/app", "u2")] {
        let answer = client.read(&root, &source(path), &soon()).unwrap();
        assert_eq!(text(answer.fields.get("user").unwrap()), user);
        assert_eq!(answer.version, None);
    }
    let pinned = fail(&client, &root, "kv1/app#2");
    assert!(pinned.to_string().contains("a version is asked for where there are none"), "{pinned}");
}

#[test]
fn a_missing_path_names_all_that_was_tried() {
    let Some(bao) = bao() else { return };
    let client = bao.client();
    let root = bao.root(&client);
    let error = fail(&client, &root, "secret/data/nowhere");
    assert_eq!((error.tries(), error.blame()), (1, Blame::Configuration));
    let check = "check mount and path, and the namespace if there is one";
    // What was written and is likeliest comes first, whatever was asked for last.
    let likeliest = format!(
        "cannot read (GET secret/data/nowhere): 404, nothing is there (also tried \
         secret/data/data/nowhere): {check}"
    );
    assert_eq!(error.to_string(), likeliest);
    let known = fail(&client, &root, "secret/nowhere").to_string();
    let versioned = format!(
        "cannot read (GET secret/data/nowhere): 404, nothing is there (where KV v2 keeps \
         secret/nowhere): {check}"
    );
    assert_eq!(known, versioned);
    let again = fail(&client, &root, "secret/data/nowhere").to_string();
    assert_eq!(again, likeliest, "the same now that the mount is known");
    // An engine that is not there, and one whose mount the token may not ask for, are tried as both.
    let nomount = fail(&client, &root, "nomount/x");
    assert_eq!(nomount.status(), Some(404));
    let text = nomount.to_string();
    let start = "cannot read (GET nomount/x): 404, nothing is there (also tried nomount/data/x)";
    assert!(text.starts_with(start) && text.ends_with(check), "{text}");
    let text = fail(&client, &root, "nomount/data/x").to_string();
    assert!(text.starts_with("cannot read (GET nomount/data/x): 404, nothing is there"), "{text}");
}

#[test]
fn a_token_with_one_right_reads_both_forms_and_is_told_what_it_lacks() {
    let Some(bao) = bao() else { return };
    bao.admin("POST", "secret/data/one", &json!({ "data": { "a": "1" } }));
    let client = bao.client();
    let one =
        limited(&bao, &client, "one", r#"path "secret/data/one" { capabilities = ["read"] }"#);
    for path in ["secret/one", "secret/data/one"] {
        let answer = client.read(&one, &source(path), &soon()).unwrap();
        assert_eq!(text(answer.fields.get("a").unwrap()), "1");
    }
    let error = fail(&client, &one, "secret/data/other");
    assert!(
        error.to_string().contains("the token's policies lack read on secret/data/other"),
        "{error}"
    );
    assert!(error.is_refusal() && !error.is_missing());
    let nothing = limited(&bao, &client, "nothing", r#"path "x" { capabilities = ["read"] }"#);
    assert_eq!(fail(&bao.client(), &nothing, "secret/one").status(), Some(403));
}

#[test]
fn a_certificate_and_its_key_come_from_one_write() {
    let Some(bao) = bao() else { return };
    bao.admin("POST", "sys/mounts/pki", &json!({ "type": "pki" }));
    bao.admin(
        "POST",
        "pki/root/generate/internal",
        &json!({ "common_name": "root", "ttl": "24h" }),
    );
    bao.admin("POST", "pki/roles/app", &json!({ "allowed_domains": "example.eu", "allow_subdomains": true, "max_ttl": "1h", "generate_lease": true }));
    let Ok(Value::Whole(reference)) =
        Value::parse(r#">>vault:pki/issue/app#certificate#{"common_name":"a.example.eu"}"#)
    else {
        panic!("the reference is written wrong");
    };
    let client = bao.client();
    let root = bao.root(&client);
    let mut set = ReadSet::new();
    let first = set.read(&client, &root, &reference.source, &soon()).unwrap();
    let serial = text(first.fields.get("serial_number").unwrap()).to_owned();
    assert!(text(first.fields.get("private_key").unwrap()).starts_with("-----BEGIN"));
    let again = set.read(&client, &root, &reference.source, &soon()).unwrap();
    assert_eq!(text(again.fields.get("serial_number").unwrap()), serial, "asked only once");
    assert_eq!(set.answers().count(), 1);
    let other = client.read(&root, &reference.source, &soon()).unwrap();
    assert_ne!(text(other.fields.get("serial_number").unwrap()), serial);
    let (_, lease) = set.leases().next().unwrap();
    client.revoke_lease(&root, lease, &soon()).unwrap();

    let refused = Value::parse(r#">>vault:pki/issue/app#certificate#{"common_name":"a.other"}"#);
    let Ok(Value::Whole(refused)) = refused else { panic!("the reference is written wrong") };
    let error = client.read(&root, &refused.source, &soon()).unwrap_err();
    assert!(
        error.to_string().contains("cannot write and read the answer (POST pki/issue/app): 400"),
        "{error}"
    );
    let read = fail(&client, &root, "pki/issue/app");
    assert!(read.to_string().contains("is it meant to be written (>>) or read"), "{read}");
}

#[test]
fn a_dynamic_user_and_password_have_a_lease_that_is_renewed_and_revoked() {
    let Some(bao) = bao() else { return };
    let port = http_stub(|request| {
        if request.starts_with("GET /api/users") {
            http_answer("200 OK", "[]")
        } else {
            http_answer("201 Created", "")
        }
    });
    bao.admin("POST", "sys/mounts/rabbitmq", &json!({ "type": "rabbitmq" }));
    let connection = json!({ "connection_uri": format!("http://127.0.0.1:{port}"), "username": "a", "password": "b", "verify_connection": false });
    bao.admin("POST", "rabbitmq/config/connection", &connection);
    bao.admin("POST", "rabbitmq/config/lease", &json!({ "ttl": 60, "max_ttl": 600 }));
    bao.admin(
        "POST",
        "rabbitmq/roles/app",
        &json!({ "vhosts": r#"{"/":{"write":".*","read":".*"}}"# }),
    );
    let client = bao.client();
    let root = bao.root(&client);
    let mut set = ReadSet::new();
    let creds = source("rabbitmq/creds/app");
    let user =
        text(set.read(&client, &root, &creds, &soon()).unwrap().fields.get("username").unwrap())
            .to_owned();
    assert_eq!(
        text(set.read(&client, &root, &creds, &soon()).unwrap().fields.get("username").unwrap()),
        user
    );
    let lease = set.leases().next().unwrap().1.clone();
    assert!(lease.renewable && lease.duration <= Duration::from_secs(60), "{lease:?}");
    let renewed = client.renew_lease(&root, &lease, &soon()).unwrap();
    assert_eq!(renewed.id, lease.id);
    assert!(renewed.duration > Duration::ZERO);
    client.revoke_lease(&root, &lease, &soon()).unwrap();
    let gone = client.renew_lease(&root, &lease, &soon()).unwrap_err();
    assert!(
        gone.to_string().starts_with("cannot renew the lease (POST sys/leases/renew): 400"),
        "{gone}"
    );
}

#[test]
fn transit_decrypts_in_batches_and_one_bad_entry_fails_all() {
    let Some(bao) = bao() else { return };
    bao.admin("POST", "sys/mounts/transit", &json!({ "type": "transit" }));
    bao.admin("POST", "transit/keys/app", &json!({}));
    let plain: Vec<String> = (0..60).map(|n| format!("secret {n}")).collect();
    let input: Vec<_> =
        plain.iter().map(|text| json!({ "plaintext": BASE64.encode(text.as_bytes()) })).collect();
    let answer = bao.admin("POST", "transit/encrypt/app", &json!({ "batch_input": input }));
    let ciphertexts: Vec<&str> = answer["data"]["batch_results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["ciphertext"].as_str().unwrap())
        .collect();
    let client = bao.client();
    let root = bao.root(&client);
    let key = TransitKey::new("app");
    let decrypted = client.transit_decrypt(&root, &key, &ciphertexts, &soon()).unwrap();
    assert!(decrypted.iter().map(text).eq(plain.iter().map(String::as_str)));

    let mut spoilt = ciphertexts.clone();
    spoilt[30] = "vault:v1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let error = client.transit_decrypt(&root, &key, &spoilt, &soon()).unwrap_err();
    assert!(matches!(error.failure(), Failure::Entry { index: 30, .. }), "{error}");
    let other = client
        .transit_decrypt(&root, &TransitKey::new("nokey"), &ciphertexts, &soon())
        .unwrap_err();
    assert_eq!(other.status(), Some(400));
}

#[test]
fn a_sealed_openbao_is_waited_for_and_named() {
    let Some(program) = crate::support::find() else {
        println!("SKIP: no OpenBao");
        return;
    };
    let bao = Bao::start(&program);
    let client = bao.client();
    let root = bao.root(&client);
    bao.admin("PUT", "sys/seal", &json!({}));
    let deadline = cloudtaser_bao::Deadline::after(Duration::from_millis(700));
    let error = client.read(&root, &source("secret/data/x"), &deadline).unwrap_err();
    assert_eq!(error.status(), Some(503));
    assert!(error.tries() > 1, "{error}");
    assert!(error.to_string().contains("sealed"), "{error}");
    assert_eq!(error.blame(), Blame::Peer);
}
