//! Every way to log in, against a real OpenBao.

use std::{fs, time::Duration};

use crate::support::{
    Bao, bao, chain, http_answer, http_stub, jwt, openssl, session, soon, source, text, value,
};
use cloudtaser_bao::{Client, Credential, Failure, Login, Method, SecretId, Session};
use cloudtaser_core::{Blame, Secret};
use cloudtaser_tls::Identity;
use serde_json::json;

/// The policy and the secret that each login must reach.
fn prepare(bao: &Bao, name: &str) {
    bao.policy(name, r#"path "secret/data/login" { capabilities = ["read"] }"#);
    bao.admin("POST", "secret/data/login", &json!({ "data": { "canary": "c4n4ry" } }));
}

fn assert_works(client: &Client, session: &Session, policy: &str) {
    assert!(session.policies.iter().any(|name| name == policy), "{session:?}");
    assert!(session.lease > Duration::from_secs(1), "{session:?}");
    assert!(session.accessor.is_some());
    let answer = client.read(session, &source("secret/data/login"), &soon()).unwrap();
    assert_eq!(text(answer.fields.get("canary").unwrap()), "c4n4ry");
}

fn mount(bao: &Bao, path: &str, kind: &str) {
    bao.admin("POST", &format!("sys/auth/{path}"), &json!({ "type": kind }));
}

#[test]
fn approle_with_a_plain_and_a_wrapped_secret_id() {
    let Some(bao) = bao() else { return };
    prepare(&bao, "approle-app");
    mount(&bao, "approle", "approle");
    bao.admin(
        "POST",
        "auth/approle/role/app",
        &json!({ "token_policies": "approle-app", "token_ttl": "1h" }),
    );
    let role_id = bao.admin("GET", "auth/approle/role/app/role-id", &json!({}))["data"]["role_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let secret_id = bao.admin("POST", "auth/approle/role/app/secret-id", &json!({}));
    let secret_id = secret_id["data"]["secret_id"].as_str().unwrap().to_owned();
    let client = bao.client();
    let login = |secret_id| Login::new(Method::AppRole { role_id: value(&role_id), secret_id });
    let session = client.login(&login(SecretId::Plain(value(&secret_id))), &soon()).unwrap();
    assert_works(&client, &session, "approle-app");

    let refused = client.login(&login(SecretId::Plain(value("wrong"))), &soon()).unwrap_err();
    let message = refused.to_string();
    assert!(
        message.starts_with("cannot log in by approle (POST auth/approle/login): 400"),
        "{message}"
    );
    assert_eq!((refused.tries(), refused.blame()), (1, Blame::Configuration));

    // The wrapped form, made with the CLI's own means: a header on the request.
    let wrapped = wrap(&bao, "auth/approle/role/app/secret-id");
    let session = client.login(&login(SecretId::Wrapped(value(&wrapped))), &soon()).unwrap();
    assert_works(&client, &session, "approle-app");
    let used = client.login(&login(SecretId::Wrapped(value(&wrapped))), &soon()).unwrap_err();
    assert!(used.to_string().contains("used already or has expired"), "{used}");
}

#[test]
fn a_wrapped_answer_from_elsewhere_is_no_secret_id() {
    let Some(bao) = bao() else { return };
    let wrapped = wrap(&bao, "sys/wrapping/wrap");
    let secret_id = SecretId::Wrapped(value(&wrapped));
    let login = Login::new(Method::AppRole { role_id: value("r"), secret_id });
    let error = bao.client().login(&login, &soon()).unwrap_err();
    assert!(error.to_string().contains("no secret_id of this mount"), "{error}");
}

fn wrap(bao: &Bao, path: &str) -> String {
    let answer = bao.admin_wrapped(path, &json!({ "secret_id": "x" }));
    answer["wrap_info"]["token"].as_str().unwrap().to_owned()
}

#[test]
fn userpass_at_another_mount() {
    let Some(bao) = bao() else { return };
    prepare(&bao, "people-app");
    mount(&bao, "eu/people", "userpass");
    bao.admin(
        "POST",
        "auth/eu/people/users/ann",
        &json!({ "password": "p\"w", "token_policies": "people-app" }),
    );
    let client = bao.client();
    let login = |password: &str| Login {
        method: Method::UserPass { user: "ann".into(), password: value(password) },
        mount: Some("auth/eu/people/".into()),
        namespace: None,
    };
    let session = client.login(&login("p\"w"), &soon()).unwrap();
    assert_works(&client, &session, "people-app");
    let error = client.login(&login("wrong"), &soon()).unwrap_err();
    assert_eq!(error.status(), Some(400));
    assert!(!chain(&error).contains("wrong"), "{error}");
}

#[test]
fn a_user_name_cannot_reach_another_path() {
    let Some(bao) = bao() else { return };
    let method = Method::UserPass { user: "../../sys/seal".into(), password: value("p") };
    let error = bao.client().login(&Login::new(method), &soon()).unwrap_err();
    assert!(matches!(error.failure(), Failure::Path), "{error}");
}

#[test]
fn jwt_with_a_static_key() {
    let Some(bao) = bao() else { return };
    let dir = tempfile::tempdir().unwrap();
    if !openssl(dir.path(), "genrsa -out key.pem 2048") {
        return;
    }
    openssl(dir.path(), "rsa -in key.pem -pubout -out public.pem");
    prepare(&bao, "jwt-app");
    mount(&bao, "jwt", "jwt");
    let public = fs::read_to_string(dir.path().join("public.pem")).unwrap();
    bao.admin("POST", "auth/jwt/config", &json!({ "jwt_validation_pubkeys": [public] }));
    let role = json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["openbao"], "token_policies": "jwt-app" });
    bao.admin("POST", "auth/jwt/role/app", &role);
    let Some(token) = jwt(
        dir.path(),
        &json!({ "sub": "app", "aud": "openbao", "nbf": 1_700_000_000, "iat": 1_700_000_000, "exp": 4_000_000_000_u64 }),
    ) else {
        return;
    };
    let client = bao.client();
    let file = dir.path().join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    for credential in [value(&token), Credential::File(file)] {
        let login = Login::new(Method::Jwt { role: Some("app".into()), jwt: credential });
        assert_works(&client, &client.login(&login, &soon()).unwrap(), "jwt-app");
    }
    let old =
        jwt(dir.path(), &json!({ "sub": "app", "aud": "openbao", "nbf": 999_999_000, "iat": 999_999_000, "exp": 1_000_000_000 })).unwrap();
    let login = Login::new(Method::Jwt { role: Some("app".into()), jwt: value(&old) });
    let error = client.login(&login, &soon()).unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    assert!(!chain(&error).contains(&old), "{error}");
}

#[test]
fn kubernetes_with_a_token_review() {
    let Some(bao) = bao() else { return };
    let dir = tempfile::tempdir().unwrap();
    if !openssl(dir.path(), "genrsa -out key.pem 2048") {
        return;
    }
    prepare(&bao, "k8s-app");
    mount(&bao, "k8s", "kubernetes");
    let port = http_stub(|request| {
        assert!(
            request.starts_with("POST /apis/authentication.k8s.io/v1/tokenreviews"),
            "{request}"
        );
        let user = json!({ "username": "system:serviceaccount:shop:app", "uid": "7", "groups": ["system:serviceaccounts"] });
        let status = json!({ "authenticated": true, "user": user, "audiences": [] });
        let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status });
        http_answer("201 Created", &review.to_string())
    });
    let config = json!({ "kubernetes_host": format!("http://127.0.0.1:{port}"), "disable_local_ca_jwt": true, "kubernetes_ca_cert": fs::read_to_string(bao.ca()).unwrap() });
    bao.admin("POST", "auth/k8s/config", &config);
    let role = json!({ "bound_service_account_names": "app", "bound_service_account_namespaces": "shop", "token_policies": "k8s-app" });
    bao.admin("POST", "auth/k8s/role/app", &role);
    let claims = json!({
        "iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:shop:app", "nbf": 1_700_000_000, "iat": 1_700_000_000, "exp": 4_000_000_000_u64,
        "kubernetes.io": { "namespace": "shop", "serviceaccount": { "name": "app", "uid": "7" } },
    });
    let Some(token) = jwt(dir.path(), &claims) else { return };
    let client = bao.client();
    let login = |role: &str| Login {
        method: Method::Kubernetes { role: role.into(), jwt: value(&token) },
        mount: Some("k8s".into()),
        namespace: None,
    };
    assert_works(&client, &client.login(&login("app"), &soon()).unwrap(), "k8s-app");
    let error = client.login(&login("other"), &soon()).unwrap_err();
    assert!(error.to_string().contains("check the role and the credential"), "{error}");
}

#[test]
fn cert_by_the_connections_own_certificate() {
    let Some(bao) = bao() else { return };
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    if !openssl(at, &format!("req -x509 {ec} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca")) {
        return;
    }
    openssl(at, &format!("req {ec} -keyout app.key -out app.csr -subj /CN=app"));
    fs::write(at.join("ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    openssl(
        at,
        "x509 -req -in app.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out app.pem -days 1 -extfile ext",
    );
    prepare(&bao, "cert-app");
    mount(&bao, "cert", "cert");
    let ca = fs::read_to_string(at.join("ca.pem")).unwrap();
    bao.admin(
        "POST",
        "auth/cert/certs/app",
        &json!({ "certificate": ca, "allowed_common_names": "app", "token_policies": "cert-app" }),
    );
    let client =
        bao.client_with(Identity::from_files(&at.join("app.pem"), &at.join("app.key")).unwrap());
    for role in [None, Some("app".to_owned())] {
        let session = client.login(&Login::new(Method::Cert { role }), &soon()).unwrap();
        assert_works(&client, &session, "cert-app");
    }
    let error = bao.client().login(&Login::new(Method::Cert { role: None }), &soon()).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[test]
fn a_token_as_value_as_file_and_wrapped() {
    let Some(bao) = bao() else { return };
    prepare(&bao, "token-app");
    let client = bao.client();
    let options = json!({ "policies": ["token-app"], "ttl": "1h" });
    let token = bao.token(&options);
    assert_works(&client, &session(&client, &token), "token-app");

    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{token}\n")).unwrap();
    let login = Login::new(Method::Token(Credential::File(file.path().to_owned())));
    assert_works(&client, &client.login(&login, &soon()).unwrap(), "token-app");

    let wrapped = bao.admin_wrapped("auth/token/create", &options);
    let wrapped = wrapped["wrap_info"]["token"].as_str().unwrap();
    let login = Login::new(Method::WrappedToken(value(wrapped)));
    assert_works(&client, &client.login(&login, &soon()).unwrap(), "token-app");
    let again = client.login(&login, &soon()).unwrap_err();
    assert!(again.to_string().contains("somebody else has"), "{again}");
}

#[test]
fn a_token_that_may_not_look_at_itself_is_taken_and_a_dead_one_says_so_at_its_first_read() {
    let Some(bao) = bao() else { return };
    prepare(&bao, "blind-app");
    let client = bao.client();
    let token = bao.token(&json!({ "policies": ["blind-app"], "no_default_policy": true }));
    let blind = session(&client, &token);
    assert_eq!(blind.lease, Duration::ZERO);
    client.read(&blind, &source("secret/data/login"), &soon()).unwrap();
    let dead = session(&client, "s.nosuchtoken");
    let error = client.read(&dead, &source("secret/data/login"), &soon()).unwrap_err();
    assert!(error.to_string().contains("or the token has expired"), "{error}");
    assert_eq!(error.tries(), 1);
}

#[test]
fn a_token_renews_and_revokes_itself() {
    let Some(bao) = bao() else { return };
    prepare(&bao, "renew-app");
    let client = bao.client();
    let token = bao.token(&json!({ "policies": ["renew-app"], "ttl": "1h", "period": "2h" }));
    let old = session(&client, &token);
    assert!(old.renewable);
    let new = client.renew_self(&old, &soon()).unwrap();
    assert!(new.lease > Duration::from_secs(7000), "{new:?}");
    assert!(new.token().same_as(&Secret::from(token)));
    client.revoke_self(&new, &soon()).unwrap();
    let error = client.read(&new, &source("secret/data/login"), &soon()).unwrap_err();
    assert_eq!(error.status(), Some(403));
}

#[test]
fn a_method_that_is_not_mounted_is_refused_at_once() {
    let Some(bao) = bao() else { return };
    let login = Login {
        method: Method::Jwt { role: None, jwt: value("x") },
        mount: Some("nowhere".into()),
        namespace: None,
    };
    let error = bao.client().login(&login, &soon()).unwrap_err();
    assert_eq!((error.status(), error.tries()), (Some(403), 1));
    assert!(error.to_string().contains("not mounted at this path"), "{error}");
}

#[test]
fn a_namespace_has_its_own_logins_and_secrets() {
    let Some(bao) = bao() else { return };
    bao.admin("POST", "sys/namespaces/team", &json!({}));
    bao.admin_in(
        "team",
        "POST",
        "sys/mounts/kv",
        &json!({ "type": "kv", "options": { "version": "2" } }),
    );
    bao.admin_in("team", "POST", "kv/data/app", &json!({ "data": { "a": "team's" } }));
    bao.admin_in(
        "team",
        "PUT",
        "sys/policies/acl/team-app",
        &json!({ "policy": r#"path "kv/data/app" { capabilities = ["read"] }"# }),
    );
    bao.admin_in("team", "POST", "sys/auth/userpass", &json!({ "type": "userpass" }));
    bao.admin_in(
        "team",
        "POST",
        "auth/userpass/users/ann",
        &json!({ "password": "p", "token_policies": "team-app" }),
    );
    let client = bao.client_in("team");
    let login = Login::new(Method::UserPass { user: "ann".into(), password: value("p") });
    let session = client.login(&login, &soon()).unwrap();
    let answer = client.read(&session, &source("kv/app"), &soon()).unwrap();
    assert_eq!(text(answer.fields.get("a").unwrap()), "team's");
    assert!(bao.client().login(&login, &soon()).is_err(), "the root namespace has no such user");
}
