use super::{keys::is_client_variable, *};

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
}

fn gathered(pairs: &[(&str, &str)]) -> Settings {
    gather(environment(pairs), None).unwrap()
}

fn app_names(settings: &Settings) -> Vec<&str> {
    settings.app.iter().filter_map(|(name, _)| std::str::from_utf8(name).ok()).collect()
}

#[test]
fn what_vault_env_users_have_is_understood_and_taken_away() {
    let settings = gathered(&[
        ("PATH", "/bin"),
        ("VAULT_ADDR", "https://v:8200"),
        ("VAULT_ROLE", "app"),
        ("VAULT_AUTH_METHOD", "jwt"),
        ("VAULT_CLIENT_TIMEOUT", "1m30s"),
        ("VAULT_ENV_FROM_PATH", "secret/data/a, secret/data/b#2"),
        ("VAULT_IGNORE_MISSING_SECRETS", "True"),
        ("VAULT_TRANSIT_KEY_ID", "k"),
        ("KUBERNETES_SERVICE_ACCOUNT_TOKEN", "/t"),
        ("VAULT_FLAVOUR", "theirs"),
    ]);
    assert_eq!(app_names(&settings), ["PATH", "VAULT_FLAVOUR"]);
    let plan = &settings.plan;
    assert_eq!(plan.server.address, "https://v:8200");
    assert_eq!(plan.auth.method, Some(AuthMethod::Jwt));
    assert_eq!(plan.auth.mount.as_deref(), Some("kubernetes"));
    assert_eq!(plan.auth.credential_file.as_deref(), Some("/t"));
    assert_eq!(plan.reads.deadline.map(|p| p.0.as_secs()), Some(90));
    assert_eq!(plan.reads.missing, Missing::Skip);
    assert_eq!(plan.from.len(), 2);
    assert_eq!(plan.transit.as_ref().map(|t| t.batch), Some(25));
}

#[test]
fn own_names_beat_the_plan_and_the_plan_beats_the_twins() {
    let document = || PlanDocument {
        origin: "p".to_owned(),
        json: br#"{"server":{"address":"https://plan","namespace":"plan"}}"#.to_vec(),
    };
    let both = environment(&[
        ("CLOUDTASER_NAMESPACE", "own"),
        ("VAULT_NAMESPACE", "twin"),
        ("VAULT_ADDR", "https://twin"),
    ]);
    let settings = gather(both, Some(document())).unwrap();
    assert_eq!(settings.plan.server.namespace.as_deref(), Some("own"));
    assert_eq!(settings.plan.server.address, "https://plan");
    let twins = gathered(&[("VAULT_ADDR", "https://v"), ("BAO_ADDR", "https://b")]);
    assert_eq!(twins.plan.server.address, "https://b");
}

#[test]
fn a_token_by_value_is_a_credential_and_not_for_the_app() {
    let settings = gathered(&[("VAULT_TOKEN", "hvs.x"), ("A", "b")]);
    assert_eq!(settings.plan.auth.method, Some(AuthMethod::Token));
    assert_eq!(settings.credential.as_ref().and_then(Secret::expose_str), Some("hvs.x"));
    assert_eq!(app_names(&settings), ["A"]);
    assert!(!format!("{:?}", settings.plan).contains("hvs.x"));
}

#[test]
fn a_token_variable_that_asks_for_the_login_stays_for_the_app() {
    let settings = gathered(&[("VAULT_TOKEN", "vault:login"), ("VAULT_ROLE_ID", "r")]);
    assert!(settings.credential.is_none());
    assert_eq!(app_names(&settings), ["VAULT_TOKEN"]);
    assert_eq!(settings.role_id.as_deref(), Some("r"));
}

#[test]
fn variables_are_passed_on_when_asked_for() {
    let settings =
        gathered(&[("VAULT_ADDR", "https://v"), ("VAULT_ENV_PASSTHROUGH", "VAULT_ADDR")]);
    assert_eq!(app_names(&settings), ["VAULT_ADDR"]);
}

#[test]
fn wrong_values_name_their_variable_and_not_their_content() {
    for (name, value) in [
        ("VAULT_SKIP_VERIFY", "perhaps"),
        ("VAULT_CLIENT_TIMEOUT", "soon"),
        ("VAULT_AUTH_METHOD", "magic"),
        ("CLOUDTASER_DELIVERY", "pigeon"),
        ("VAULT_TRANSIT_BATCH_SIZE", "0"),
    ] {
        let error =
            gather(environment(&[(name, value), ("VAULT_TRANSIT_KEY_ID", "k")]), None).unwrap_err();
        assert!(error.to_string().starts_with(name), "{error}");
        assert!(!error.to_string().contains(value) || value == "0", "{error}");
    }
}

#[test]
fn credential_variables_are_all_recognised_as_ours() {
    assert!(CREDENTIALS.iter().all(|name| is_client_variable(name.as_bytes())));
}

#[test]
fn of_a_server_that_is_fixed_no_variable_changes_anything() {
    let document = PlanDocument {
        origin: "p".to_owned(),
        json: br#"{"server":{"address":"https://plan","fixed":true}}"#.to_vec(),
    };
    let variables = environment(&[
        ("CLOUDTASER_ADDR", "https://evil"),
        ("VAULT_SKIP_VERIFY", "true"),
        ("CLOUDTASER_CACERT", "/evil.pem"),
        ("VAULT_CAPATH", "/evil"),
        ("BAO_SPKI_PIN", "sha256//x"),
        ("VAULT_TLS_SERVER_NAME", "evil"),
        ("VAULT_CLIENT_CERT", "/own.pem"),
    ]);
    let server = gather(variables, Some(document)).unwrap().plan.server;
    assert_eq!(server.address, "https://plan");
    assert_eq!(server.verify, Verify::Full);
    assert_eq!((server.ca_file, server.ca_dir, server.spki_pin), (None, None, None));
    assert_eq!((server.server_name, server.client_cert.as_deref()), (None, Some("/own.pem")));
}

#[test]
fn a_client_file_means_the_way_by_a_bridge_unless_another_is_said() {
    let way = |pairs: &[(&str, &str)]| gathered(pairs).plan.server.way();
    assert_eq!(way(&[("VAULT_ADDR", "https://v")]), Mode::Direct);
    let via = [("CLOUDTASER_VIA", "/c"), ("CLOUDTASER_VIA_KEY", "/k"), ("VAULT_ADDR", "https://v")];
    assert_eq!(way(&via), Mode::Beacon);
    assert_eq!(way(&[via[0], ("CLOUDTASER_MODE", "direct")]), Mode::Direct);
    // Names of other clients of OpenBao are not ours to read.
    assert_eq!(way(&[("VAULT_VIA", "/c"), ("BAO_MODE", "beacon")]), Mode::Direct);
    let settings = gathered(&[via[0], via[1], ("CLOUDTASER_BROKER_ADDR", "broker:443")]);
    assert_eq!(settings.plan.server.broker.as_deref(), Some("broker:443"));
    assert_eq!(settings.plan.server.via_key.as_deref(), Some("/k"));
    assert!(app_names(&settings).is_empty());
    let brokered = [("CLOUDTASER_BRIDGE_KEY", "ed25519:x"), ("CLOUDTASER_BROKER_ADDR", "b:1")];
    assert_eq!(way(&brokered), Mode::Beacon);
    let reverse = [brokered[0], brokered[1], ("CLOUDTASER_MODE", "reverse")];
    assert_eq!(way(&reverse), Mode::Reverse);
    let odd = gather(environment(&[("CLOUDTASER_MODE", "backwards")]), None).unwrap_err();
    let words = "CLOUDTASER_MODE must be one of beacon, direct, reverse";
    assert!(odd.to_string().contains(words), "{odd}");
}
