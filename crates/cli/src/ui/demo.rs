//! The page that a demo prints: headline, table, each line in words, what stays open.

use comfy_table::Cell;
use serde_json::Value;

use super::{line, paint, table_with, wrapped};
use crate::{
    demo::{
        apps::Mode,
        outcome::{Attacker, Outcome, Trial, Verdict, worst},
    },
    probe::road::{Kind, Road},
};

/// Roads that share a reason, and the reason.
const REASONS: &[(&[Road], &str)] = &[
    (
        &[Road::Environ, Road::Task],
        "the app was executed with placeholders: the kernel never had the value to show",
    ),
    (
        &[Road::Mem, Road::VmReadv, Road::PtracePeek],
        "the value lies in pages that the kernel removed from its own map; reading them from \
         outside fails (EIO, EFAULT)",
    ),
    (&[Road::Gcore, Road::KernelCore], "the same pages are left out of core files"),
    (
        &[Road::MapFiles, Road::Fd, Road::PidfdGetfd],
        "the pages have no file that could be opened again: their descriptor was closed at once",
    ),
    (
        &[Road::Kcore, Road::DevMem],
        "whole-machine memory: only whether it opens is told; sealed pages are not in that map",
    ),
    (&[Road::Swap], "sealed pages are never swapped"),
    (&[Road::Ports], "only whether they are given is told"),
    (
        &[Road::PtraceInject, Road::GdbGetenv],
        "code that runs inside the app reads what the app reads",
    ),
    (
        &[Road::Uprobe, Road::PerfSample],
        "the kernel itself looks at the app's memory on the attacker's behalf",
    ),
];

/// Prints the page.
pub(crate) fn show(outcome: &Outcome) {
    headline(outcome);
    line("");
    line(&paint::words(&table(outcome)));
    line("");
    fruitless(outcome);
    line("");
    words(outcome);
    supervisor(outcome);
    left_open(outcome);
    skipped(outcome);
    level(outcome);
}

fn headline(outcome: &Outcome) {
    let count = |mode: Mode| {
        let of_mode = outcome.trials.iter().filter(move |trial| trial.mode == mode);
        of_mode.map(|trial| passive_gains(trial, outcome)).sum::<usize>()
    };
    let apps = outcome.trials.iter().filter(|trial| trial.mode == Mode::With).count();
    let right = outcome.trials.iter().filter(|trial| trial.right_value).count();
    let text = format!(
        "{} passive reads gave the secret without cloudtaser, {} with it",
        count(Mode::Without),
        count(Mode::With),
    );
    line(&if outcome.passed { paint::good(&text) } else { paint::bad(&text) });
    let of = outcome.trials.len();
    line(&paint::dim(&format!(
        "{apps} unmodified apps, each started twice; {right} of {of} proved by SHA-256 that they got it"
    )));
    line(&paint::dim(&outcome.server));
    if outcome.agent.runs {
        line(&paint::dim(&format!("node agent in the second half: {}", outcome.agent.state)));
    }
}

/// Passive roads that gave the value, over all attackers.
fn passive_gains(trial: &Trial, outcome: &Outcome) -> usize {
    let passive = || Road::ALL.iter().filter(|road| road.kind() == Kind::Passive);
    let attackers = attackers(outcome);
    let gains = |attacker| passive().filter(move |&&r| trial.verdict(attacker, r) == Verdict::Got);
    attackers.into_iter().map(|attacker| gains(attacker).count()).sum()
}

fn table(outcome: &Outcome) -> String {
    let mut header = vec!["attack".to_owned()];
    header.extend(outcome.trials.iter().map(|t| format!("{}\n{}", t.app, t.mode.as_str())));
    let mut table = table_with(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for attacker in attackers(outcome) {
        let who = match attacker {
            Attacker::Root => "AS ROOT (T3)".to_owned(),
            Attacker::SameUser => format!("AS UID {} (T1)", outcome.uid),
        };
        table.add_row([Cell::new(who)]);
        for (road, verdicts) in tried(outcome, attacker) {
            if verdicts.iter().copied().any(tells) {
                let first = std::iter::once(Cell::new(road.what()));
                table.add_row(first.chain(verdicts.iter().map(|v| Cell::new(v.as_str()))));
            }
        }
        table.add_row([Cell::new("")]);
    }
    table.trim_fmt()
}

/// The roads that this attacker could try, with what each gave, in the order of the trials.
fn tried(outcome: &Outcome, attacker: Attacker) -> impl Iterator<Item = (Road, Vec<Verdict>)> {
    Road::ALL.iter().filter_map(move |&road| {
        let verdicts = outcome.trials.iter().map(|trial| trial.verdict(attacker, road));
        let verdicts: Vec<_> = verdicts.collect();
        verdicts.iter().any(|verdict| *verdict != Verdict::NotTried).then_some((road, verdicts))
    })
}

/// Whether a row with this says more than that nothing was to be had anywhere.
const fn tells(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Got | Verdict::Open | Verdict::OwnCopies)
}

/// Roads that gave nothing to anybody, with or without: they need no row each.
fn fruitless(outcome: &Outcome) {
    for attacker in attackers(outcome) {
        let none = |(_, verdicts): &(Road, Vec<Verdict>)| !verdicts.iter().copied().any(tells);
        let roads: Vec<_> =
            tried(outcome, attacker).filter(none).map(|(road, _)| road.what()).collect();
        let who = match attacker {
            Attacker::Root => "root".to_owned(),
            Attacker::SameUser => format!("uid {}", outcome.uid),
        };
        if !roads.is_empty() {
            wrapped(&format!("As {who}, nothing on any app: {}.", roads.join("; ")));
        }
    }
}

fn attackers(outcome: &Outcome) -> Vec<Attacker> {
    let has = |attacker: &Attacker| {
        outcome.trials.iter().any(|t| t.attacks.iter().any(|attack| attack.attacker == *attacker))
    };
    [Attacker::SameUser, Attacker::Root].into_iter().filter(has).collect()
}

fn words(outcome: &Outcome) {
    line(&paint::strong("In words"));
    let denied = denied(outcome);
    if !denied.is_empty() {
        let names = denied.iter().map(|road| road.what()).collect::<Vec<_>>().join("; ");
        wrapped(&format!("{names}: the node agent refuses it in the kernel, to root as well."));
    }
    for (roads, reason) in REASONS {
        let tried = |road: &Road| was_tried(outcome, *road) && !denied.contains(road);
        let shown: Vec<Road> = roads.iter().copied().filter(tried).collect();
        if shown.is_empty() {
            continue;
        }
        let names = shown.iter().map(|road| road.what()).collect::<Vec<_>>().join("; ");
        // A reason is only true where the road held.
        let broke = |road: &Road| road.kind() == Kind::Passive && gave_with(outcome, *road);
        if shown.iter().any(broke) {
            wrapped(&paint::bad(&format!(
                "{names}: THE SECRET CAME OUT although cloudtaser runs."
            )));
        } else {
            wrapped(&format!("{names}: {reason}."));
        }
    }
    let copied = |trial: &&Trial| {
        let attackers = attackers(outcome);
        let mut verdicts =
            attackers.iter().flat_map(|a| Road::ALL.iter().map(|r| trial.verdict(*a, *r)));
        verdicts.any(|verdict| verdict == Verdict::OwnCopies)
    };
    let runtimes: Vec<_> = outcome.trials.iter().filter(copied).map(|trial| trial.app).collect();
    if !runtimes.is_empty() {
        wrapped(&format!(
            "\"its own\": the runtime of {} copies its environment into ordinary memory when it \
             starts. cloudtaser does not change the app, so whoever may read that memory finds \
             these copies; refusing the read is the node agent's work.",
            runtimes.join(" and ")
        ));
    }
    let open = |attacker| tried(outcome, attacker).any(|(_, v)| v.contains(&Verdict::Open));
    if attackers(outcome).into_iter().any(open) {
        wrapped("\"open\": the road can be walked; its end was not searched here.");
    }
}

/// Roads that led somewhere without cloudtaser and were refused to everybody with it, where an agent
/// is there to refuse.
fn denied(outcome: &Outcome) -> Vec<Road> {
    if !agent_enforces(outcome) {
        return Vec::new();
    }
    let verdicts = |road, mode| {
        let trials = outcome.trials.iter().filter(move |trial| trial.mode == mode);
        let attackers = attackers(outcome);
        trials.flat_map(move |t| attackers.clone().into_iter().map(move |a| t.verdict(a, road)))
    };
    let refused = |verdict| matches!(verdict, Verdict::Closed | Verdict::NotTried);
    let is_denied = |road: &Road| {
        verdicts(*road, Mode::Without).any(|verdict| !refused(verdict))
            && verdicts(*road, Mode::With).all(refused)
            && verdicts(*road, Mode::With).any(|verdict| verdict == Verdict::Closed)
    };
    Road::ALL.iter().copied().filter(is_denied).collect()
}

/// Whether an agent guarded every app that cloudtaser started.
fn agent_enforces(outcome: &Outcome) -> bool {
    let mut with = outcome.trials.iter().filter(|trial| trial.mode == Mode::With).peekable();
    with.peek().is_some() && with.all(Trial::is_guarded)
}

fn was_tried(outcome: &Outcome, road: Road) -> bool {
    let attackers = attackers(outcome).into_iter();
    attackers.flat_map(|attacker| tried(outcome, attacker)).any(|(at, _)| at == road)
}

/// Whether this road gave the value of an app that cloudtaser started.
fn gave_with(outcome: &Outcome, road: Road) -> bool {
    let with = outcome.trials.iter().filter(|trial| trial.mode == Mode::With);
    let attackers = attackers(outcome);
    with.flat_map(|t| attackers.iter().map(|a| t.verdict(*a, road))).any(|v| v == Verdict::Got)
}

fn supervisor(outcome: &Outcome) {
    let attacks: Vec<_> = outcome.trials.iter().flat_map(|trial| &trial.supervisor).collect();
    if attacks.is_empty() {
        return;
    }
    let gave = |road: &&Road| attacks.iter().any(|a| worst(&a.report, **road) == Verdict::Got);
    let roads: Vec<_> = Road::ALL.iter().filter(gave).map(|road| road.what()).collect();
    line("");
    line(&paint::strong("The wrapper that stays beside the app"));
    if roads.is_empty() {
        wrapped(&paint::words(
            "Its own memory, which held the answer of OpenBao, gave nothing on every passive road.",
        ));
    } else {
        wrapped(&format!("It gave the secret on: {}.", roads.join("; ")));
    }
}

fn left_open(outcome: &Outcome) {
    let walked = |road: &&Road| {
        let attackers = attackers(outcome);
        let with = outcome.trials.iter().filter(|trial| trial.mode == Mode::With);
        let mut verdicts = with.flat_map(|t| attackers.iter().map(|a| t.verdict(*a, **road)));
        road.kind() == Kind::Active
            && verdicts.any(|verdict| matches!(verdict, Verdict::Got | Verdict::Open))
    };
    let roads: Vec<_> = Road::ALL.iter().filter(walked).map(|road| road.what()).collect();
    line("");
    line(&paint::strong("What is left open"));
    if roads.is_empty() {
        wrapped("No active road was open to these attackers.");
    } else {
        let agent = if agent_enforces(outcome) {
            "The node agent runs here, and did not deny these.".to_owned()
        } else {
            let why = &outcome.agent.state;
            format!("The node agent denies these roads; it does not run here: {why}.")
        };
        wrapped(&format!(
            "{}: these make the app, or the kernel in its place, read for the attacker. Sealed \
             pages cannot stop that. {agent}",
            roads.join("; ")
        ));
    }
    wrapped(
        "A kernel exploit, another kernel after a reboot, and the hypervisor: nothing here stops them.",
    );
}

fn skipped(outcome: &Outcome) {
    let mut lines: Vec<_> = outcome
        .skipped
        .iter()
        .map(|skipped| format!("app {}: {}", skipped.name, skipped.why))
        .collect();
    let reports = outcome.trials.iter().flat_map(|trial| &trial.attacks);
    let results = reports.flat_map(|a| a.report.processes.iter().flat_map(|p| &p.roads));
    for result in results {
        let verdict = matches!(
            result.access,
            crate::probe::report::Access::Absent | crate::probe::report::Access::Skipped
        );
        let why = format!("{}: {}", result.road.what(), result.note);
        if verdict && !lines.contains(&why) {
            lines.push(why);
        }
    }
    if !lines.is_empty() {
        line("");
        line(&paint::strong("Not tried"));
        lines.iter().for_each(|text| wrapped(text));
    }
}

fn level(outcome: &Outcome) {
    let Some(level) = outcome.trials.iter().find_map(|trial| trial.level.as_ref()) else { return };
    line("");
    line(&paint::strong("The protection level, as the wrapper reported it"));
    let facets = level.pointer("/level/facets").and_then(Value::as_object);
    let words: Vec<_> = facets
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or("?")))
        .collect();
    wrapped(&words.join(" "));
    let rows = level.pointer("/level/rows").and_then(Value::as_array);
    for row in rows.into_iter().flatten() {
        let text = |key: &str| row.pointer(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        wrapped(&format!("{} {}: {}", text("/id"), text("/adversary"), text("/verdict")));
    }
}
