//! `cargo xtask soak`: the road for as long as somebody waits. What tests show in seconds is shown
//! here in minutes and thousands; each finding stands in a table beside its bound, and one that is
//! broken makes the program fail.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "shown to people, on test support"
)]

mod findings;
mod partition;
mod starts;
mod steady;
mod storm;

use std::{process::ExitCode, time::Duration};

use cloudtaser_e2e::{Launch, Networks, Pod, Releases, Running, SHOP, WAITS};
use serde_json::json;

use findings::Findings;

/// What ends a run that cannot be made here, as in `sysexits.h`.
const UNAVAILABLE: u8 = 69;
/// What a wrong command line ends with.
const USAGE: u8 = 64;

const HELP: &str = "\
cargo xtask soak [--minutes N] [--starts N] [--clients N] [--cut-seconds N] [--only PART]...

  --minutes N       how long the road is used without a break (30)
  --starts N        how many apps start while one of two beacons is killed in turn (1000)
  --clients N       how many clients come back when both beacons were killed (10000)
  --cut-seconds N   how long the network swallows everything (600)
  --only PART       steady, starts, storm or partition; all of them without
";

/// What is wanted.
#[derive(Debug)]
struct Wanted {
    minutes: u64,
    starts: usize,
    clients: usize,
    cut_seconds: u64,
    only: Vec<String>,
}

impl Wanted {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let only = Vec::new();
        let mut wanted =
            Self { minutes: 30, starts: 1000, clients: 10_000, cut_seconds: 600, only };
        while let Some(word) = words.next() {
            let value = words.next()?;
            match &*word {
                "--minutes" => wanted.minutes = value.parse().ok()?,
                "--starts" => wanted.starts = value.parse().ok()?,
                "--clients" => wanted.clients = value.parse().ok()?,
                "--cut-seconds" => wanted.cut_seconds = value.parse().ok()?,
                "--only" => wanted.only.push(value),
                _ => return None,
            }
        }
        Some(wanted)
    }

    fn has(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

/// A part, on a road of its own.
type Part<'a> = &'a dyn Fn(&mut Releases, &mut Findings);

fn main() -> ExitCode {
    let Some(wanted) = Wanted::parse(std::env::args().skip(1)) else {
        println!("{HELP}");
        return ExitCode::from(USAGE);
    };
    let mut findings = Findings::default();
    let parts: [(&str, Part<'_>); 4] = [
        ("partition", &|road, findings| partition::run(road, wanted.cut_seconds, findings)),
        ("starts", &|road, findings| starts::run(road, wanted.starts, findings)),
        ("storm", &|road, findings| storm::run(road, wanted.clients, findings)),
        ("steady", &|road, findings| steady::run(road, wanted.minutes, findings)),
    ];
    for (name, run) in parts.iter().filter(|(name, _)| wanted.has(name)) {
        let road = Networks::make().and_then(|networks| {
            Releases::start_lasting(networks, SHOP).ok_or_else(|| "no openssl".to_owned())
        });
        match road {
            Ok(mut road) => {
                println!("{name} …");
                run(&mut road, &mut findings);
            }
            Err(why) => {
                println!("The road cannot be made here: {why}. It takes root, ip and openssl.");
                return ExitCode::from(UNAVAILABLE);
            }
        }
    }
    println!("\n{}", findings.table());
    if findings.all_kept() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An app of a pod of its own.
fn an_app(road: &Releases, deadline: &str) -> Launch {
    road.launch_of(&Pod::new("shop", "web"))
        .env("S", "vault:secret/shop/db#password")
        .env("CLOUDTASER_DEADLINE", deadline)
        .patience(Duration::from_secs(6 * 3600))
}

/// One that takes new values in place.
fn rotating(road: &Releases, every: &str) -> Launch {
    an_app(road, "60s")
        .without_flag("--quiet")
        .env("CLOUDTASER_ROTATE_EVERY", every)
        .env("CLOUDTASER_ROTATE_ACTION", "in-place")
}

fn spawn(road: &Releases, launch: &Launch) -> Running {
    road.networks.cluster.within(|| launch.spawn(WAITS))
}

/// Starts an app and has it end; what it said where that was not the value, or not any.
fn start_once(road: &Releases, value: Option<&str>) -> Result<(), String> {
    let launch = an_app(road, "30s");
    let output = road.networks.cluster.within(|| launch.run(["/bin/sh", "-c", "echo \"got $S\""]));
    let text = output.text();
    let right = value.map_or_else(|| text.starts_with("got c"), |it| text == format!("got {it}\n"));
    if output.code() == 0 && right {
        return Ok(());
    }
    Err(format!("{}: {}", output.code(), output.stderr.trim()))
}

fn put(road: &Releases, value: &str) {
    road.put("shop/db", &json!({ "password": value }));
}
