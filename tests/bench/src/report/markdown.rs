//! Tables for readers. Each says first what is compared and how, and on what.

use std::fmt::Write as _;

use serde_json::Value;

use crate::stats::Samples;
use crate::subject::Subject;
use crate::wrapper::{Case, Figure, Figures, Storm};

use super::{limit, short, with_unit};

/// The result of `bench wrapper`.
pub(crate) fn wrapper(
    record: &Value,
    figures: &Figures,
    many: &[Case],
    storms: &[Storm],
) -> anyhow::Result<String> {
    let mut text = String::from("# Starting an app with secrets\n\n");
    writeln!(
        text,
        "`cloudtaser-wrapper run -- sh -c …` beside `bao agent` in exec mode (`env_template`), in \
         one run and in turn: the same OpenBao {} in memory, AppRole login, KV v2 reads, over \
         loopback. The clock runs from before the process is made until the reader of its stdout \
         has the app's line. The app alone needs {} ms at the least. Made by `cargo xtask bench \
         wrapper`; raw figures are in `wrapper.json`.\n",
        string(record, "/bao_version"),
        short(figures.floor),
    )?;
    writeln!(text, "{}\n", place(record))?;
    text.push_str("| one secret | cloudtaser-wrapper | bao agent | ratio | target | met |\n");
    text.push_str("|---|---:|---:|---:|---:|---|\n");
    for figure in &figures.all {
        line(&mut text, figure)?;
    }
    let [ours, peer] = figures.environment.map(yes);
    writeln!(
        text,
        "| `/proc/PID/environ` of the app shows it | {ours} | {peer} | | no | {} |\n",
        yes(!figures.environment[0])
    )?;
    writeln!(
        text,
        "CPU is that of the side without the app's. Copies are counted by reading, as root, every \
         readable mapping of the supervisor through `/proc/PID/mem`, at the app's first line and \
         again when all has settled; the larger number is shown. The same scan finds {} in an app \
         that has the secret in its plain environment. Rotation: the wrapper looks every 500 ms \
         and writes in place, the agent looks every second and starts the app again.\n",
        figures.control,
    )?;
    text.push_str("![start, memory and size on a logarithmic scale](wrapper.svg)\n\n");
    secrets(&mut text, many)?;
    at_once(&mut text, storms)?;
    Ok(text)
}

/// The machine alone, in a short line.
pub(crate) fn machine(record: &Value) -> String {
    format!(
        "{}, {} cores, Linux {}, {}",
        string(record, "/machine/cpu"),
        string(record, "/machine/cores"),
        string(record, "/machine/kernel"),
        string(record, "/machine/date"),
    )
}

/// The machine and its load, in one line.
pub(crate) fn place(record: &Value) -> String {
    format!(
        "{}, {} cores, {} MiB, Linux {}; load {} before and {} after; commit {} ({}), {}.",
        string(record, "/machine/cpu"),
        string(record, "/machine/cores"),
        string(record, "/machine/memory_mib"),
        string(record, "/machine/kernel"),
        string(record, "/machine/load_before"),
        string(record, "/load_after"),
        string(record, "/machine/commit").get(..12).unwrap_or("unknown"),
        string(record, "/machine/work_tree"),
        string(record, "/machine/date"),
    )
}

fn line(text: &mut String, figure: &Figure) -> anyhow::Result<()> {
    let [ours, peer] = [figure.ours, figure.peer].map(|value| with_unit(figure.unit, value));
    let target = figure.target.map_or_else(String::new, |target| limit(figure.unit, target));
    let met = figure.is_met().map_or("", yes);
    let ratio = figure.ratio().map_or_else(String::new, |ratio| format!("{}×", short(ratio)));
    writeln!(text, "| {} | {ours} | {peer} | {ratio} | {target} | {met} |", figure.name)?;
    Ok(())
}

fn secrets(text: &mut String, cases: &[Case]) -> anyhow::Result<()> {
    text.push_str("| secrets, each at its own path; ms to first line over TLS | app alone | ");
    text.push_str("cloudtaser-wrapper min / median / p95 | bao agent min / median |\n");
    text.push_str("|---|---:|---:|---:|\n");
    let mut numbers: Vec<usize> = cases.iter().map(|case| case.secrets).collect();
    numbers.dedup();
    for number in numbers {
        let times = |who| {
            let case = cases.iter().find(|case| case.subject == who && case.secrets == number);
            case.map(|case| case.times.clone()).unwrap_or_default()
        };
        let (bare, ours, peer) =
            (times(Subject::Bare), times(Subject::Wrapper), times(Subject::Agent));
        writeln!(
            text,
            "| {number} | {} | {} / {} / {} | {} / {} |",
            cell(&bare, 50),
            cell(&ours, 0),
            cell(&ours, 50),
            cell(&ours, 95),
            cell(&peer, 0),
            cell(&peer, 50),
        )?;
    }
    text.push('\n');
    Ok(())
}

fn at_once(text: &mut String, storms: &[Storm]) -> anyhow::Result<()> {
    text.push_str("| started at once, over TLS; ms to first line | at once | p50 | p95 | p99 | ");
    text.push_str("max | first start to last line, median | failures |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|\n");
    for storm in storms {
        let times = &storm.times;
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            match storm.subject {
                Subject::Agent => "bao agent",
                Subject::Bare => "app alone",
                Subject::Wrapper => "cloudtaser-wrapper",
            },
            storm.at_once,
            cell(times, 50),
            cell(times, 95),
            cell(times, 99),
            cell(times, 100),
            cell(&storm.whole, 50),
            storm.failures,
        )?;
    }
    Ok(())
}

fn cell(samples: &Samples, percent: usize) -> String {
    short(samples.percentile(percent).unwrap_or(f64::NAN))
}

fn string(record: &Value, pointer: &str) -> String {
    match record.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "unknown".to_owned(),
    }
}

const fn yes(truth: bool) -> &'static str {
    if truth { "yes" } else { "no" }
}
