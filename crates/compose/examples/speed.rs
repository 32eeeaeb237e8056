//! How long a check of many policies takes: `cargo run --release -p cloudtaser-compose --example speed`.
//!
//! The policies are the examples of the rules, over and over, each as a file of its own.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::time::Instant;

use cloudtaser_compose::{Settings, Source, check, rule};

/// How many files.
const FILES: usize = 1_000;
/// How often it is measured.
const ROUNDS: usize = 5;

fn main() {
    let texts: Vec<&str> = rule::all().flat_map(|rule| [rule.hit, rule.near, rule.fixed]).collect();
    // Without workloads, or only the policies about those would be judged.
    let policies: Vec<&&str> = texts.iter().filter(|text| !text.contains("kind: Pod")).collect();
    let sources: Vec<Source> = policies
        .iter()
        .cycle()
        .take(FILES)
        .enumerate()
        .map(|(number, text)| Source::new(format!("{number}.yaml"), **text))
        .collect();
    let bytes: usize = sources.iter().map(|source| source.text().len()).sum();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let report = check(&sources, &Settings::default());
        let spent = begin.elapsed();
        println!(
            "{} policies, {bytes} bytes, {} findings: {:.1} ms",
            report.judged,
            report.findings.len(),
            spent.as_secs_f64() * 1e3
        );
    }
}
