//! On what a result was measured. A figure without this is no figure.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// What differs from the commit, apart from results: an earlier bench has just written some.
const STATUS: &[&str] = &["status", "--porcelain", "--", ":/", ":/!bench/results"];

/// Processor, memory, kernel, load, commit and date, each as text or number; `unknown` where the
/// machine does not tell.
pub(crate) fn describe() -> Value {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model);
    json!({
        "cpu": model,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_mib": memory_mib(),
        "kernel": line_of("/proc/sys/kernel/osrelease"),
        "load_before": load(),
        "commit": git(&["rev-parse", "HEAD"]),
        "work_tree": if git(STATUS).is_empty() { "clean" } else { "changed" },
        "date": date(),
    })
}

/// The three load averages.
pub(crate) fn load() -> String {
    let text = line_of("/proc/loadavg");
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn memory_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

fn line_of(file: &str) -> String {
    fs::read_to_string(file).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The day, from the caller where the result is to be reproducible.
fn date() -> String {
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|epoch| !epoch.is_empty());
    let mut date = Command::new("date");
    date.args(["--utc", "+%Y-%m-%dT%H:%M:%SZ"]);
    if let Some(epoch) = epoch {
        date.arg(format!("--date=@{epoch}"));
    }
    output(&mut date)
}

fn git(arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    output(Command::new("git").arg("-C").arg(root).args(arguments))
}

fn output(command: &mut Command) -> String {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}
