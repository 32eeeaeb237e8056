//! The table of a probe.

use comfy_table::Cell;

use super::{line, paint, table_with};
use crate::probe::{
    Report,
    report::{Access, ProcessReport, RoadResult},
};

/// Prints the headline, then one table per process.
pub(crate) fn show(report: &Report) {
    line(&headline(report));
    let caller = &report.caller;
    let who = format!(
        "tried as uid {} gid {}, capabilities {}",
        caller.uid, caller.gid, caller.capabilities
    );
    line(&paint::dim(&who));
    for process in &report.processes {
        line("");
        line(&paint::strong(&format!("process {} ({})", process.pid, process.name)));
        line(&paint::words(&table(process)));
    }
}

fn headline(report: &Report) -> String {
    let roads = || report.processes.iter().flat_map(|process| &process.roads);
    let gave = roads().filter(|road| road.found > 0).count();
    let tried = roads().filter(|r| matches!(r.access, Access::Open | Access::Closed)).count();
    if gave == 0 {
        paint::good(&format!("none of {tried} roads gave the canary"))
    } else {
        paint::bad(&format!("{gave} of {tried} roads gave the canary"))
    }
}

fn table(process: &ProcessReport) -> String {
    let mut table = table_with(&["what the attacker does", "row", "result", "copies", "in words"]);
    for road in &process.roads {
        table.add_row([
            Cell::new(road.road.what()),
            Cell::new(&road.adversary),
            Cell::new(result(road)),
            Cell::new(if road.found > 0 { road.found.to_string() } else { String::new() }),
            Cell::new(words(road)),
        ]);
    }
    table.to_string()
}

fn result(road: &RoadResult) -> &'static str {
    match (road.found, road.access) {
        (0, Access::Open) if !road.road.is_only_opened() => "nothing",
        (0, access) => access.as_str(),
        _ => "GOT IT",
    }
}

fn words(road: &RoadResult) -> String {
    let places = road.places.iter().map(|place| format!("{} in {}", place.copies, place.place));
    let mut parts = places.collect::<Vec<_>>();
    if let Some(errno) = &road.errno
        && road.access != Access::Open
    {
        parts.push(errno.clone());
    }
    if !road.note.is_empty() {
        parts.push(road.note.clone());
    }
    parts.join("; ")
}
