use super::*;

#[test]
fn an_empty_document_is_the_default_plan() {
    assert_eq!(LaunchPlan::from_json(b"{}").unwrap(), LaunchPlan::default());
}

#[test]
fn a_misspelt_field_is_an_error_that_names_it() {
    let error = LaunchPlan::from_json(br#"{"requires":["memory=sealed"]}"#).unwrap_err();
    assert!(error.to_string().contains("requires"), "{error}");
}

#[test]
fn a_plan_survives_the_way_through_json() {
    let text = br#"{
        "server": {"address": "https://bao:8200", "verify": "skip"},
        "auth": {"method": "oidc", "role": "app"},
        "env": {"A": "vault:kv/a#b"},
        "from": [{"path": "kv/app", "prefix": "APP_"}],
        "rotation": {"poll": "250ms", "action": "in-place"},
        "require": ["memory=sealed", "T3=partial"],
        "reads": {"deadline": 10, "missing": "skip"},
        "transit": {"key": "k"}
    }"#;
    let plan = LaunchPlan::from_json(text).unwrap();
    assert_eq!(plan.auth.method, Some(AuthMethod::Jwt));
    assert_eq!(plan.transit.as_ref().map(|t| (t.mount.as_str(), t.batch)), Some(("transit", 25)));
    let again = serde_json::to_vec(&plan).unwrap();
    assert_eq!(LaunchPlan::from_json(&again).unwrap(), plan);
}

#[test]
fn periods_read_their_units() {
    let ms = |text: &str| text.parse::<Period>().map(|p| p.0.as_millis());
    assert_eq!(ms("250ms"), Ok(250));
    assert_eq!(ms("30"), Ok(30_000));
    assert_eq!(ms("5m"), Ok(300_000));
    assert_eq!(ms("2h"), Ok(7_200_000));
    assert_eq!(ms("1m30s"), Ok(90_000));
    for bad in ["", "s", "1d", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
        assert_eq!(ms(bad), Err(PeriodError), "{bad}");
    }
}

#[test]
fn the_longest_period_is_read_as_it_is_written() {
    let longest: Period = "18446744073709551615ms".parse().unwrap();
    assert_eq!(longest.to_string().parse(), Ok(longest));
    for longer in ["18446744073709551615ms1ms", "18446744073709552s"] {
        assert_eq!(longer.parse::<Period>(), Err(PeriodError), "{longer}");
    }
    let as_number = |seconds: u64| serde_json::from_value::<Period>(seconds.into());
    assert_eq!(as_number(90).unwrap(), "1m30s".parse().unwrap());
    assert!(as_number(18_446_744_073_709_552).is_err());
}
