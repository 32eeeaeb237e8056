//! `cloudtaser compose explain`.

use std::process::ExitCode;

use anyhow::Result;
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
}

/// A rule that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("there is no rule {0}: `cloudtaser compose explain` lists all of them")]
pub(crate) struct NoSuchRule(String);

/// Runs `compose explain`.
pub(crate) fn run(args: &ExplainArgs) -> Result<ExitCode> {
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
