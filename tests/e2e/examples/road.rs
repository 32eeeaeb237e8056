//! `cargo xtask demo --road`: the whole road in three networks, and what an eavesdropper on each hop
//! and root on each machine would find.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "shown to people, on test support")]

use std::{
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    time::{Duration, Instant},
};

use cloudtaser_e2e::{
    Capture, EU_ADDRESS, Launch, Networks, Program, RELAY_ADDRESS, Road, canary, scan,
};
use serde_json::json;

/// What ends a demonstration that cannot be given here, as in `sysexits.h`.
const UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let networks = match Networks::make() {
        Ok(networks) => networks,
        Err(why) => {
            println!("The road needs three networks, and they cannot be made here: {why}");
            println!("Run it as root, on a kernel with network namespaces, with `ip` installed.");
            return ExitCode::from(UNAVAILABLE);
        }
    };
    if shown(networks) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether all is as it should be.
fn shown(networks: Networks) -> bool {
    println!("Three networks: the EU with OpenBao and its bridge, a public relay with the beacon,");
    println!("the cluster with its broker and an app. The relay forwards nothing.\n");
    let began = Instant::now();
    let road = Road::start_enrolled(networks);
    println!("The cluster was invited, made its key, joined through the beacon and was approved");
    println!("by that key; the broker has a certificate ({:.1?} in all).\n", began.elapsed());

    let (value, path) = (canary(), canary());
    road.bao.put_within(&road.networks.eu, &path, &json!({ "password": value }));
    let networks = [
        ("the cluster", &road.networks.cluster),
        ("the relay", &road.networks.relay),
        ("the EU", &road.networks.eu),
    ];
    let captures = networks.map(|(name, network)| (name, Capture::begin(network)));
    let reference = format!("vault:secret/data/{path}#password");
    let launch = Launch::wrapped(&road.bao).env("S", reference);
    let began = Instant::now();
    let output = road.networks.cluster.within(|| launch.run(["/bin/sh", "-c", "echo $S"]));
    let took = began.elapsed();
    let arrived = output.text().trim() == value;
    let mut good = judged(arrived, "an app in the cluster gets its secret", &output.stderr);
    println!("       login and read through broker, beacon and bridge: {took:.0?}\n");
    good &= reachable(&road);

    let token = std::fs::read_to_string(road.bao.token_file()).expect("its token");
    let needles = [("value", &*value), ("token", token.trim()), ("path", &path)];
    for (name, capture) in captures {
        let captured = capture.end();
        let found = needles.iter().filter(|(_, needle)| captured.has(needle.as_bytes()));
        let found: Vec<_> = found.map(|(what, _)| *what).collect();
        let size = captured.bytes() >> 10;
        let line = format!("what went over {name} ({size} KiB): no value, token or path");
        let clean = found.is_empty() && captured.is_whole() && captured.bytes() > 0;
        good &= judged(clean, &line, &found.join(", "));
    }
    good &= memories(&road, &needles);
    let there = !scan(road.bao.pid(), value.as_bytes()).hits.is_empty();
    good &= judged(there, "the same search finds the value in OpenBao, so it is not blind", "");
    println!("\nWhat a beacon does learn: addresses, sizes, times, and a name and tag per day");
    println!("(docs/protocol/relay.md, section 7). What root in the cluster can do to the app");
    println!("itself is another demonstration: cloudtaser demo.");
    good
}

/// Who can be reached from where.
fn reachable(road: &Road) -> bool {
    let port = road.bao.port();
    let at_eu = SocketAddr::new(EU_ADDRESS.parse().expect("an address"), port);
    let mut good = true;
    for (name, network) in [("relay", &road.networks.relay), ("cluster", &road.networks.cluster)] {
        let wait = Duration::from_secs(2);
        let refused = network.within(|| TcpStream::connect_timeout(&at_eu, wait)).is_err();
        good &= judged(refused, &format!("the {name} has no way to OpenBao at {at_eu}"), "");
    }
    let open = road.networks.eu.reachable_listeners();
    good &= judged(open.is_empty(), "nothing in the EU listens to other machines", "");
    let open = road.networks.relay.reachable_listeners();
    good &=
        judged(open.len() == 1, &format!("the relay has one open port, at {RELAY_ADDRESS}"), "");
    println!();
    good
}

/// What root finds on each machine of the road.
fn memories(road: &Road, needles: &[(&str, &str)]) -> bool {
    let of = |program: &Program| program.pid();
    let all =
        [("beacon", of(&road.beacon)), ("broker", of(&road.proxy)), ("bridge", of(&road.bridge))];
    let mut good = true;
    for (name, pid) in all {
        let scans = needles.iter().map(|(what, needle)| (*what, scan(pid, needle.as_bytes())));
        let scans: Vec<_> = scans.collect();
        let read = scans.first().map_or(0, |(_, scan)| scan.bytes);
        let found = scans.iter().filter(|(_, scan)| !scan.hits.is_empty());
        let found: Vec<_> = found.map(|(what, _)| *what).collect();
        let line = format!("root reads {} KiB of the {name}: no value, token or path", read >> 10);
        good &= judged(found.is_empty() && read > 1 << 20, &line, &found.join(", "));
    }
    good
}

fn judged(good: bool, line: &str, otherwise: &str) -> bool {
    println!("{}  {line}", if good { "  ok " } else { "FAIL " });
    if !good && !otherwise.is_empty() {
        println!("       {otherwise}");
    }
    good
}
