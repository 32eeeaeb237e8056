//! Receipts and what was verified, on a terminal and as JSON.

use anyhow::Result;
use cloudtaser_core::level::Verdict;
use cloudtaser_evidence::{
    Leaf, date,
    receipt::{Act, Decision},
    reconcile::Reconciliation,
    verify::{
        Report,
        claims::{ASSUMPTIONS, NOT_COVERED, Standing},
        nodes::NodeSeen,
    },
};
use serde_json::{Value, json};

use super::{line, note, paint, table_with, wrapped};

/// Version of every JSON document here.
const SCHEMA: u32 = 1;
/// More entries that have to be heard are only counted.
const LOUD: usize = 50;
/// Rows of a table that are laid out at once.
const PAGE: usize = 500;

/// Prints what was verified.
pub(crate) fn report(report: &Report, audit: Option<&Reconciliation>) {
    let tally = &report.tally;
    let loud = tally.loud.iter().take(LOUD);
    let loud = loud.map(|loud| {
        format!("{} {} {}: {}", loud.index, date::to_text(loud.time_ms), loud.kind, loud.words)
    });
    print_loud(tally.loud_total, &loud.collect::<Vec<_>>());
    line(&paint::good(&format!("{} verifies at size {}", report.log, report.size)));
    let what = if tally.whole_log { "the whole log" } else { "part of the log" };
    line(&format!(
        "  {} receipts ({what}): {} releases, {} refusals, {} secrets, {} clusters",
        tally.receipts,
        tally.released,
        tally.refusals(),
        tally.secrets,
        tally.clusters.len()
    ));
    if let Some((first, last)) = tally.time_ms {
        line(&format!("  from {} to {}", date::to_text(first), date::to_text(last)));
    }
    line(&paint::dim(&format!("  root {}", report.root)));
    for seen in &report.witnesses {
        let time = date::to_text(seen.unix_seconds.saturating_mul(1000));
        line(&format!("  witness {} signed at {time}", seen.witness));
    }
    for (hash, order) in &tally.orders {
        let what = match order.act {
            Act::Approval => "approval",
            Act::BreakGlass => "break-glass",
        };
        let said = order.said.as_ref().map_or_else(
            || format!("order {hash}, which is not here"),
            |said| {
                let until = date::to_text(said.until.saturating_mul(1000));
                let (by, key, about, why) = (&said.by, &said.key, &said.about, &said.reason);
                format!("{about}, until {until}, by {by} ({key}): {why}")
            },
        );
        line(&format!("  {what} of {said}; {} decisions stood on it", order.decisions));
    }
    for size in &report.grown_from {
        line(&format!("  grown from the checkpoint at size {size}"));
    }
    for name in &report.names {
        let fields = name.fields.join(",");
        line(&format!("  {}#{fields}: {} releases", name.path, name.releases));
    }
    report.nodes.iter().for_each(node);
    line("");
    for claim in &report.claims {
        let standing = match claim.standing {
            Standing::Fail => paint::bad("FAIL        "),
            Standing::NotProvable => paint::dim("not provable"),
            Standing::Pass => paint::good("pass        "),
        };
        line(&format!("{} {standing} {}", claim.id, claim.claim));
        wrapped(&format!("{} [{}]", claim.because, claim.assumptions.join(", ")));
    }
    line("");
    line(&paint::strong("Under these assumptions"));
    let named = |id: &str| report.claims.iter().any(|claim| claim.assumptions.contains(&id));
    for (id, words) in ASSUMPTIONS.iter().filter(|(id, _)| named(id)) {
        wrapped(&format!("{id} {words}"));
    }
    line("");
    line(&paint::strong("Not covered"));
    NOT_COVERED.iter().for_each(|words| wrapped(words));
    if let Some(audit) = audit.filter(|audit| !audit.agrees()) {
        line("");
        reconciled(audit);
    }
}

/// Said wherever such a report is shown: what it is worth was tried on published ones alone.
pub(crate) const UNTRIED: &str = "(how reports get here was tried with published ones and a stand-in for the kernel's files, never on \
     such a machine)";

/// What one node said of itself, and for whom.
fn node(seen: &NodeSeen) {
    let key = seen.key.to_string();
    let short = key.get(..16).unwrap_or(&key);
    let name = seen.name.as_deref().unwrap_or("that no given policy names");
    let tier = seen.tier.as_deref().unwrap_or("none");
    line(&format!(
        "  node {name} ({short}…): {} releases, agent {} ({tier}), kernel {}, lockdown {}, {}",
        seen.releases,
        seen.state,
        seen.kernel,
        seen.lockdown,
        seen.assurance.as_str()
    ));
    match (&seen.tpm, &seen.machine) {
        (_, Some(machine)) => {
            let started = machine.measurement.get(..16).unwrap_or_default();
            line(&format!(
                "    the processor of a confidential machine signed it ({}, started with {started}…)",
                machine.kind
            ));
            line(&format!("    {UNTRIED}"));
        }
        (Some(_), None) => {
            line("    its TPM signed it; no processor of a confidential machine did")
        }
        (None, None) => line("    no hardware signed it: neither a TPM nor a confidential machine"),
    }
}

/// Prints the same for programs.
pub(crate) fn json(report: &Report, audit: Option<&Reconciliation>) -> Result<()> {
    let mut value = serde_json::to_value(report)?;
    if let Value::Object(fields) = &mut value {
        let assumptions: Vec<Value> =
            ASSUMPTIONS.iter().map(|(id, words)| json!({"id": id, "assumes": words})).collect();
        fields.insert("schema".to_owned(), json!(SCHEMA));
        fields.insert("assumptions".to_owned(), json!(assumptions));
        fields.insert("not_covered".to_owned(), json!(NOT_COVERED));
        if let Some(audit) = audit {
            fields.insert("audit".to_owned(), serde_json::to_value(audit)?);
        }
    }
    line(&serde_json::to_string_pretty(&value)?);
    Ok(())
}

/// Prints a refusal for programs.
pub(crate) fn refused(why: &str) {
    line(&json!({"schema": SCHEMA, "refused": why}).to_string());
}

/// Prints what either side lacks.
pub(crate) fn reconciled(found: &Reconciliation) {
    let words = found.in_words();
    line(&if found.agrees() { paint::good(&words) } else { paint::bad(&words) });
    for read in &found.unreceipted {
        line(&format!(
            "  line {}: no receipt of request {}: {} read {} at {}",
            read.line, read.request, read.who, read.path, read.time
        ));
    }
    for request in &found.unaudited {
        line(&format!("  not in the audit log: request {request} of a receipt"));
    }
    for number in &found.unreadable {
        line(&format!("  line {number} is no audit entry"));
    }
}

/// The same for programs.
pub(crate) fn reconciled_json(found: &Reconciliation) -> Result<()> {
    let mut value = serde_json::to_value(found)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("schema".to_owned(), json!(SCHEMA));
    }
    line(&serde_json::to_string_pretty(&value)?);
    Ok(())
}

/// What is to be heard before anything else.
#[derive(Default)]
pub(crate) struct Loud {
    lines: Vec<String>,
    total: u64,
}

impl Loud {
    /// Takes a leaf, where it is to be heard.
    pub(crate) fn take(&mut self, index: u64, leaf: &Leaf) {
        let words = match leaf {
            Leaf::Notice(notice) => format!("{}: {}", notice.notice.kind, notice.notice.words),
            Leaf::Receipt(receipt) if receipt.is_break_glass() => {
                let who = &receipt.draft.workload;
                let (space, account) = (&who.namespace, &who.service_account);
                format!("break-glass: a decision for {space}/{account} with the policy set aside")
            }
            Leaf::Receipt(_) => return,
        };
        self.total += 1;
        if self.lines.len() < LOUD {
            self.lines.push(format!("{index} {} {words}", date::to_text(leaf.time_ms())));
        }
    }

    /// Prints what there was.
    pub(crate) fn end(self) {
        print_loud(self.total, &self.lines);
    }
}

fn print_loud(total: u64, lines: &[String]) {
    if total == 0 {
        return;
    }
    line(&paint::bad(&format!("to be heard first: {total}")));
    for words in lines {
        line(&paint::bad(&format!("  {words}")));
    }
    let rest = total.saturating_sub(u64::try_from(lines.len()).unwrap_or(u64::MAX));
    if rest > 0 {
        line(&format!("  and {rest} more"));
    }
    line("");
}

/// Receipts, one after the other.
pub(crate) struct Receipts {
    json: bool,
    rows: Vec<[String; 6]>,
}

impl Receipts {
    /// Shows lines of JSON, or a table.
    pub(crate) const fn new(json: bool) -> Self {
        Self { json, rows: Vec::new() }
    }

    /// Shows one.
    pub(crate) fn show(&mut self, index: u64, leaf: &Leaf) -> Result<()> {
        if self.json {
            let mut value = serde_json::to_value(leaf)?;
            if let Value::Object(fields) = &mut value {
                fields.insert("index".to_owned(), json!(index));
            }
            line(&value.to_string());
            return Ok(());
        }
        let receipt = match leaf {
            Leaf::Receipt(receipt) => receipt,
            Leaf::Notice(notice) => {
                let (time, said) = (date::to_text(notice.time_ms), &notice.notice);
                let number = format!("@bridge #{}", notice.sequence);
                let words = paint::bad(&format!("{}: {}", said.kind, said.words));
                self.rows.push([
                    index.to_string(),
                    time,
                    number,
                    String::new(),
                    words,
                    String::new(),
                ]);
                return Ok(());
            }
        };
        let draft = &receipt.draft;
        let decision = match &draft.decision {
            Decision::Released if receipt.is_break_glass() => {
                paint::bad(&format!("released {}, BREAK-GLASS", draft.secrets.len()))
            }
            Decision::Released if draft.orders.is_some() => {
                format!("released {}, approved", draft.secrets.len())
            }
            Decision::Released => format!("released {}", draft.secrets.len()),
            Decision::Refused(why) => format!("refused: {why}"),
        };
        let rows = draft.protection.verdicts().iter().map(|verdict| match verdict {
            Verdict::Open => 'o',
            Verdict::Partial => 'p',
            Verdict::Closed => 'c',
        });
        let level = format!("{} {}", draft.assurance.as_str(), rows.collect::<String>());
        let workload = format!("{}/{}", draft.workload.namespace, draft.workload.service_account);
        let number = format!("{} #{}", draft.cluster, receipt.sequence);
        let time = date::to_text(receipt.time_ms);
        self.rows.push([index.to_string(), time, number, workload, decision, level]);
        if self.rows.len() >= PAGE {
            self.flush();
        }
        Ok(())
    }

    /// Shows what is left.
    pub(crate) fn end(mut self) {
        if !self.json {
            self.flush();
            note("T1 to T6 as letters: o open, p partial, c closed. Nothing was verified here.");
        }
    }

    fn flush(&mut self) {
        let mut table =
            table_with(&["index", "time", "cluster", "workload", "decision", "level T1-T6"]);
        self.rows.drain(..).for_each(|row| {
            table.add_row(row);
        });
        line(&table.trim_fmt());
    }
}
