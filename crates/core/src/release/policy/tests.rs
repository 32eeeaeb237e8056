use super::*;
use crate::level::{Agent, Attach, Environ, Facets, Memory, Release, Supervisor, Transport};

fn level(memory: Memory) -> ProtectionLevel {
    let facets = Facets {
        memory,
        environ: Environ::Hidden,
        supervisor: Supervisor::Sealed,
        attach: Attach::Refused,
        transport: Transport::Hybrid,
        release: Release::Bridge,
        agent: Agent::Off,
    };
    ProtectionLevel::from_facets(facets, Vec::new())
}

fn rule(name: &str, paths: &[&str], identities: &[&str], require: &str) -> RuleFile {
    let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    RuleFile {
        name: name.to_owned(),
        paths: all(paths),
        identities: all(identities),
        operations: vec![Action::Read],
        require: Requirement::parse_list(require).unwrap(),
        limit: None,
        approvals: None,
        node: None,
    }
}

fn file(rules: Vec<RuleFile>) -> PolicyFile {
    PolicyFile { rule: rules, ..PolicyFile::default() }
}

fn policy(rules: Vec<RuleFile>) -> Policy {
    Policy::compile(file(rules)).unwrap()
}

fn who(text: &str) -> Identity {
    let (issuer, rest) = text.split_once(':').unwrap();
    let (namespace, account) = rest.split_once('/').unwrap();
    let [issuer, namespace, service_account] = [issuer, namespace, account].map(str::to_owned);
    Identity { issuer, namespace, service_account }
}

/// `r:NAME` released, `l:NAME` better protection, `i` not this workload, `p` no such path.
fn said(policy: &Policy, identity: &str, path: &str, memory: Memory) -> String {
    let identity = who(identity);
    let (level, standing) = (level(memory), Standing::default());
    let (action, level, standing) = (Action::Read, &level, &standing);
    match policy.decide(&Asked { identity: &identity, action, path, level, standing, node: None }) {
        Decision::Release { rule, .. } => format!("r:{rule}"),
        Decision::Level { rule, .. } => format!("l:{rule}"),
        Decision::Approvals { rule, .. } => format!("a:{rule}"),
        Decision::Limit { rule, .. } => format!("n:{rule}"),
        Decision::Identity { .. } => "i".to_owned(),
        Decision::Path => "p".to_owned(),
    }
}

#[test]
fn a_table_of_questions() {
    let policy = policy(vec![
        rule("wide", &["secret"], &["eu:*/*"], ""),
        rule("pay", &["secret/pay"], &["eu:shop/pay"], "memory=sealed"),
        rule("pay-ops", &["secret/pay"], &["eu:ops/*"], ""),
        rule("creds", &["database/creds/shop-*"], &["eu:shop/*", "us:shop/web"], ""),
        rule("v2", &["kv/data/app"], &["eu:a/b"], ""),
    ]);
    for (identity, path, memory, wanted) in [
        ("eu:a/b", "secret/x", Memory::Plain, "r:wide"),
        ("eu:a/b", "secret/data/x", Memory::Plain, "r:wide"),
        ("eu:a/b", "/secret/data/x/", Memory::Plain, "r:wide"),
        ("us:a/b", "secret/x", Memory::Sealed, "i"),
        // The narrow rules decide alone, in both spellings.
        ("eu:a/b", "secret/pay", Memory::Sealed, "i"),
        ("eu:a/b", "secret/data/pay/db", Memory::Sealed, "i"),
        ("eu:shop/pay", "secret/pay/db", Memory::Sealed, "r:pay"),
        ("eu:shop/pay", "secret/data/pay", Memory::Sealed, "r:pay"),
        ("eu:shop/pay", "secret/pay/db", Memory::Plain, "l:pay"),
        ("eu:shop/pay", "secret/pay/db", Memory::Transient, "l:pay"),
        ("eu:ops/x", "secret/pay/db", Memory::Plain, "r:pay-ops"),
        // A segment is a whole word.
        ("eu:a/b", "secret/payments", Memory::Plain, "r:wide"),
        ("eu:a/b", "secrets/pay", Memory::Plain, "p"),
        ("eu:a/b", "secret", Memory::Plain, "r:wide"),
        ("eu:shop/a", "database/creds/shop-ro", Memory::Plain, "r:creds"),
        ("us:shop/web", "database/creds/shop-", Memory::Plain, "r:creds"),
        ("us:shop/api", "database/creds/shop-ro", Memory::Plain, "i"),
        ("eu:shop/a", "database/creds/other", Memory::Plain, "p"),
        ("eu:shop/a", "database/creds", Memory::Plain, "p"),
        ("eu:shop/a", "database", Memory::Plain, "p"),
        ("eu:a/b", "kv/app", Memory::Plain, "r:v2"),
        ("eu:a/b", "kv/data/app/x", Memory::Plain, "r:v2"),
        ("eu:a/b", "kv/metadata/app", Memory::Plain, "p"),
        // What leads somewhere else is no path.
        ("eu:a/b", "secret/../sys/raw", Memory::Sealed, "p"),
        ("eu:a/b", "secret//x", Memory::Sealed, "p"),
        ("eu:a/b", "secret/x\n", Memory::Sealed, "p"),
        ("eu:a/b", "", Memory::Sealed, "p"),
        ("eu:a/b", "sys/health", Memory::Sealed, "p"),
        ("eu:a/b", "auth/token/create", Memory::Sealed, "p"),
        ("eu:a/b", "secret/./x", Memory::Sealed, "p"),
        ("eu:a/b", "secret/..", Memory::Sealed, "p"),
        ("eu:a/b", "..", Memory::Sealed, "p"),
        ("eu:a/b", "secret/x\0", Memory::Sealed, "p"),
        ("eu:a/b", "SECRET/x", Memory::Sealed, "p"),
        ("eu:a/b", "secret /x", Memory::Sealed, "p"),
        // Only the first `data` behind the mount is KV's own.
        ("eu:a/b", "secret/data/data/x", Memory::Plain, "r:wide"),
        ("eu:a/b", "secret/data/data/pay", Memory::Sealed, "r:wide"),
        ("eu:a/b", "data/secret/pay", Memory::Sealed, "p"),
        ("eu:a/b", "secret/%2e%2e/sys", Memory::Plain, "r:wide"),
        // Names are whole, and are those of the token.
        ("eu:shop/pay2", "secret/pay", Memory::Sealed, "i"),
        ("eu:shop2/pay", "secret/pay", Memory::Sealed, "i"),
        ("eu2:shop/pay", "secret/pay", Memory::Sealed, "i"),
        ("us:shop/pay", "secret/pay", Memory::Sealed, "i"),
        ("eu:ops/", "secret/pay/x", Memory::Plain, "r:pay-ops"),
        ("eu:shop/*", "secret/pay", Memory::Sealed, "i"),
        ("*:*/*", "secret/x", Memory::Sealed, "i"),
        ("us:shop/web", "database/creds/shop-rw/x", Memory::Plain, "r:creds"),
        ("us:shop/web", "database/creds/Shop-rw", Memory::Plain, "p"),
        ("eu:a/b", "kv/app2", Memory::Plain, "p"),
    ] {
        assert_eq!(said(&policy, identity, path, memory), wanted, "{identity} {path} {memory:?}");
    }
}

#[test]
fn an_empty_policy_releases_nothing() {
    let empty = Policy::default();
    assert!(empty.is_empty());
    assert_eq!(said(&empty, "eu:a/b", "secret/x", Memory::Sealed), "p");
}

#[test]
fn reading_is_not_writing() {
    let mut writes = rule("w", &["pki/issue/web"], &["eu:a/b"], "");
    writes.operations = vec![Action::Write];
    let policy = policy(vec![rule("r", &["secret"], &["eu:a/b"], ""), writes]);
    let (identity, level, standing) = (who("eu:a/b"), level(Memory::Sealed), Standing::default());
    let (level, standing) = (&level, &standing);
    let ask = |action, path| {
        let asked = Asked { identity: &identity, action, path, level, standing, node: None };
        matches!(policy.decide(&asked), Decision::Release { .. })
    };
    assert!(ask(Action::Read, "secret/x") && ask(Action::Write, "pki/issue/web"));
    assert!(!ask(Action::Write, "secret/x") && !ask(Action::Read, "pki/issue/web"));
    assert!(!ask(Action::Decrypt, "secret/x"));
}

#[test]
fn the_order_of_rules_decides_nothing() {
    let rules = vec![
        rule("wide", &["secret"], &["eu:*/*"], ""),
        rule("open", &["secret/pay*"], &["eu:*/*"], ""),
        rule("pay", &["secret/pay"], &["eu:shop/pay"], "memory=sealed"),
    ];
    let forward = policy(rules.clone());
    let backward = policy(rules.into_iter().rev().collect());
    for path in ["secret/x", "secret/pay", "secret/pay/x", "secret/payments", "kv/x"] {
        for identity in ["eu:shop/pay", "eu:a/b"] {
            let ask = |policy| said(policy, identity, path, Memory::Plain);
            assert_eq!(ask(&forward), ask(&backward), "{identity} {path}");
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_rules_name() {
    let bad = |rule: RuleFile| Policy::compile(file(vec![rule])).unwrap_err().to_string();
    let ok = ["eu:a/b"];
    for path in ["", "*", "a/*/b", "a//b", "../a", "a/b*c"] {
        let error = bad(rule("bad", &[path], &ok, ""));
        assert!(error.contains("\"bad\"") && error.contains("no path"), "{error}");
    }
    for identity in ["", "a/b", "eu:a", "eu:a/b/c", "eu:a*/b", ":a/b", "eu:/b"] {
        let error = bad(rule("bad", &["a/b"], &[identity], ""));
        assert!(error.contains("no identity"), "{identity}: {error}");
    }
    assert!(bad(rule("bad", &[], &ok, "")).contains("no path"));
    assert!(bad(rule("bad", &["a/b"], &[], "")).contains("no identity"));
    let twice = file(vec![rule("x", &["a"], &ok, ""), rule("x", &["b"], &ok, "")]);
    assert!(Policy::compile(twice).is_err());
}

#[test]
fn one_secret_has_one_spelling() {
    for path in ["secret/data/app", "secret/app", "/secret/app/", "secret/data/app/"] {
        assert_eq!(canonical(path).as_deref(), Some("secret/app"));
    }
    assert_eq!(canonical("secret/../x"), None);
}

mod terms;
