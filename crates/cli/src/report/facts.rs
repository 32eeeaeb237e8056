//! Figures, each with the place in the verified evidence that it comes from.
//!
//! Whatever number the report shows is one of these, and carries its mark. The place is a pointer
//! into what `cloudtaser evidence verify --json` prints of the same evidence, so that a reader can
//! look it up.

use anyhow::{Context as _, Result};
use cloudtaser_evidence::date;
use serde::Serialize;
use serde_json::Value;

/// A figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fact {
    /// `E1`, `E2`, …
    pub(crate) id: String,
    /// What it is.
    pub(crate) what: String,
    /// The figure, as it stands there.
    pub(crate) value: String,
    /// The same for readers: a time as a date, a list as words.
    pub(crate) shown: String,
    /// Where: a JSON pointer (RFC 6901).
    pub(crate) pointer: String,
}

/// What is taken one by one: pointer, words.
const SINGLE: [(&str, &str); 14] = [
    ("/log", "the log's name"),
    ("/size", "receipts that the log had"),
    ("/root", "its root then"),
    ("/tally/receipts", "receipts that were verified"),
    ("/tally/released", "releases among them"),
    ("/tally/secrets", "secrets with different hidden names"),
    ("/tally/whole_log", "whether that is the whole log"),
    ("/tally/with_evidence", "releases that name a statement of evidence"),
    ("/tally/documents", "of those statements, how many are in the file"),
    ("/tally/attested", "releases whose node signed a statement that is in the file"),
    ("/tally/without_request", "released secrets without OpenBao's id of the request"),
    ("/tally/break_glass", "releases for which people set the policy aside"),
    ("/tally/approved", "releases that people approved"),
    ("/tally/loud_total", "entries that have to be heard first"),
];

/// What is taken entry by entry: pointer, words before the entry's name.
const EACH: [(&str, &str); 9] = [
    ("/tally/refused", "refusals for the reason"),
    ("/tally/notices", "notices of the kind"),
    ("/tally/assurance", "releases at assurance"),
    ("/tally/key_exchanges", "releases with the key exchange"),
    ("/tally/sealings", "releases sealed with"),
    ("/tally/policies", "receipts decided by the policy"),
    ("/tally/bridges", "releases by the bridge with the program"),
    ("/tally/wrappers", "releases to the wrapper with the program"),
    ("/tally/days", "releases on day"),
];

const VERDICTS: [&str; 3] = ["open", "partial", "closed"];

/// Takes the figures from a verified report.
pub(crate) fn facts(report: &Value) -> Result<Vec<Fact>> {
    let mut facts = Facts { report, list: Vec::new() };
    for (pointer, what) in SINGLE {
        facts.take(pointer, what)?;
    }
    if report.pointer("/tally/time_ms").is_some_and(Value::is_array) {
        facts.take("/tally/time_ms/0", "the first receipt's time (Unix time in ms)")?;
        facts.take("/tally/time_ms/1", "the last receipt's time (Unix time in ms)")?;
    }
    facts.claims()?;
    for (pointer, what) in EACH {
        let entries = report.pointer(pointer).and_then(Value::as_object);
        for name in entries.into_iter().flat_map(|entries| entries.keys()) {
            facts.take(
                &format!("{pointer}/{}", escaped(name)),
                &format!("{what} {}", named(name)),
            )?;
        }
    }
    for row in 0..6 {
        for (column, verdict) in VERDICTS.iter().enumerate() {
            let what = format!("releases with T{} {verdict}", row + 1);
            facts.take(&format!("/tally/rows/{row}/{column}"), &what)?;
        }
    }
    let clusters = report.pointer("/tally/clusters").and_then(Value::as_object);
    for name in clusters.into_iter().flat_map(|clusters| clusters.keys()) {
        for (field, what) in [("receipts", "receipts of"), ("missing", "numbers missing of")] {
            let pointer = format!("/tally/clusters/{}/{field}", escaped(name));
            facts.take(&pointer, &format!("{what} cluster {name}"))?;
        }
    }
    for at in 0..count(report, "/names") {
        facts.take(&format!("/names/{at}/path"), "a name that its owner opened")?;
        facts.take(&format!("/names/{at}/fields"), "its fields")?;
    }
    for name in registered(report) {
        for (field, what) in [
            ("releases", "releases of the secret"),
            ("versions", "lowest and highest version of it, if told"),
            ("last_ms", "its last release (Unix time in ms)"),
        ] {
            facts.take(&format!("/tally/register/{name}/{field}"), &format!("{what} {name}"))?;
        }
    }
    for at in 0..count(report, "/tally/loud") {
        for (field, what) in [
            ("index", "position of an entry that has to be heard"),
            ("time_ms", "its time (Unix time in ms)"),
            ("kind", "its kind"),
            ("words", "what it says"),
        ] {
            facts.take(&format!("/tally/loud/{at}/{field}"), what)?;
        }
    }
    for at in 0..count(report, "/witnesses") {
        facts.take(&format!("/witnesses/{at}/witness"), "a witness that signed")?;
        facts.take(&format!("/witnesses/{at}/unix_seconds"), "when (Unix time)")?;
    }
    if report.get("audit").is_some() {
        for (field, what) in [
            ("answered", "reads that OpenBao answered"),
            ("matched", "of those, with a receipt"),
            ("unreceipted_total", "of those, without one"),
            ("unaudited_total", "requests of receipts that OpenBao does not know"),
        ] {
            facts.take(&format!("/audit/{field}"), what)?;
        }
    }
    Ok(facts.list)
}

/// How long a list of the evidence is.
fn count(report: &Value, pointer: &str) -> usize {
    report.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len)
}

/// The secrets that the page lists: those with most releases.
pub(crate) fn registered(report: &Value) -> Vec<String> {
    /// More would be paper that nobody reads; the JSON of the evidence has all.
    const LISTED: usize = 40;
    let register = report.pointer("/tally/register").and_then(Value::as_object);
    let releases = |secret: &Value| secret.get("releases").and_then(Value::as_u64).unwrap_or(0);
    let mut names: Vec<_> = register
        .into_iter()
        .flat_map(|register| register.iter().map(|(name, secret)| (releases(secret), name)))
        .collect();
    names.sort_by(|(more, one), (less, other)| less.cmp(more).then(one.cmp(other)));
    names.into_iter().take(LISTED).map(|(_, name)| name.clone()).collect()
}

/// A day is written as a date.
fn named(name: &str) -> String {
    match name.parse() {
        Ok(day) if name.len() == 5 => date::day_to_text(day),
        _ => name.to_owned(),
    }
}

/// A figure for readers, by what its place says that it is.
fn shown(pointer: &str, value: &Value) -> Option<String> {
    let last = pointer.rsplit('/').next()?;
    if last.ends_with("_ms") || pointer.starts_with("/tally/time_ms/") {
        return value
            .as_u64()
            .map_or_else(|| Some("never".to_owned()), |ms| Some(date::to_text(ms)));
    }
    match last {
        "unix_seconds" => Some(date::to_text(value.as_u64()?.saturating_mul(1000))),
        "fields" => {
            Some(value.as_array()?.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
        }
        "standing" => Some(value.as_str()?.replace('-', " ")),
        "versions" => Some(match (value.pointer("/0"), value.pointer("/1")) {
            (Some(low), Some(high)) if low == high => format!("v{low}"),
            (Some(low), Some(high)) => format!("v{low} to v{high}"),
            _ => "not told".to_owned(),
        }),
        "whole_log" => {
            Some(if value.as_bool()? { "the whole log" } else { "a part of the log" }.to_owned())
        }
        _ => None,
    }
}

pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

struct Facts<'a> {
    report: &'a Value,
    list: Vec<Fact>,
}

impl Facts<'_> {
    fn take(&mut self, pointer: &str, what: &str) -> Result<()> {
        let found = self.report.pointer(pointer);
        let found = found.with_context(|| format!("the evidence has no {pointer}"))?;
        let value = match found {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let shown = shown(pointer, found).unwrap_or_else(|| value.clone());
        let id = format!("E{}", self.list.len() + 1);
        let (what, pointer) = (what.to_owned(), pointer.to_owned());
        self.list.push(Fact { id, what, value, shown, pointer });
        Ok(())
    }

    /// How each claim stands, and why: that sentence has figures as well.
    fn claims(&mut self) -> Result<()> {
        for at in 0..count(self.report, "/claims") {
            let id = self.report.pointer(&format!("/claims/{at}/id")).and_then(Value::as_str);
            let id = id.unwrap_or("?").to_owned();
            self.take(&format!("/claims/{at}/standing"), &format!("how claim {id} stands"))?;
            self.take(&format!("/claims/{at}/because"), &format!("why claim {id} stands so"))?;
        }
        Ok(())
    }
}
