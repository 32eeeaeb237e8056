//! How a report is told: to people, to programs, to services that show findings beside code.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::{Value, json};

use crate::{
    check::Report,
    finding::{Finding, Problem, Severity},
    rule,
    source::Source,
};

/// Version of the JSON form; grows when a field changes its meaning or goes.
const FORM: u32 = 1;

/// Whether escape codes for colours are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Colour {
    /// No.
    Off,
    /// Yes.
    On,
}

/// One finding, with the line and a caret.
#[must_use]
pub fn finding(sources: &[Source], finding: &Finding, colour: Colour) -> String {
    let Some(source) = sources.get(finding.source) else { return String::new() };
    let id = finding.rule.id;
    let title = printable(&format!("{}: {}", finding.severity, finding.words));
    let level = match finding.severity {
        Severity::Breaks | Severity::Leaks => Level::ERROR,
        Severity::Blinds => Level::WARNING,
        Severity::Noisy => Level::INFO,
    };
    let (line, text) = source.around(&finding.span);
    let offset = finding.span.start - source.line_start(finding.span.start);
    let end = (finding.span.end - finding.span.start + offset).min(text.trim_end().len());
    let snippet = Snippet::source(text)
        .path(source.name())
        .line_start(line)
        .annotation(AnnotationKind::Primary.span(offset.min(end)..end));
    let group = level.primary_title(&title).id(id).element(snippet);
    let shown = renderer(colour).render(&[group]);
    let mut shown = format!("{shown}\n");
    for note in notes(finding) {
        shown += &printable(&note);
    }
    shown
}

fn renderer(colour: Colour) -> Renderer {
    match colour {
        Colour::Off => Renderer::plain(),
        Colour::On => Renderer::styled(),
    }
}

/// Without control characters, so that a terminal cannot be driven by what it is shown.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
}

/// What stands below the snippet.
fn notes(finding: &Finding) -> Vec<String> {
    let mut notes = vec![
        format!("   = in: {}\n", finding.object),
        format!("   = step: {} ({})\n", finding.step.name(), finding.step.words()),
    ];
    if !finding.workloads.is_empty() {
        notes.push(format!("   = pods: {}\n", finding.workloads.join(", ")));
    }
    if let Some(exception) = &finding.exception {
        notes.push(format!("   = exception: {}\n", exception.words));
        for line in exception.text.lines() {
            notes.push(format!("       {line}\n"));
        }
        if let Some(costs) = exception.costs {
            notes.push(format!("   = it costs: {costs}\n"));
        }
    }
    notes
}

/// One problem, with its place.
#[must_use]
pub fn problem(sources: &[Source], problem: &Problem) -> String {
    let Some(source) = sources.get(problem.source) else { return problem.words.clone() };
    let place = source.place(problem.span.start);
    let left_out = if problem.skipped { " (not checked)" } else { "" };
    let words = printable(&problem.words);
    format!("{}:{}:{}: {words}{left_out}", source.name(), place.line, place.column)
}

/// The counts in one line.
#[must_use]
pub fn summary(report: &Report) -> String {
    let counts = Severity::ALL.iter().map(|severity| {
        let found = report.findings.iter().filter(|finding| finding.severity == *severity);
        format!("{} {severity}", found.count())
    });
    let counts = counts.collect::<Vec<_>>().join(", ");
    let about = if report.assumed {
        "no workload given: every pod is assumed to be one of ours".to_owned()
    } else {
        format!("{} of {} workloads are ours", report.ours, report.workloads)
    };
    format!("{} checked; {about}; {counts}", report.judged)
}

/// The kinds that nothing here is about, in one line.
#[must_use]
pub fn others(report: &Report) -> Option<String> {
    let total: usize = report.others.values().sum();
    let names = report.others.iter().take(8).map(|(kind, count)| format!("{count} {kind}"));
    let names = names.collect::<Vec<_>>().join(", ");
    (total > 0).then(|| format!("{total} documents of other kinds were left alone: {names}"))
}

/// The whole report as JSON.
#[must_use]
pub fn json(sources: &[Source], report: &Report) -> Value {
    let findings = report.findings.iter().map(|finding| {
        let mut value = place(sources, finding.source, finding.span.start, finding.span.end);
        let exception = finding.exception.as_ref().map(|exception| {
            json!({
                "words": exception.words,
                "text": exception.text,
                "costs": exception.costs,
                "fixable": !exception.edits.is_empty(),
            })
        });
        let more = json!({
            "rule": finding.rule.id,
            "tool": finding.rule.tool.name(),
            "severity": finding.severity.name(),
            "object": finding.object,
            "message": finding.words,
            "step": finding.step.name(),
            "workloads": finding.workloads,
            "exception": exception,
        });
        merge(&mut value, more);
        value
    });
    let problems = report.problems.iter().map(|problem| {
        let mut value = place(sources, problem.source, problem.span.start, problem.span.end);
        merge(&mut value, json!({ "message": problem.words, "skipped": problem.skipped }));
        value
    });
    json!({
        "cloudtaser": "compose-check",
        "form": FORM,
        "checked": report.judged,
        "workloads": report.workloads,
        "ours": report.ours,
        "assumed": report.assumed,
        "others": report.others,
        "findings": findings.collect::<Vec<_>>(),
        "problems": problems.collect::<Vec<_>>(),
    })
}

fn place(sources: &[Source], source: usize, start: usize, end: usize) -> Value {
    let Some(source) = sources.get(source) else { return json!({}) };
    let (first, last) = (source.place(start), source.place(end));
    json!({
        "file": source.name(),
        "line": first.line,
        "column": first.column,
        "endLine": last.line,
        "endColumn": last.column,
    })
}

fn merge(value: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (value.as_object_mut(), more) {
        into.extend(more);
    }
}

/// The findings as SARIF 2.1.0.
#[must_use]
pub fn sarif(sources: &[Source], report: &Report, version: &str) -> Value {
    let rules = rule::all().map(|rule| {
        json!({
            "id": rule.id,
            "name": rule.title,
            "shortDescription": { "text": rule.title },
            "fullDescription": { "text": rule.why },
            "help": { "text": rule.fix },
            "defaultConfiguration": { "level": level(rule.severity) },
            "properties": { "tags": [rule.tool.name(), rule.severity.name()] },
        })
    });
    let results = report.findings.iter().map(|finding| {
        let mut text = finding.words.clone();
        if let Some(exception) = &finding.exception {
            text += &format!(". {}", exception.words);
        }
        json!({
            "ruleId": finding.rule.id,
            "level": level(finding.severity),
            "message": { "text": text },
            "locations": [location(sources, finding.source, finding.span.start, finding.span.end)],
            "properties": { "step": finding.step.name(), "object": finding.object },
        })
    });
    let notifications = report.problems.iter().map(|problem| {
        json!({
            "level": if problem.skipped { "error" } else { "warning" },
            "message": { "text": problem.words },
            "locations": [location(sources, problem.source, problem.span.start, problem.span.end)],
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "cloudtaser compose check",
                "version": version,
                "rules": rules.collect::<Vec<_>>(),
            }},
            "invocations": [{
                "executionSuccessful": !report.has_unread(),
                "toolExecutionNotifications": notifications.collect::<Vec<_>>(),
            }],
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Breaks | Severity::Leaks => "error",
        Severity::Blinds => "warning",
        Severity::Noisy => "note",
    }
}

fn location(sources: &[Source], source: usize, start: usize, end: usize) -> Value {
    let Some(source) = sources.get(source) else { return json!({}) };
    let (first, last) = (source.place(start), source.place(end));
    json!({ "physicalLocation": {
        "artifactLocation": { "uri": source.name().replace(' ', "%20") },
        "region": {
            "startLine": first.line,
            "startColumn": first.column,
            "endLine": last.line,
            "endColumn": last.column,
        },
    }})
}

/// A list of all rules with links to their pages.
#[must_use]
pub fn index() -> String {
    let rows = rule::all().map(|rule| {
        let (id, tool, severity) = (rule.id, rule.tool.name(), rule.severity);
        format!("| [{id}]({id}.md) | {tool} | {severity} | {} |\n", rule.title)
    });
    let rows: String = rows.collect();
    format!(
        "# Rules of `cloudtaser compose check`\n\nEach page has a policy that the rule finds, one that \
         looks alike, and a mended one; the tests read the same files. `cargo xtask codegen` writes \
         this folder.\n\n| rule | tool | at worst | finds |\n|---|---|---|---|\n{rows}"
    )
}

/// A page about a rule, for the documents and for `explain`.
#[must_use]
pub fn page(rule: &rule::Rule) -> String {
    let language = |text: &str| if text.trim_start().starts_with('{') { "json" } else { "yaml" };
    let block = |text: &str| format!("```{}\n{}\n```\n", language(text), text.trim_end());
    let mut page = format!(
        "# {}: {}\n\n{}, {} at worst.\n\n{}\n\n## What to do\n{}\n\n## Found\n{}",
        rule.id,
        rule.title,
        rule.tool.name(),
        rule.severity,
        rule.why,
        rule.fix,
        block(rule.hit)
    );
    page +=
        &format!("\n## Not found\nLooks alike and hits nothing of ours.\n\n{}", block(rule.near));
    page += &format!("\n## Mended\n{}", block(rule.fixed));
    page
}
