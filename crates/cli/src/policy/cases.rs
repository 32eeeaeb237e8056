//! `cloudtaser policy test`: a file of cases, what each has to come to, and what it comes to.

use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use cloudtaser_core::{
    ProtectionLevel,
    exit::Code,
    release::policy::{
        Action, Asked, Decision,
        terms::{Opened, Relax, Standing},
    },
};
use serde::Deserialize;
use serde_json::json;

use super::{PolicyFileError, Reached, Read, Who};
use crate::ui;

/// Cases, and the policy that they are for.
#[derive(Args, Debug)]
pub(super) struct Test {
    /// The policy.
    policy: PathBuf,
    /// The cases: TOML, `[[case]]` with identity, path, expect, and what else matters.
    cases: PathBuf,
    /// Print one JSON object: {passed, failed, cases [{name, passed, expected, got, rule, line, why}]}.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    name: Option<String>,
    identity: String,
    path: String,
    #[serde(default = "read")]
    action: Action,
    #[serde(default)]
    level: String,
    /// People who have approved it.
    #[serde(default)]
    approved_by: Vec<String>,
    /// Releases to this pod before.
    #[serde(default)]
    released: u64,
    #[serde(default)]
    last_hour: u64,
    /// Orders that set demands aside.
    #[serde(default)]
    break_glass: Vec<Glass>,
    expect: Expected,
    /// The rule that has to decide.
    #[serde(default)]
    rule: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Glass {
    by: String,
    rule: String,
    relax: Vec<Relax>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
enum Expected {
    Approvals,
    Identity,
    Level,
    Limit,
    Path,
    /// Refused, whatever for.
    Refused,
    Released,
}

const fn read() -> Action {
    Action::Read
}

/// What a case came to.
struct Outcome {
    name: String,
    passed: bool,
    expected: String,
    got: Expected,
    rule: Option<String>,
    line: Option<usize>,
    why: String,
}

/// Tries all.
pub(super) fn run(args: &Test) -> Result<ExitCode> {
    let read = super::read(&args.policy)?;
    let path = args.cases.display().to_string();
    let text = match fs::read_to_string(&args.cases) {
        Ok(text) => text,
        Err(source) => return Err(PolicyFileError::Read { path, source }.into()),
    };
    let file: File = toml::from_str(&text).map_err(|source| PolicyFileError::Cases {
        path: path.clone(),
        source: Box::new(source),
    })?;
    if file.case.is_empty() {
        return Err(PolicyFileError::NoCase(path).into());
    }
    let mut outcomes = Vec::with_capacity(file.case.len());
    for (at, case) in file.case.iter().enumerate() {
        outcomes.push(outcome(at + 1, case, &read)?);
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    let passed = outcomes.len() - failed;
    if args.json {
        let cases = outcomes.iter().map(Outcome::json).collect::<Vec<_>>();
        ui::line(&json!({ "passed": passed, "failed": failed, "cases": cases }).to_string());
    } else {
        let shown = args.policy.display().to_string();
        outcomes.iter().filter(|outcome| !outcome.passed).for_each(|it| it.print(&shown));
        ui::line(&format!("{passed} cases as expected, {failed} not"));
    }
    let code = if failed == 0 { Code::Ok } else { Code::Denied };
    Ok(ExitCode::from(code.number()))
}

fn outcome(number: usize, case: &Case, read: &Read) -> Result<Outcome, PolicyFileError> {
    let name = case.name.clone().unwrap_or_else(|| format!("{} {}", case.identity, case.path));
    let wrong = |what: String| PolicyFileError::Case { number, name: name.clone(), what };
    let Who(identity) =
        case.identity.parse().map_err(|what: &str| wrong(format!("identity: {what}")))?;
    let Reached(facets) = case.level.parse().map_err(|error| wrong(format!("level: {error}")))?;
    let strangers = case.approved_by.iter().chain(case.break_glass.iter().map(|glass| &glass.by));
    if let Some(stranger) = strangers.into_iter().find(|who| read.policy.signer(who).is_none()) {
        return Err(wrong(format!("the policy has no [[signer]] {stranger:?}")));
    }
    let opened = case.break_glass.iter().map(|glass| Opened {
        by: glass.by.clone(),
        rule: glass.rule.clone(),
        relax: glass.relax.clone(),
    });
    let standing = Standing {
        approved_by: case.approved_by.clone(),
        released: case.released,
        last_hour: case.last_hour,
        opened: opened.collect(),
        ..Standing::default()
    };
    let level = ProtectionLevel::from_facets(facets, Vec::new());
    let (identity, level, standing) = (&identity, &level, &standing);
    let asked =
        Asked { identity, action: case.action, path: &case.path, level, standing, node: None };
    let decision = read.policy.decide(&asked);
    let got = match &decision {
        Decision::Approvals { .. } => Expected::Approvals,
        Decision::Identity { .. } => Expected::Identity,
        Decision::Level { .. } => Expected::Level,
        Decision::Limit { .. } => Expected::Limit,
        Decision::Path => Expected::Path,
        Decision::Release { .. } => Expected::Released,
    };
    let rule = decision.rule().map(str::to_owned);
    let as_expected = match case.expect {
        Expected::Refused => got != Expected::Released,
        expected => got == expected,
    };
    let by_rule = case.rule.is_none() || case.rule == rule;
    let mut expected = word(case.expect);
    if let Some(rule) = &case.rule {
        expected.push_str(&format!(" by rule {rule:?}"));
    }
    let line = rule.as_ref().and_then(|rule| read.lines.get(rule).copied());
    let why = decision.to_string();
    Ok(Outcome { name, passed: as_expected && by_rule, expected, got, rule, line, why })
}

fn word(expected: Expected) -> String {
    serde_json::to_value(expected)
        .ok()
        .and_then(|word| word.as_str().map(str::to_owned))
        .unwrap_or_default()
}

impl Outcome {
    fn json(&self) -> serde_json::Value {
        json!({ "name": self.name, "passed": self.passed, "expected": self.expected,
            "got": self.got, "rule": self.rule, "line": self.line, "why": self.why })
    }

    fn print(&self, policy: &str) {
        ui::line(&format!("{}: expected {}, and it is {}", self.name, self.expected, self.why));
        if let Some(line) = self.line {
            ui::line(&format!("  {policy}:{line}"));
        }
    }
}

/// In which line each rule has its name.
pub(super) fn lines(text: &str) -> BTreeMap<String, usize> {
    #[derive(Deserialize)]
    struct Places {
        #[serde(default)]
        rule: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        name: toml::Spanned<String>,
    }
    let places = toml::from_str::<Places>(text).ok();
    let line = |named: Named| {
        let before = text.get(..named.name.span().start).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (named.name.into_inner(), line)
    };
    places.into_iter().flat_map(|places| places.rule).map(line).collect()
}
