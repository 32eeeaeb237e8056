//! `cloudtaser policy`: what a release policy would do, before a bridge does it.

use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode, str::FromStr};

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use cloudtaser_core::{
    ProtectionLevel,
    exit::Code,
    level::{Facets, Release, Requirement, RequirementError, Transport},
    release::policy::{
        Action, Asked, Decision, Identity, Policy, PolicyError, PolicyFile, terms::Standing,
    },
};
use serde_json::json;

use crate::ui;

mod cases;

const AFTER: &str = "\
Examples:
  cloudtaser policy check policy.toml
  cloudtaser policy explain policy.toml --identity cluster-1:shop/web --path secret/shop/db
  cloudtaser policy explain policy.toml --identity cluster-1:shop/web --path pki/issue/web \\
      --action write --level memory=sealed,agent=enforcing --json
  cloudtaser policy test policy.toml cases.toml

A case, of which only the first three are needed:
  [[case]]
  identity = \"cluster-1:shop/web\"
  path = \"secret/shop/db\"
  expect = \"released\"      # refused, level, approvals, limit, identity, path
  rule = \"shop\"            # that has to decide
  action = \"read\"
  level = \"memory=sealed\"
  approved_by = [\"anna\"]
  released = 3             # to this pod before
  last_hour = 1
  break_glass = [{ by = \"dora\", rule = \"shop\", relax = [\"level\"] }]

Exit: 0 the policy is good, would release, or all cases are as expected; 64 usage, or a file with a
slip; 77 it would not release, or a case is not as expected.";

/// Says what a release policy of a bridge would do.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read a policy, and say what is wrong with it.
    Check {
        /// The policy, as a bridge's policy_file.
        file: PathBuf,
    },
    /// Say whether a path would be released to a workload, and which rule decides.
    Explain(Explain),
    /// Try a file of cases.
    Test(cases::Test),
}

#[derive(Args, Debug)]
struct Explain {
    /// The policy.
    file: PathBuf,
    /// Who asks: issuer:namespace/serviceaccount.
    #[arg(long)]
    identity: Who,
    /// For which path; for decrypt it is MOUNT/decrypt/KEY.
    #[arg(long)]
    path: String,
    /// To do what with it.
    #[arg(long, value_enum, default_value_t = Doing::Read)]
    action: Doing,
    /// What the launch has reached, such as memory=sealed,agent=enforcing. What is not named is at
    /// its weakest.
    #[arg(long, value_name = "LIST", default_value = "")]
    level: Reached,
    /// Who has approved it.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    approved_by: Vec<String>,
    /// How often it was released to this pod before.
    #[arg(long, value_name = "N", default_value_t = 0)]
    released: u64,
    /// How often of that in the last hour.
    #[arg(long, value_name = "N", default_value_t = 0)]
    last_hour: u64,
    /// Print the answer as JSON: {released, rule?, line?, why}.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Doing {
    Decrypt,
    Read,
    Write,
}

/// Why a policy cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PolicyFileError {
    /// The file.
    #[error("cannot read {path}")]
    Read { path: String, source: std::io::Error },
    /// Its form.
    #[error("{path} is no policy")]
    Form { path: String, source: Box<toml::de::Error> },
    /// A rule.
    #[error("{path} cannot be used")]
    Rule { path: String, source: PolicyError },
    /// The form of a file of cases.
    #[error("{path} has no cases that can be read")]
    Cases { path: String, source: Box<toml::de::Error> },
    /// A case.
    #[error("case {number} ({name}): {what}")]
    Case { number: usize, name: String, what: String },
    /// It is empty, which is no test.
    #[error("{0} has no [[case]]")]
    NoCase(String),
}

#[derive(Clone, Debug)]
struct Who(Identity);

impl FromStr for Who {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once(':').and_then(|(issuer, rest)| {
            let (namespace, account) = rest.split_once('/')?;
            Some([issuer, namespace, account])
        });
        match parts {
            Some(parts) if parts.iter().all(|part| !part.is_empty() && !part.contains('/')) => {
                let [issuer, namespace, service_account] = parts.map(str::to_owned);
                Ok(Self(Identity { issuer, namespace, service_account }))
            }
            _ => Err("write issuer:namespace/serviceaccount"),
        }
    }
}

#[derive(Clone, Debug)]
struct Reached(Facets);

#[derive(Debug, thiserror::Error)]
enum ReachedError {
    #[error(transparent)]
    Word(#[from] RequirementError),
    #[error("rows T1 to T6 follow from the others: name memory, agent and so on")]
    Row,
}

impl FromStr for Reached {
    type Err = ReachedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A bridge is reached by no other.
        let (transport, release) = (Transport::Hybrid, Release::Bridge);
        let mut facets = Facets { transport, release, ..Facets::WEAKEST };
        for word in Requirement::parse_list(text)? {
            match word {
                Requirement::Agent(value) => facets.agent = value,
                Requirement::Attach(value) => facets.attach = value,
                Requirement::Environ(value) => facets.environ = value,
                Requirement::Memory(value) => facets.memory = value,
                Requirement::Release(value) => facets.release = value,
                Requirement::Row(..) => return Err(ReachedError::Row),
                Requirement::Supervisor(value) => facets.supervisor = value,
                Requirement::Transport(value) => facets.transport = value,
            }
        }
        Ok(Self(facets))
    }
}

/// Runs the verb.
pub(crate) fn run(args: &PolicyArgs) -> Result<ExitCode> {
    match &args.verb {
        Verb::Check { file } => {
            let Read { policy, .. } = read(file)?;
            let rules = policy.len();
            ui::line(&match rules {
                0 => "the policy is good, and releases nothing".to_owned(),
                1 => "the policy is good: 1 rule".to_owned(),
                _ => format!("the policy is good: {rules} rules"),
            });
            Ok(ExitCode::SUCCESS)
        }
        Verb::Explain(asked) => explain(asked),
        Verb::Test(args) => cases::run(args),
    }
}

fn explain(asked: &Explain) -> Result<ExitCode> {
    let Read { policy, lines } = read(&asked.file)?;
    let level = ProtectionLevel::from_facets(asked.level.0, Vec::new());
    let action = match asked.action {
        Doing::Decrypt => Action::Decrypt,
        Doing::Read => Action::Read,
        Doing::Write => Action::Write,
    };
    let identity = &asked.identity.0;
    let standing = &Standing {
        approved_by: asked.approved_by.clone(),
        released: asked.released,
        last_hour: asked.last_hour,
        ..Standing::default()
    };
    let question =
        Asked { identity, action, path: &asked.path, level: &level, standing, node: None };
    let decision = policy.decide(&question);
    let released = matches!(decision, Decision::Release { .. });
    let rule = decision.rule();
    let line = rule.and_then(|rule| lines.get(rule));
    let why = decision.to_string();
    if asked.json {
        let answer = json!({ "released": released, "rule": rule, "line": line, "why": why });
        ui::line(&answer.to_string());
    } else {
        let place = line.map(|line| format!(" ({}:{line})", asked.file.display()));
        ui::line(&format!("{why}{}", place.unwrap_or_default()));
    }
    let code = if released { Code::Ok } else { Code::Denied };
    Ok(ExitCode::from(code.number()))
}

/// A policy, and where its rules stand.
pub(crate) struct Read {
    pub(crate) policy: Policy,
    lines: BTreeMap<String, usize>,
}

pub(crate) fn read(file: &PathBuf) -> Result<Read, PolicyFileError> {
    let path = file.display().to_string();
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(source) => return Err(PolicyFileError::Read { path, source }),
    };
    let parsed: PolicyFile = match toml::from_str(&text) {
        Ok(parsed) => parsed,
        Err(source) => return Err(PolicyFileError::Form { path, source: Box::new(source) }),
    };
    let policy = Policy::compile(parsed);
    let policy = policy.map_err(|source| PolicyFileError::Rule { path, source })?;
    Ok(Read { policy, lines: cases::lines(&text) })
}
