//! `cargo xtask e2e`: an installation on a real cluster as its people live with it, from the first
//! `install` to an `uninstall` that leaves nothing.
//!
//! It runs unchanged against any cluster that a KUBECONFIG leads to, drives it by `kubectl` and by
//! the built `cloudtaser`, and brings its own OpenBao. Reading order: [`world`] says what all steps
//! share, `steps` what is done, [`table`] how it is told.
//!
//! Invariant: a cluster that has a cloudtaser already is left alone, and whatever the suite put
//! there is taken away in the end, however it ends.

#![forbid(unsafe_code)]

mod images;
mod kubectl;
mod openbao;
mod options;
mod pods;
mod road;
mod steps;
mod table;
mod ui;
mod world;

#[path = "../fixtures/fingerprint.rs"]
mod fingerprint;

use std::process::ExitCode;

use options::Options;
use table::Table;
use world::World;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            ui::say(options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            ui::complain(&format!("e2e: {problem}\n\n{}", options::HELP));
            return ExitCode::from(options::USAGE);
        }
    };
    let mut table = Table::default();
    if let Some(reason) = options.cannot_run() {
        table.skipped("everything", &reason);
        ui::say(&table.closing());
        return ExitCode::SUCCESS;
    }
    match World::new(options) {
        Ok(mut world) => steps::run(&mut world, &mut table),
        Err(error) => table.failed("set-up", &error),
    }
    ui::say(&format!("\n{table}\n{}", table.closing()));
    if table.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
