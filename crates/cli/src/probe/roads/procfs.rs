//! Roads that are one or a few small files of procfs.

use std::{fs::File, io, path::PathBuf};

use super::{
    super::{
        needle::Search,
        report::{Access, RoadResult},
        road::Road,
    },
    Subject, counted,
};

/// No file of procfs that is read here is longer in practice; `environ` is at most a few MiB.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Reads one file below `/proc/PID`.
pub(crate) fn file(subject: Subject<'_>, road: Road) -> RoadResult {
    let path = subject.target.proc(road.id());
    match copies(subject, path) {
        Ok((_, 0)) => RoadResult::new(road, Access::Open, "empty"),
        Ok((copies, bytes)) => {
            let mut result = RoadResult::new(road, Access::Open, format!("{bytes} bytes read"));
            result.add(road.id(), copies);
            result
        }
        Err(error) => RoadResult::refused(road, &error, ""),
    }
}

/// Reads the environment block and the command line through every thread, and opens each thread's
/// memory: some rules guard only the process's own door.
pub(crate) fn task(subject: Subject<'_>) -> RoadResult {
    let road = Road::Task;
    let tasks = match subject.target.numbers("task") {
        Ok(tasks) => tasks,
        Err(error) => return RoadResult::refused(road, &error, ""),
    };
    let mut result = RoadResult::new(road, Access::Closed, "");
    let (mut opened, mut memories) = (0, 0);
    for task in &tasks {
        for file in ["environ", "cmdline"] {
            match copies(subject, subject.target.proc(&format!("task/{task}/{file}"))) {
                Ok((copies, _)) => {
                    opened += 1;
                    result.add(&format!("task/*/{file}"), copies);
                }
                Err(error) => result.remember(&error),
            }
        }
        match File::open(subject.target.proc(&format!("task/{task}/mem"))) {
            Ok(_opened) => memories += 1,
            Err(error) => result.remember(&error),
        }
    }
    if opened + memories > 0 {
        result.access = Access::Open;
    }
    result.note = format!(
        "{}, {} read, {} could be opened (same memory as mem)",
        counted(tasks.len(), "thread"),
        counted(opened, "file"),
        counted(memories, "mem file"),
    );
    result
}

/// Reads what procfs says of each descriptor.
pub(crate) fn fdinfo(subject: Subject<'_>) -> RoadResult {
    let road = Road::Fdinfo;
    let numbers = match subject.target.numbers("fdinfo") {
        Ok(numbers) => numbers,
        Err(error) => return RoadResult::refused(road, &error, ""),
    };
    let mut result = RoadResult::new(road, Access::Open, counted(numbers.len(), "descriptor"));
    for number in numbers {
        match copies(subject, subject.target.proc(&format!("fdinfo/{number}"))) {
            Ok((copies, _)) => result.add("fdinfo", copies),
            Err(error) => result.remember(&error),
        }
    }
    result
}

/// Copies in one file, and how many bytes it had.
fn copies(subject: Subject<'_>, path: PathBuf) -> io::Result<(u64, u64)> {
    let mut search = Search::new(subject.needle);
    let bytes = search.drain(File::open(path)?, LIMIT)?;
    Ok((search.found(), bytes))
}
