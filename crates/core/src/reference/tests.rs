use proptest::prelude::*;

use super::*;

fn whole(text: &str) -> Reference {
    match Value::parse(text) {
        Ok(Value::Whole(reference)) => reference,
        other => panic!("{text}: {other:?}"),
    }
}

fn refused(text: &str) -> (Wrong, String) {
    let error = Value::parse(text).expect_err(text);
    (error.kind, error.pointed(text).to_string())
}

#[test]
fn a_field_of_a_path_is_read() {
    let reference = whole("vault:secret/data/db#password");
    assert_eq!(reference.source.path.as_str(), "secret/data/db");
    assert_eq!(reference.select, Select::Field("password".to_owned()));
    assert_eq!((reference.source.version, reference.source.write), (None, None));
}

#[test]
fn bao_is_a_twin_of_vault() {
    for form in ["vault:a/b#c", ">>vault:a/b#c", "x${vault:a/b#c}y", "vault:login", "vault:v1:zz"] {
        let twin = form.replace("vault:", "bao:");
        assert_eq!(Value::parse(form), Value::parse(&twin), "{form}");
    }
}

#[test]
fn a_version_is_a_number_from_one() {
    assert_eq!(whole("vault:a/b#c#7").source.version, Some(7));
    for bad in ["vault:a/b#c#0", "vault:a/b#c#", "vault:a/b#c#v1", "vault:a/b#c#+1"] {
        assert_eq!(refused(bad).0, Wrong::Version, "{bad}");
    }
}

#[test]
fn a_write_carries_its_json_with_hashes_in_it() {
    let reference = whole(r##">>vault:pki/issue/web#certificate#{"common_name":"a#b"}"##);
    assert_eq!(reference.source.write.as_deref(), Some(r##"{"common_name":"a#b"}"##));
    assert_eq!(whole(">>vault:pki/issue/web#certificate").source.write.as_deref(), Some("{}"));
    assert_eq!(refused(">>vault:a/b#c#[1]").0, Wrong::Body);
    assert_eq!(refused(">>vault:a/b#c#{\"x\":}").0, Wrong::Body);
}

#[test]
fn a_template_may_hold_a_hash_and_a_version() {
    let reference = whole("vault:a/b#{{ user }}#{{ password }}#3");
    assert_eq!(reference.source.version, Some(3));
    assert_eq!(reference.select, Select::Template("{{ user }}#{{ password }}".to_owned()));
    let reference = whole("vault:a/b#postgres://${.user | b64enc}");
    assert_eq!(reference.select, Select::Template("postgres://${.user | b64enc}".to_owned()));
}

#[test]
fn references_stand_inside_a_text() {
    let value = Value::parse("pg://${vault:a/b#user}:${bao:a/b#pw#2}@db/${HOME}").unwrap();
    let Value::Composite(pieces) = &value else { panic!("{value:?}") };
    assert_eq!(pieces.len(), 5);
    assert_eq!(pieces.first(), Some(&Piece::Text("pg://".to_owned())));
    assert_eq!(pieces.last(), Some(&Piece::Text("@db/${HOME}".to_owned())));
    assert_eq!(value.references().count(), 2);
}

#[test]
fn an_inline_write_closes_at_its_own_brace() {
    let value = Value::parse(r#"${>>vault:pki/issue/w#certificate#{"a":"}"}} tail"#).unwrap();
    let Value::Composite(pieces) = &value else { panic!("{value:?}") };
    assert_eq!(pieces.last(), Some(&Piece::Text(" tail".to_owned())));
    assert_eq!(
        value.references().next().and_then(|r| r.source.write.as_deref()),
        Some(r#"{"a":"}"}"#)
    );
}

#[test]
fn what_is_no_reference_is_left_alone() {
    for text in
        ["", "plain", "https://vault:8200/a#b", "${HOME}", "${", "my vault:a/b#c", "$vault:"]
    {
        assert_eq!(Value::parse(text), Ok(Value::Literal), "{text}");
    }
}

#[test]
fn transit_and_login_are_told_apart_from_paths() {
    assert_eq!(Value::parse("vault:login"), Ok(Value::Login));
    assert_eq!(Value::parse("bao:v3:abc="), Ok(Value::Transit("vault:v3:abc=".to_owned())));
    assert_eq!(refused("a ${vault:login}").0, Wrong::Login);
    assert_eq!(refused("vault:v1:").0, Wrong::MissingField);
}

#[test]
fn a_slip_is_pointed_at() {
    let cases: &[(&str, Wrong, &str)] = &[
        ("vault:secret/db", Wrong::MissingField, "    vault:secret/db\n                   ^"),
        ("vault:#pw", Wrong::EmptyPath, "    vault:#pw\n          ^"),
        ("vault:a/b#", Wrong::EmptyField, "    vault:a/b#\n              ^"),
        ("vault:a//b#c", Wrong::EmptySegment, "    vault:a//b#c\n            ^"),
        ("vault:a/../b#c", Wrong::Relative, "    vault:a/../b#c\n            ^^"),
        ("vault:mount#c", Wrong::MountOnly, "    vault:mount#c\n          ^^^^^"),
        ("vault:a/b #c", Wrong::Space, "    vault:a/b #c\n          ^^^^"),
    ];
    for (text, kind, shown) in cases {
        assert_eq!(refused(text), (*kind, (*shown).to_owned()), "{text}");
    }
}

#[test]
fn text_beside_a_bad_reference_is_not_shown() {
    let (kind, shown) = refused("postgres://admin:hunter2@db ${vault:a//b#c} trailing-secret");
    assert_eq!(kind, Wrong::EmptySegment);
    assert!(shown.contains("${vault:a//b#c}"), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains("trailing"), "{shown}");
    let (kind, shown) = refused("hunter2 ${vault:a/b#c");
    assert_eq!(kind, Wrong::Unclosed);
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn bulk_sources_take_a_version() {
    let source = Source::parse("secret/data/app#4").unwrap();
    assert_eq!((source.path.as_str(), source.version), ("secret/data/app", Some(4)));
    assert_eq!(Source::parse("/secret/app/").unwrap().path.as_str(), "secret/app");
    assert!(Source::parse("secret/app#latest").is_err());
}

#[test]
fn near_misses_are_noticed_and_urls_are_not() {
    for text in
        ["valut:a/b#c", "Vault:a/b#c", "vaul:a/b#c", " vault:a/b#c", "boa:a/b#c", "op://x/y"]
    {
        assert!(suspicion(text).is_some(), "{text}");
    }
    for text in ["https://a/b#c", "vault:a/b#c", "redis:a", "fault:/a/b#c", "default:a/b#c"] {
        assert!(suspicion(text).is_none(), "{text}");
    }
}

proptest! {
    #[test]
    fn parsing_is_total_and_spans_lie_inside(text in ".{0,80}") {
        for text in [text.clone(), format!("vault:{text}"), format!("x${{bao:{text}")] {
            if let Err(error) = Value::parse(&text) {
                prop_assert!(error.span.start <= error.span.end);
                prop_assert!(error.span.end <= text.len());
                drop(error.pointed(&text).to_string());
            }
            prop_assert!(suspicion(&text).is_none_or(|why| why.starts_with("this ")));
        }
    }

    #[test]
    fn a_path_that_parses_cannot_leave_its_mount(text in "[a-z./]{0,20}") {
        if let Ok(path) = SecretPath::parse(&text) {
            prop_assert!(path.as_str().split('/').all(|s| !matches!(s, "" | "." | "..")));
        }
    }

    #[test]
    fn written_references_are_read_back(
        path in "[a-z0-9_-]{1,8}(/[a-z0-9_. -]{0,6}[a-z0-9]){1,3}",
        field in "[A-Za-z0-9_.-]{1,12}",
        version in proptest::option::of(1_u32..),
    ) {
        let tail = version.map(|v| format!("#{v}")).unwrap_or_default();
        let reference = whole(&format!("vault:{path}#{field}{tail}"));
        prop_assert_eq!(reference.source.path.as_str(), path);
        prop_assert_eq!(reference.select, Select::Field(field));
        prop_assert_eq!(reference.source.version, version);
    }
}

#[test]
fn a_slip_in_json_is_pointed_at_in_its_own_line_and_at_a_whole_character() {
    let text = ">>vault:a/b#c#{\n \"ü\": ü}";
    let error = Value::parse(text).unwrap_err();
    assert_eq!(text.get(error.span.clone()), Some("ü}"), "{}", error.pointed(text));
}
