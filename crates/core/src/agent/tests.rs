use serde_json::json;

use super::*;

fn answer() -> Answer {
    Answer {
        done: true,
        state: level::Agent::Degraded,
        tier: Some("fmod_ret".to_owned()),
        reasons: vec!["open: kcore".to_owned()],
        text: "DEGRADED(fmod_ret: open: kcore)".to_owned(),
        report: None,
        evidence: None,
    }
}

/// A changed byte here is a wrapper that an agent of another age does not understand.
#[test]
fn packets_are_these_bytes() {
    let questions = [
        (Question::Guard, r#""guard""#),
        (Question::Protect { pid: 4711 }, r#"{"protect":{"pid":4711}}"#),
        (Question::Status, r#""status""#),
        (Question::Orders, r#""orders""#),
        (
            Question::Attest { session: Hash::new([1; 32]), sealing: Hash::new([2; 32]) },
            r#"{"attest":{"session":"0101010101010101010101010101010101010101010101010101010101010101","sealing":"0202020202020202020202020202020202020202020202020202020202020202"}}"#,
        ),
        (
            Question::Order { text: r#"{"a":1}"#.to_owned(), signature: "00".to_owned() },
            r#"{"order":{"text":"{\"a\":1}","signature":"00"}}"#,
        ),
    ];
    for (question, bytes) in questions {
        assert_eq!(String::from_utf8(question.to_packet()).unwrap(), bytes);
        assert_eq!(Question::parse(bytes.as_bytes()), Ok(question));
    }
    let enforcing = Answer {
        state: level::Agent::Enforcing,
        tier: Some("lsm".to_owned()),
        reasons: Vec::new(),
        text: "ENFORCING(lsm)".to_owned(),
        ..answer()
    };
    let refused = Answer { done: false, tier: None, text: "no".to_owned(), ..enforcing.clone() };
    let reported = Answer { report: Some(json!({"schema": 1})), ..enforcing.clone() };
    let signed = NodeEvidence {
        statement: "{}".to_owned(),
        key: Hash::new([3; 32]),
        signature: "00".to_owned(),
        tpm: None,
        hardware: None,
    };
    let attested = Answer { evidence: Some(signed), ..enforcing.clone() };
    let answers = [
        (
            attested,
            r#"{"done":true,"state":"enforcing","tier":"lsm","text":"ENFORCING(lsm)","evidence":{"statement":"{}","key":"0303030303030303030303030303030303030303030303030303030303030303","signature":"00"}}"#,
        ),
        (enforcing, r#"{"done":true,"state":"enforcing","tier":"lsm","text":"ENFORCING(lsm)"}"#),
        (
            answer(),
            r#"{"done":true,"state":"degraded","tier":"fmod_ret","reasons":["open: kcore"],"text":"DEGRADED(fmod_ret: open: kcore)"}"#,
        ),
        (refused, r#"{"done":false,"state":"enforcing","text":"no"}"#),
        (
            reported,
            r#"{"done":true,"state":"enforcing","tier":"lsm","text":"ENFORCING(lsm)","report":{"schema":1}}"#,
        ),
    ];
    for (answer, bytes) in answers {
        assert_eq!(String::from_utf8(answer.to_packet()).unwrap(), bytes);
        assert_eq!(Answer::parse(bytes.as_bytes()), Ok(answer));
    }
}

#[test]
fn there_is_no_question_that_takes_a_guard_away_or_asks_for_more_than_is_known() {
    for text in [
        r#""unprotect""#,
        r#""unload""#,
        r#"{"protect":{"pid":1,"off":true}}"#,
        r#"{"protect":{"pid":99999999999}}"#,
        r#"{"guard":{}}"#,
        r#""guard" "status""#,
        "",
    ] {
        assert!(Question::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn a_packet_that_is_too_long_is_not_even_looked_at() {
    let long = |len| [br#""guard""#.to_vec(), vec![b' '; len]].concat();
    let most = QUESTION_MAX;
    assert_eq!(Question::parse(&long(QUESTION_MAX)), Err(MessageError::TooLong { most }));
    assert!(Question::parse(&long(QUESTION_MAX - 7)).is_ok());
    let most = EVIDENCE_MAX;
    assert_eq!(Answer::parse(&vec![b' '; most + 1]), Err(MessageError::TooLong { most }));
}

#[test]
fn answers_of_a_newer_agent_are_read_and_states_that_nobody_knows_are_not() {
    let newer = br#"{"done":true,"state":"enforcing","text":"","since":7}"#;
    assert_eq!(Answer::parse(newer).map(|answer| answer.facet()), Ok(level::Agent::Enforcing));
    let unknown = br#"{"done":true,"state":"perfect","text":""}"#;
    assert_eq!(Answer::parse(unknown), Err(MessageError::Unknown));
}

#[test]
fn a_refused_guard_claims_nothing_whatever_the_state() {
    let refused = Answer { done: false, state: level::Agent::Enforcing, ..answer() };
    assert_eq!(refused.facet(), level::Agent::Off);
}

#[test]
fn texts_are_cut_between_characters_and_stay_on_their_line() {
    let long = Answer {
        reasons: vec!["\u{1b}[2J\n\"é".repeat(100); 99],
        text: "é\\".repeat(9000),
        ..answer()
    };
    let packet = long.to_packet();
    assert!(packet.len() <= ANSWER_MAX, "{}", packet.len());
    let read = Answer::parse(&packet).unwrap();
    assert_eq!(read.reasons.len(), REASONS_MAX);
    assert!(read.reasons.iter().all(|r| r.len() <= REASON_MAX && !r.contains(char::is_control)));
    assert_eq!(Answer::parse(&read.to_packet()), Ok(read));
}
