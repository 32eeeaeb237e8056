//! `cloudtaser report`: from verified evidence to a page that a DPO can sign or refuse.
//!
//! The page has no script and nothing from elsewhere; print it and it is paper. Every figure comes
//! from [`facts`], every line of a framework from [`controls`], and nothing is said that the claims
//! do not carry.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Result;
use askama::Template as _;
use clap::Args;
use cloudtaser_core::exit::Code;
use cloudtaser_evidence::{
    Digest, date,
    log::Clock,
    verify::claims::{ASSUMPTIONS, NOT_COVERED},
};
use serde_json::{Value, json};

use crate::{
    evidence::{EvidenceError, verify::SourceArgs},
    ui,
};

mod controls;
mod facts;
mod page;
mod svg;

use controls::{Framework, Shown};
use page::{Line, Page};

const AFTER: &str = "\
Examples:
  cloudtaser report q3.evidence --policy policy --framework dora --out dora.html
  cloudtaser report LOG --policy policy --framework all --bao-audit audit.log --out all.html
  cloudtaser report q3.evidence --policy policy --json > report.json

The evidence is verified first; what is refused gives no report. Each line says what a rule asks
for, what the evidence shows of it, which claims that stands on, and what is not covered; worst
first. Each figure has a mark (E1, E2, ...) with its place in `cloudtaser evidence verify --json`.
The mapping to articles is ours and no legal advice.

Exit: 0 written, 64 usage, 77 the evidence is refused.

JSON: {schema, framework, evidence_sha256?, lines [{framework, article, asks, shown, claims,
not_covered}], claims, facts [{id, what, value, shown, pointer}], assumptions, not_covered}.";

/// Writes a report from evidence that verifies.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// For which rules.
    #[arg(long, value_enum, default_value = "all")]
    framework: Framework,
    /// The page to write.
    #[arg(long, value_name = "FILE", required_unless_present = "json")]
    out: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &ReportArgs) -> Result<ExitCode> {
    let verified = args.source.verified(Vec::new())?;
    let mut value = serde_json::to_value(&verified.report)?;
    if let (Value::Object(fields), Some(audit)) = (&mut value, &verified.audit) {
        fields.insert("audit".to_owned(), serde_json::to_value(audit)?);
    }
    let facts = facts::facts(&value)?;
    let lines = lines(args.framework, &verified.report.claims);
    if args.json {
        let evidence = file_hash(&args.source.evidence)?.map(|hash| hash.to_string());
        let report = json!({
            "schema": 1,
            "framework": args.framework,
            "evidence_sha256": evidence,
            "lines": lines,
            "claims": verified.report.claims,
            "facts": facts,
            "assumptions": ASSUMPTIONS.map(|(id, words)| json!({"id": id, "assumes": words})),
            "not_covered": NOT_COVERED,
        });
        ui::line(&serde_json::to_string_pretty(&report)?);
    }
    if let Some(out) = &args.out {
        let source = match file_hash(&args.source.evidence)? {
            Some(hash) => format!("{} (SHA-256 {hash})", args.source.evidence.display()),
            None => format!("the log in {}", args.source.evidence.display()),
        };
        let page = Page {
            title: args.framework.title(),
            made: date::to_text(Clock::system().now_ms()),
            version: env!("CARGO_PKG_VERSION"),
            source,
            policy: match file_hash(&args.source.policy)? {
                Some(hash) => format!("{} (SHA-256 {hash})", args.source.policy.display()),
                None => args.source.policy.display().to_string(),
            },
            report: &verified.report,
            lines: &lines,
            facts: &facts,
            secrets: facts::registered(&value)
                .iter()
                .filter_map(|hidden| page::Secret::new(hidden, &verified.report))
                .collect(),
            days: svg::days(&verified.report.tally.days),
            rows: svg::rows(&verified.report.tally.rows),
            assumptions: &ASSUMPTIONS,
            not_covered: &NOT_COVERED,
        };
        let html = page.render()?;
        let made = |source| EvidenceError::Make { path: out.clone(), source };
        fs::write(out, html).map_err(made)?;
        let worst = lines.first().map_or(Shown::Nothing, |line| line.shown);
        let count = |shown| lines.iter().filter(|line| line.shown == shown).count();
        ui::note(&format!(
            "{} lines, {} supported, {} partly, {} not shown, {} contradicted; worst: {}; in {}",
            lines.len(),
            count(Shown::Fully),
            count(Shown::Partly),
            count(Shown::Nothing),
            count(Shown::Contradicted),
            worst.as_str(),
            out.display()
        ));
    }
    Ok(ExitCode::from(Code::Ok.number()))
}

/// The lines of a framework, worst first.
fn lines(framework: Framework, claims: &[cloudtaser_evidence::verify::claims::Claim]) -> Vec<Line> {
    let mut lines: Vec<Line> = controls::of(framework)
        .map(|control| Line {
            framework: control.framework,
            article: control.article,
            asks: control.asks,
            shown: control.shown_by(claims),
            claims: control
                .claims
                .iter()
                .filter_map(|id| {
                    let claim = claims.iter().find(|claim| claim.id == *id)?;
                    Some((claim.id, page::standing(claim.standing)))
                })
                .collect(),
            not_covered: control.not_covered,
        })
        .collect();
    lines.sort_by_key(|line| line.shown);
    lines
}

fn file_hash(evidence: &PathBuf) -> Result<Option<Digest>> {
    if evidence.is_dir() {
        return Ok(None);
    }
    let read = fs::read(evidence);
    let path = evidence.clone();
    Ok(Some(Digest::of(&read.map_err(|source| EvidenceError::Read { path, source })?)))
}
