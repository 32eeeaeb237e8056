//! Starting an app with secrets: `cloudtaser-wrapper run` beside `bao agent` in exec mode, and the
//! app alone as the floor of both.
//!
//! One server, one login, the same app. The sides take turns, in an order that rotates, so that
//! whatever else the machine does falls on all of them.

mod figures;
mod resident;
mod rotation;
mod start;
mod storm;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use nix::unistd::Uid;
use serde_json::json;

use crate::server::Server;
use crate::subject::{Stage, Subject, Transport};
use crate::{Effort, machine, random, report, ui};
pub(crate) use figures::{Figure, Figures, Unit};
pub(crate) use start::{Case, milliseconds};
pub(crate) use storm::Storm;

/// How many secrets the largest case has.
const MOST_SECRETS: usize = 50;

/// Runs all of it and writes `wrapper.{json,md,svg}`.
pub(crate) fn run(effort: Effort, out: &Path, scratch: &Path) -> anyhow::Result<()> {
    ensure!(Uid::effective().is_root(), "must be root: the scan reads the memory of both sides");
    let machine = machine::describe();
    ui::say(&format!("load before: {}", machine::load()));
    let bao = program("CLOUDTASER_BAO")?;
    let server = Server::start(&bao, scratch)?;
    let stage = Stage { bao, wrapper: program("CLOUDTASER_WRAPPER")?, server: &server, scratch };
    let values = (0..MOST_SECRETS).map(|_| random::hex(20)).collect::<Result<Vec<_>, _>>()?;
    for (number, value) in (1..).zip(&values) {
        server.write(number, value)?;
    }
    let rounds = Rounds::of(effort);

    ui::say("start to first line of the app, one secret");
    let mut start = cases(&[1]);
    start::run(&stage, &values, &mut start, rounds.start, rounds.agent_start)?;
    ui::say("the same with more secrets");
    let mut many = cases(&[1, 10, 50]);
    many.retain(|case| case.transport == Transport::Tls);
    start::run(&stage, &values, &mut many, rounds.many, rounds.agent_many)?;
    ui::say("memory, CPU and readable copies");
    let resident = resident::run(&stage, values.get(..1).unwrap_or_default(), rounds.resident)?;
    ui::say("many at once");
    let one = values.get(..1).unwrap_or_default();
    let storm = storm::run(&stage, one, rounds.storm)?;
    ui::say("rotation");
    let rotation = rotation::run(&stage, rounds.rotations, rounds.agent_rotations)?;

    let sizes = [Subject::Wrapper, Subject::Agent].map(|subject| {
        let file = stage.supervisor(subject).and_then(|file| fs::metadata(file).ok());
        (subject, file.map_or(0, |file| file.len()))
    });
    let figures = Figures::gather(&start, &resident, &rotation, sizes);
    let raw = json!({
        "start": start.iter().map(Case::to_json).collect::<Vec<_>>(),
        "secrets": many.iter().map(Case::to_json).collect::<Vec<_>>(),
        "resident": resident.iter().map(resident::Resident::to_json).collect::<Vec<_>>(),
        "rotation": rotation.iter().map(rotation::Seen::to_json).collect::<Vec<_>>(),
        "storm": storm.iter().map(Storm::to_json).collect::<Vec<_>>(),
        "binary_bytes": sizes.map(|(subject, len)| json!({ "who": subject.name(), "bytes": len })),
    });
    let record = json!({
        "what": "cloudtaser-wrapper run beside bao agent in exec mode; AppRole login and KV reads",
        "machine": machine,
        "bao_version": server.version,
        "load_after": machine::load(),
        "summary": figures.to_json(),
        "raw": raw,
    });
    report::write(out, "wrapper.json", &format!("{record:#}\n"))?;
    let text = report::markdown::wrapper(&record, &figures, &many, &storm)?;
    report::write(out, "wrapper.md", &text)?;
    report::write(out, "wrapper.svg", &report::svg::wrapper(&record, &figures)?)?;
    ui::say(&text);
    Ok(())
}

/// How often each thing is done.
struct Rounds {
    start: usize,
    agent_start: usize,
    many: usize,
    agent_many: usize,
    resident: usize,
    storm: usize,
    rotations: usize,
    agent_rotations: usize,
}

impl Rounds {
    const fn of(effort: Effort) -> Self {
        match effort {
            // The peer needs more than two seconds for each start, hence fewer of them.
            Effort::Full => Self {
                start: 120,
                agent_start: 8,
                many: 20,
                agent_many: 3,
                resident: 3,
                storm: 3,
                rotations: 20,
                agent_rotations: 5,
            },
            Effort::Quick => Self {
                start: 5,
                agent_start: 1,
                many: 2,
                agent_many: 1,
                resident: 1,
                storm: 1,
                rotations: 2,
                agent_rotations: 1,
            },
        }
    }
}

fn cases(secrets: &[usize]) -> Vec<Case> {
    let mut cases = Vec::new();
    for secrets in secrets {
        for subject in [Subject::Bare, Subject::Wrapper, Subject::Agent] {
            for transport in [Transport::Http, Transport::Tls] {
                cases.push(Case::new(subject, transport, *secrets));
            }
        }
    }
    cases
}

/// A program that `cargo xtask bench` names.
fn program(variable: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.with_context(|| format!("{variable} is not set: use `cargo xtask bench`"))?;
    ensure!(path.is_file(), "{variable}: there is no {}", path.display());
    Ok(path)
}
