use std::fmt;

use cloudtaser_core::plan::LaunchPlan;
use serde_json::json;

use super::*;

#[derive(Debug)]
struct Away;

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing there")
    }
}

impl std::error::Error for Away {}

/// Answers from a table and counts its reads.
#[derive(Default)]
struct Table {
    reads: Vec<String>,
    batches: Vec<usize>,
}

impl Vault for Table {
    type Error = Away;

    fn read(&mut self, source: &Source) -> Result<Map<String, Json>, Away> {
        self.reads.push(source.to_string());
        let fields = match source.path.as_str() {
            "db/creds" => json!({"user": format!("u{}", self.reads.len()), "n": 7, "o": {"a": 1}}),
            "kv/nul" => json!({"v": "a\0b"}),
            "kv/bad" => json!({"a=b": "x"}),
            _ => return Err(Away),
        };
        fields.as_object().cloned().ok_or(Away)
    }

    fn decrypt(&mut self, _transit: &Transit, texts: &[&str]) -> Result<Vec<Secret>, Away> {
        self.batches.push(texts.len());
        Ok(texts.iter().map(|text| Secret::from(text.to_uppercase())).collect())
    }

    fn token(&mut self) -> Option<Secret> {
        Some(Secret::from("tok".to_owned()))
    }

    fn is_missing(_error: &Away) -> bool {
        true
    }
}

type Values = Vec<(String, String)>;

fn run(pairs: &[(&str, &str)], plan: &str) -> (Result<Values, String>, Table, Vec<String>) {
    let plan = LaunchPlan::from_json(plan.as_bytes()).unwrap();
    let inherited = pairs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()));
    let variables = Variables::parse(inherited.collect(), &plan).unwrap();
    let mut table = Table::default();
    let rules = Rules { missing: plan.reads.missing, transit: plan.transit.as_ref() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match resolve(&variables, rules, &mut table) {
        Err(error) => (Err(error.to_string()), table, Vec::new()),
        Ok(outcome) => {
            let shown = outcome.variables.iter().map(|v| match &v.value {
                Delivered::Plain(value) => (text(&v.name), text(value)),
                Delivered::Sealed(secret) => (text(&v.name), text(secret.expose())),
            });
            (Ok(shown.collect()), table, outcome.warnings)
        }
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn one_source_is_read_once_however_often_it_is_named() {
    let (values, table, _) = run(
        &[
            ("A", "vault:db/creds#user"),
            ("B", "x${bao:db/creds#user}y${vault:db/creds#n}"),
            ("C", "vault:db/creds#{{ user }}/{{ o.a }}"),
        ],
        r#"{"from":[{"path":"db/creds","prefix":"P_"}]}"#,
    );
    let values = values.unwrap();
    assert_eq!(table.reads.len(), 1);
    assert_eq!(values[0], pair("A", "u1"));
    assert_eq!(values[1], pair("B", "xu1y7"));
    assert_eq!(values[2], pair("C", "u1/1"));
    assert!(values.contains(&pair("P_o", r#"{"a":1}"#)));
}

#[test]
fn an_explicit_variable_wins_over_a_bulk_import() {
    let (values, ..) = run(&[("user", "mine")], r#"{"from":[{"path":"db/creds"}]}"#);
    assert_eq!(values.unwrap().iter().filter(|(n, _)| n == "user").count(), 1);
}

#[test]
fn a_value_that_holds_a_reference_is_not_expanded_again() {
    let (values, ..) = run(&[("A", "${vault:v1:bao:login}")], r#"{"transit":{"key":"k"}}"#);
    assert_eq!(values.unwrap(), [pair("A", "VAULT:V1:BAO:LOGIN")]);
}

#[test]
fn ciphertexts_of_one_value_go_in_one_request() {
    let (values, table, _) =
        run(&[("A", "${vault:v1:a}${vault:v1:b}")], r#"{"transit":{"key":"k"}}"#);
    assert_eq!(values.unwrap(), [pair("A", "VAULT:V1:AVAULT:V1:B")]);
    assert_eq!(table.batches, [2]);
}

#[test]
fn what_is_missing_stops_the_launch_unless_it_may_be_left_out() {
    let missing = [("A", "vault:kv/none#x"), ("B", "vault:db/creds#nope"), ("C", "c")];
    assert_eq!(run(&missing, "{}").0, Err("A".to_owned()));
    let (values, _, warnings) = run(&missing, r#"{"reads":{"missing":"skip"}}"#);
    assert_eq!(values.unwrap(), [pair("C", "c")]);
    assert_eq!(warnings.len(), 2);
    assert!(warnings[1].contains("user"), "names the fields that are there: {warnings:?}");
}

#[test]
fn what_an_environment_cannot_hold_is_refused_even_where_missing_is_allowed() {
    let skip = r#"{"reads":{"missing":"skip"}}"#;
    assert!(run(&[("A", "vault:kv/nul#v")], skip).0.unwrap_err().contains("zero byte"));
    let bad = r#"{"from":[{"path":"kv/bad"}],"reads":{"missing":"skip"}}"#;
    assert!(run(&[], bad).0.unwrap_err().contains("cannot name a variable"));
}

#[test]
fn transit_without_a_key_says_what_to_set() {
    assert!(run(&[("A", "vault:v1:x")], "{}").0.unwrap_err().contains("VAULT_TRANSIT_KEY_ID"));
}
