use proptest::prelude::*;

use super::*;

const KV2: &str = r#"{"request_id":"1f3e","lease_id":"","renewable":false,"lease_duration":0,
"data":{"data":{"port":5432,"password":"p\"w\u00fc","none":null,"tags":["a"]},"metadata":{"created_time":
"2026-11-23T10:00:00.1Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":3}},
"wrap_info":null,"warnings":null,"auth":null}"#;

const DELETED: &str = r#"{"data":{"data":null,"metadata":{"created_time":"2026-11-23T10:00:00Z",
"deletion_time":"2026-11-23T10:01:00Z","destroyed":false,"version":2}}}"#;

const LOGIN: &str = r#"{"data":null,"auth":{"client_token":"s.abc","accessor":"acc","policies":
["default","app"],"token_policies":["default","app"],"metadata":{"role":"x"},"lease_duration":3600,
"renewable":true,"entity_id":"e","token_type":"service","orphan":true}}"#;

fn field(answer: &Answer, name: &str) -> String {
    String::from_utf8(answer.fields.get(name).unwrap().expose().to_vec()).unwrap()
}

#[test]
fn a_versioned_secret_gives_its_inner_fields() {
    let answer = parse(KV2.as_bytes(), "kv/data/app".to_owned()).unwrap();
    assert_eq!(field(&answer, "password"), "p\"wü");
    assert_eq!(field(&answer, "port"), "5432");
    assert_eq!(field(&answer, "tags"), r#"["a"]"#);
    assert_eq!(answer.version, Some(3));
    assert!(answer.lease.is_none());
    assert_eq!(answer.fields.names().collect::<Vec<_>>(), ["password", "port", "tags"]);
    assert!(answer.fields.json().expose().starts_with(b"{\"port\""));
}

#[test]
fn an_unversioned_secret_may_have_fields_called_data_and_metadata() {
    let text = r#"{"data":{"data":{"a":1},"metadata":{"version":"old"}},"lease_duration":2764800}"#;
    let answer = parse(text.as_bytes(), "kv/app".to_owned()).unwrap();
    assert_eq!(answer.fields.names().collect::<Vec<_>>(), ["data", "metadata"]);
    assert_eq!(answer.version, None);
}

#[test]
fn a_dynamic_secret_has_a_lease() {
    let text = r#"{"lease_id":"database/creds/app/x","renewable":true,"lease_duration":60,
        "data":{"username":"u","password":"p"},"warnings":["be\ncareful"]}"#;
    let answer = parse(text.as_bytes(), "database/creds/app".to_owned()).unwrap();
    let lease = answer.lease.as_ref().unwrap();
    assert_eq!((lease.id.as_str(), lease.renewable), ("database/creds/app/x", true));
    assert_eq!(lease.duration, Duration::from_secs(60));
    assert_eq!(answer.warnings, ["be careful"]);
}

#[test]
fn a_deleted_and_a_destroyed_version_are_told_apart() {
    let deleted = |text: &str| match missing(text.as_bytes()) {
        Some(Failure::Deleted { version, destroyed }) => (version, destroyed),
        other => panic!("{other:?}"),
    };
    assert_eq!(deleted(DELETED), (Some(2), false));
    assert_eq!(
        deleted(&DELETED.replace("\"destroyed\":false", "\"destroyed\":true")),
        (Some(2), true)
    );
    assert!(missing(br#"{"errors":[]}"#).is_none());
    assert!(parse(DELETED.as_bytes(), String::new()).is_err());
}

#[test]
fn a_login_gives_a_session_that_does_not_print_its_token() {
    let session = session(LOGIN.as_bytes()).unwrap();
    assert_eq!(session.token().expose(), b"s.abc");
    assert_eq!(session.lease, Duration::from_secs(3600));
    assert_eq!(session.policies, ["default", "app"]);
    assert!(session.renewable);
    assert!(!format!("{session:?}").contains("s.abc"));
}

#[test]
fn an_answer_without_a_token_is_no_login() {
    for text in [r#"{"auth":null}"#, r#"{"auth":{"client_token":""}}"#, r#"{"auth":{}}"#, "[]", "3"]
    {
        assert!(matches!(session(text.as_bytes()), Err(Failure::Shape(_))), "{text}");
    }
}

#[test]
fn debug_output_shows_names_but_no_values() {
    let answer = parse(KV2.as_bytes(), "kv/data/app".to_owned()).unwrap();
    let shown = format!("{answer:?}");
    assert!(
        shown.contains("password") && !shown.contains("p\"w") && !shown.contains("5432"),
        "{shown}"
    );
}

#[test]
fn a_mount_says_whether_it_has_versions() {
    let text = |version| {
        format!(
            r#"{{"data":{{"path":"team/kv/","type":"kv","options":{{"version":"{version}"}}}}}}"#
        )
    };
    let at = |text: &str| mount(text.as_bytes()).unwrap();
    assert_eq!(at(&text("2")), Mount { path: "team/kv/".to_owned(), versioned: true });
    assert!(!at(&text("1")).versioned);
    assert!(!at(r#"{"data":{"path":"pki/","type":"pki","options":null}}"#).versioned);
}

#[test]
fn errors_are_made_presentable() {
    assert_eq!(errors(br#"{"errors":["a\n\tb"]}"#), ["a b"]);
    assert_eq!(errors(b"<html>"), Vec::<String>::new());
}

#[test]
fn half_a_character_is_refused_rather_than_replaced() {
    let text = r#"{"data":{"a":"\ud800"}}"#;
    assert!(matches!(parse(text.as_bytes(), String::new()), Err(Failure::Shape(_))));
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        exercise(&bytes);
    }

    #[test]
    fn no_change_to_a_good_answer_makes_a_parser_panic(at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
        for good in [KV2, DELETED, LOGIN] {
            let mut bytes = good.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            bytes.truncate(cut.index(bytes.len()).max(1));
            exercise(&bytes);
        }
    }

    #[test]
    fn every_field_is_read_back(fields in proptest::collection::btree_map("[a-z]{1,8}", any::<String>(), 0..8)) {
        let text = serde_json::json!({ "data": fields }).to_string();
        let answer = parse(text.as_bytes(), String::new()).unwrap();
        let read: BTreeMap<String, String> = answer
            .fields
            .iter()
            .map(|(name, value)| (name.to_owned(), value.expose_str().unwrap().to_owned()))
            .collect();
        prop_assert_eq!(read, fields);
    }
}

fn exercise(bytes: &[u8]) {
    drop((parse(bytes, String::new()), missing(bytes), session(bytes), errors(bytes)));
    drop((mount(bytes), lease(bytes, "x"), unwrapped(bytes, "a"), creation_path(bytes)));
}
