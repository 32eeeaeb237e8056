use serde_json::json;

use super::*;
use crate::config::tests::config;

fn read(pairs: &[(&str, &str)]) -> Result<Wishes, Refusal> {
    let map: Map<String, Value> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    Wishes::read(&map, &config())
}

fn message(pairs: &[(&str, &str)]) -> String {
    read(pairs).unwrap_err().to_string()
}

#[test]
fn what_bank_vaults_users_have_means_the_same() {
    for prefix in ["vault.security.banzaicloud.io/", "secrets-webhook.security.bank-vaults.io/"] {
        let name = |suffix: &str| format!("{prefix}{suffix}");
        let pairs = [
            ("vault-addr", "https://lab.example:8200"),
            ("vault-role", "payer"),
            ("vault-path", "cluster-1"),
            ("vault-auth-method", "jwt"),
            ("vault-namespace", "team"),
            ("vault-skip-verify", "true"),
            ("vault-client-timeout", "1m30s"),
            ("vault-ignore-missing-secrets", "true"),
            ("vault-env-from-path", "secret/data/a,secret/data/b#2"),
            ("vault-env-passthrough", "VAULT_ADDR"),
            ("vault-env-delay", "2s"),
            ("enable-json-log", "true"),
            ("vault-log-level", "debug"),
            ("transit-key-id", "k"),
            ("mutate-probes", "true"),
            ("vault-env-daemon", "true"),
            ("mutate", "skip"),
        ];
        let owned: Vec<_> = pairs.map(|(suffix, value)| (name(suffix), value)).into();
        let pairs: Vec<_> = owned.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let wishes = read(&pairs).unwrap();
        let plan = &wishes.plan;
        assert_eq!(plan.server.address, "https://lab.example:8200");
        assert_eq!(plan.server.verify, Verify::Skip);
        assert_eq!(plan.server.namespace.as_deref(), Some("team"));
        assert_eq!(plan.auth.method, Some(AuthMethod::Jwt));
        assert_eq!(plan.auth.mount.as_deref(), Some("cluster-1"));
        assert_eq!(plan.auth.role.as_deref(), Some("payer"));
        assert_eq!(plan.reads.deadline.map(|time| time.0.as_secs()), Some(90));
        assert_eq!(plan.reads.delay.map(|time| time.0.as_secs()), Some(2));
        assert_eq!(plan.reads.missing, Missing::Skip);
        assert_eq!(plan.from.len(), 2);
        assert_eq!(plan.passthrough, ["VAULT_ADDR"]);
        assert_eq!(plan.log.format, LogFormat::Json);
        assert_eq!(plan.log.level, LogLevel::Debug);
        assert_eq!(plan.transit.as_ref().map(|transit| transit.key.as_str()), Some("k"));
        assert!(wishes.probes && wishes.warnings.is_empty(), "{:?}", wishes.warnings);
    }
}

#[test]
fn what_agent_injector_users_have_means_the_same() {
    for prefix in ["openbao.org/", "vault.hashicorp.com/"] {
        let pairs = [
            ("service", "lab"),
            ("role", "payer"),
            ("auth-path", "auth/cluster-1"),
            ("auth-type", "kubernetes"),
            ("tls-skip-verify", "true"),
            ("agent-inject-containers", "app, side"),
            ("template-static-secret-render-interval", "5m"),
            ("log-format", "json"),
            ("agent-limits-cpu", "1"),
            ("agent-pre-populate-only", "true"),
            ("error-on-missing-key-x", "true"),
        ];
        let owned: Vec<_> = pairs.map(|(suffix, v)| (format!("{prefix}{suffix}"), v)).into();
        let pairs: Vec<_> = owned.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let wishes = read(&pairs).unwrap();
        assert_eq!(wishes.plan.auth.mount.as_deref(), Some("cluster-1"));
        assert_eq!(wishes.plan.rotation.poll.map(|time| time.0.as_secs()), Some(300));
        let named = ["app", "side"].map(str::to_owned).to_vec();
        assert_eq!(wishes.containers, Selection::Named(named));
        assert!(wishes.warnings.is_empty(), "{:?}", wishes.warnings);
    }
}

#[test]
fn files_that_an_agent_would_render_are_refused_with_what_to_write_instead() {
    for name in [
        "vault.hashicorp.com/agent-inject-secret-db",
        "openbao.org/agent-inject-template-db",
        "vault.security.banzaicloud.io/vault-agent",
        "vault.security.banzaicloud.io/vault-ct-configmap",
    ] {
        let message = message(&[(name, "x")]);
        assert!(message.contains(name) && message.contains("cloudtaser.io/file."), "{message}");
    }
}

#[test]
fn the_own_prefix_wins_and_then_the_newer_one() {
    let wishes = read(&[
        ("vault.security.banzaicloud.io/vault-role", "old"),
        ("secrets-webhook.security.bank-vaults.io/vault-role", "new"),
        ("openbao.org/role", "agent"),
    ]);
    assert_eq!(wishes.unwrap().plan.auth.role.as_deref(), Some("new"));
    let wishes = read(&[("openbao.org/role", "agent"), ("cloudtaser.io/role", "own")]);
    assert_eq!(wishes.unwrap().plan.auth.role.as_deref(), Some("own"));
}

#[test]
fn an_unknown_suffix_of_a_known_prefix_is_a_warning_and_others_are_nobodys_business() {
    let wishes = read(&[
        ("cloudtaser.io/rotate", "x"),
        ("vault.security.banzaicloud.io/vault-rool", "x"),
        ("openbao.org/nothing", "x"),
        ("example.org/role", "x"),
    ]);
    let warnings = wishes.unwrap().warnings;
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].contains("cloudtaser.io/rotate"));
}

#[test]
fn skipping_verification_is_for_the_operator_to_allow() {
    let message = message(&[("vault.security.banzaicloud.io/vault-skip-verify", "true")]);
    assert!(message.contains("allow_skip_verify"), "{message}");
    assert!(read(&[("cloudtaser.io/skip-verify", "false")]).is_ok());
}

#[test]
fn a_value_where_a_reference_belongs_is_refused_and_not_repeated() {
    for name in ["cloudtaser.io/env.PASSWORD", "cloudtaser.io/file.key"] {
        let message = message(&[(name, "hunter2")]);
        assert!(message.contains(name) && !message.contains("hunter2"), "{message}");
    }
    assert!(message(&[("cloudtaser.io/env.a-b", "vault:kv/a#b")]).contains("name"));
    assert!(message(&[("cloudtaser.io/from", "secret//x")]).contains('^'));
}

#[test]
fn words_and_times_and_methods_that_are_none_are_refused_by_name() {
    for (name, value, part) in [
        ("cloudtaser.io/delivery", "pigeon", "follow"),
        ("cloudtaser.io/deadline", "soon", "30s"),
        ("cloudtaser.io/auth-method", "aws-iam", "approle"),
        ("cloudtaser.io/ignore-missing", "perhaps", "true or false"),
        ("cloudtaser.io/require", "memory=best", "memory"),
        ("cloudtaser.io/transit-key", "k", ""),
    ] {
        match read(&[(name, value), ("cloudtaser.io/transit-batch", "0")]) {
            Err(refusal) => {
                let text = refusal.to_string();
                assert!(text.contains(part) && !text.contains("pigeon"), "{text}");
            }
            Ok(_) => panic!("{name}"),
        }
    }
}

#[test]
fn the_operators_requirements_are_in_every_plan() {
    let mut config = config();
    config.pods.require = Requirement::parse_list("memory=sealed").unwrap();
    let map =
        [("cloudtaser.io/require".to_owned(), json!("agent=enforcing"))].into_iter().collect();
    assert_eq!(Wishes::read(&map, &config).unwrap().plan.require.len(), 2);
}

#[test]
fn an_approle_brings_its_own_credential_and_no_token() {
    let wishes = read(&[("cloudtaser.io/auth-method", "approle")]).unwrap();
    assert_eq!(wishes.plan.auth.credential_file, None);
}
