//! `cloudtaser compose explain`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use cloudtaser_compose::{report, rule};
use cloudtaser_core::exit::Code;

use crate::ui;

/// Explains a rule, or lists all of them.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  cloudtaser compose explain K9")]
pub(crate) struct ExplainArgs {
    /// The rule, such as K9; all of them without.
    rule: Option<String>,
    /// Write a page for each rule into this directory, and a list of them.
    #[arg(long, value_name = "DIR", conflicts_with = "rule")]
    dir: Option<PathBuf>,
}

/// A rule that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("there is no rule {0}: `cloudtaser compose explain` lists all of them")]
pub(crate) struct NoSuchRule(String);

/// Runs `compose explain`.
pub(crate) fn run(args: &ExplainArgs) -> Result<ExitCode> {
    if let Some(directory) = &args.dir {
        let pages = rule::all().map(|rule| (format!("{}.md", rule.id), report::page(rule)));
        for (name, page) in pages.chain([("README.md".to_owned(), report::index())]) {
            let path = directory.join(name);
            fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
        }
        return Ok(ExitCode::from(Code::Ok.number()));
    }
    match &args.rule {
        Some(id) => {
            let rule = rule::named(id).ok_or_else(|| NoSuchRule(id.clone()))?;
            ui::line(report::page(rule).trim_end());
        }
        None => {
            let mut table = ui::table_with(&["rule", "tool", "at worst", "finds"]);
            for rule in rule::all() {
                table.add_row([rule.id, rule.tool.name(), rule.severity.name(), rule.title]);
            }
            ui::line(&table.to_string());
        }
    }
    Ok(ExitCode::from(Code::Ok.number()))
}
