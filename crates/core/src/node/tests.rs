use super::*;

/// A statement as an agent that enforces makes it.
pub(crate) fn statement() -> NodeStatement {
    let launch = Launch {
        wrapper: Some(Hash([4; 32])),
        pod: Some("0d7c1e5a-0000-4000-8000-000000000001".to_owned()),
        container: None,
    };
    let roads = [("environ", Outcome::Denied), ("kcore", Outcome::Absent)];
    NodeStatement {
        at: 1_800_000_000,
        boot: "b".to_owned(),
        kernel: "6.12.1-cloud".to_owned(),
        lockdown: Lockdown::Integrity,
        state: level::Agent::Enforcing,
        tier: Some("lsm".to_owned()),
        proved_s: 3,
        roads: roads.map(|(road, outcome)| (road.to_owned(), outcome)).into(),
        programs: Programs { count: 55, tags: Hash([5; 32]) },
        ..NodeStatement::new(Hash([1; 32]), Hash([2; 32]), Hash([3; 32]), launch)
    }
}

#[test]
fn a_statement_has_one_spelling() {
    let text = statement().to_text();
    assert_eq!(NodeStatement::parse(&text), Ok(statement()));
    assert!(text.len() < 1024, "{}", text.len());
    for other in [
        format!(" {text}"),
        format!("{text}\n"),
        text.replace(":3,", ": 3,"),
        text.replace("environ", "\\u0065nviron"),
        // The second of two would count.
        text.replace("\"environ\":\"denied\"", "\"environ\":\"open\",\"environ\":\"denied\""),
    ] {
        assert_eq!(NodeStatement::parse(&other), Err(StatementError::NotCanonical), "{other}");
    }
}

#[test]
fn what_is_cut_added_or_of_another_form_is_none() {
    let text = statement().to_text();
    for end in 0..text.len() {
        assert!(NodeStatement::parse(text.get(..end).unwrap()).is_err(), "cut at {end}");
    }
    for other in [
        text.replace("\"v\":1", "\"v\":2"),
        text.replacen('{', "{\"more\":1,", 1),
        text.replace("enforcing", "perfect"),
        text.replacen(&"01".repeat(32), &"01".repeat(31), 1),
        text.replacen(&"02".repeat(32), &"0A".repeat(32), 1),
    ] {
        assert_eq!(NodeStatement::parse(&other), Err(StatementError::Unknown), "{other}");
    }
    let long = format!("{text}{}", " ".repeat(STATEMENT_MAX));
    assert_eq!(NodeStatement::parse(&long), Err(StatementError::TooLong));
}

#[test]
fn texts_and_lists_have_limits_when_written_and_when_read() {
    let long = NodeStatement {
        reasons: vec!["x\n".repeat(200); 40],
        kernel: "ü".repeat(150),
        roads: (0..300).map(|number| (format!("road-{number}"), Outcome::Open)).collect(),
        ..statement()
    };
    let text = long.to_text();
    let read = NodeStatement::parse(&text).unwrap();
    assert_eq!((read.reasons.len(), read.roads.len()), (REASONS_MAX, ROADS_MAX));
    assert!(!text.contains("\\n"));
    // Not written by us: a control character inside.
    let odd = statement().to_text().replace("6.12.1", "6.12\\n1");
    assert_eq!(NodeStatement::parse(&odd), Err(StatementError::Bounds));
    let pod = statement().to_text().replace("0d7c", "0d\\u001b7c");
    assert_eq!(NodeStatement::parse(&pod), Err(StatementError::Bounds));
}

#[test]
fn what_is_signed_is_said_to_be_a_statement() {
    assert!(signed_bytes("{}").starts_with(b"cloudtaser node statement, version 1\n"));
    assert_ne!(signed_bytes("x"), crate::agent::order::signed_bytes("x"));
}
