use super::*;

const BRIDGE: &str = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn order(act: Act, seconds: u64) -> Order {
    Order {
        bridge: SignerKey::try_from(BRIDGE.to_owned()).unwrap(),
        by: "anna".to_owned(),
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        from: 1000,
        until: 1000 + seconds,
        reason: "INC-1: the pump stands".to_owned(),
        act,
    }
}

fn approve() -> Act {
    Act::Approve { name: "ab".repeat(32), workload: "eu:shop/web".to_owned() }
}

fn broken() -> Act {
    Act::BreakGlass { rule: "pay".to_owned(), relax: vec![Relax::Level, Relax::Limit] }
}

#[test]
fn orders_are_these_bytes() {
    for (act, json) in [
        (
            approve(),
            format!(r#"{{"approve":{{"name":"{}","workload":"eu:shop/web"}}}}"#, "ab".repeat(32)),
        ),
        (broken(), r#"{"break-glass":{"rule":"pay","relax":["level","limit"]}}"#.to_owned()),
    ] {
        let order = order(act, 60);
        let text = order.to_text().unwrap();
        let expected = format!(
            r#"{{"bridge":"{BRIDGE}","by":"anna","id":"0123456789abcdef0123456789abcdef","from":1000,"until":1060,"reason":"INC-1: the pump stands","act":{json}}}"#
        );
        assert_eq!(text, expected);
        assert_eq!(Order::parse(&text), Ok(order));
    }
    assert!(signed_bytes("x").starts_with(b"cloudtaser release order, version 1\n"));
}

#[test]
fn what_is_not_meant_is_not_taken() {
    let check = |order: Order, error| assert_eq!(order.to_text(), Err(error), "{order:?}");
    check(order(approve(), 0), OrderError::Time);
    check(order(approve(), APPROVAL_SECONDS_MAX + 1), OrderError::Time);
    check(order(broken(), BREAK_GLASS_SECONDS_MAX + 1), OrderError::Time);
    check(Order { until: 5, ..order(approve(), 60) }, OrderError::Time);
    check(Order { id: "0".repeat(31), ..order(approve(), 60) }, OrderError::Id);
    check(Order { reason: " ".to_owned(), ..order(approve(), 60) }, OrderError::Reason);
    check(Order { reason: "a\nb".to_owned(), ..order(approve(), 60) }, OrderError::Reason);
    check(Order { by: String::new(), ..order(approve(), 60) }, OrderError::Name);
    for workload in ["", "eu:shop", "eu:shop/*", "*:shop/web", "eu:a/b/c", "eu:a b/c", ":a/b"] {
        let act = Act::Approve { name: "ab".repeat(32), workload: workload.to_owned() };
        check(order(act, 60), OrderError::Name);
    }
    for name in ["", "xy", &"AB".repeat(32)] {
        let act = Act::Approve { name: name.to_owned(), workload: "eu:a/b".to_owned() };
        check(order(act, 60), OrderError::Name);
    }
    for relax in [vec![], vec![Relax::Level, Relax::Level]] {
        let act = Act::BreakGlass { rule: "pay".to_owned(), relax };
        check(order(act, 60), OrderError::Relax);
    }
    for text in ["", "{}", "[]", &"x".repeat(FILE_MAX + 1)] {
        assert!(Order::parse(text).is_err());
    }
    let more = order(approve(), 60).to_text().unwrap().replacen('{', r#"{"more":1,"#, 1);
    assert_eq!(Order::parse(&more), Err(OrderError::Form));
}

#[test]
fn an_order_holds_from_its_beginning_to_before_its_end() {
    let order = order(broken(), 60);
    for (now, holds) in [(0, false), (699, false), (700, true), (1000, true), (1059, true)] {
        assert_eq!(order.is_in_force(now), holds, "{now}");
    }
    for now in [1060, 1061, u64::MAX] {
        assert!(!order.is_in_force(now), "{now}");
    }
}

#[test]
fn a_file_has_a_path_where_its_order_is_about_one_and_the_log_gets_none() {
    let file = |act, path: Option<&str>, blinding: Option<String>| {
        let signed = SignedOrder {
            order: order(act, 60).to_text().unwrap(),
            signature: "00".repeat(64),
            path: path.map(str::to_owned),
            blinding,
        };
        serde_json::to_string(&signed).unwrap()
    };
    let blinding = || Some("cd".repeat(32));
    let (signed, _) = SignedOrder::parse(&file(approve(), Some("secret/x"), blinding())).unwrap();
    SignedOrder::parse(&file(broken(), None, None)).unwrap();
    for odd in [
        file(approve(), None, None),
        file(approve(), Some("secret/x"), None),
        file(approve(), Some("secret/\n"), blinding()),
        file(approve(), Some("secret/x"), Some("cd".to_owned())),
        file(broken(), Some("secret/x"), blinding()),
        file(broken(), None, None).replace("0000", "000g"),
    ] {
        assert_eq!(SignedOrder::parse(&odd), Err(OrderError::Form), "{odd}");
    }
    let kept = signed.kept(SignerKey::try_from(BRIDGE.to_owned()).unwrap()).to_bytes();
    assert!(!String::from_utf8_lossy(&kept).contains("secret/x"));
    assert_eq!(KeptOrder::parse(&kept).unwrap().1, order(approve(), 60));
}
