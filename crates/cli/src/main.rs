//! `cloudtaser`: the command line.
//!
//! Each verb is a module with its arguments and its `run`; this file only chooses between them and
//! turns an error into one message and a stable exit code.

#![forbid(unsafe_code)]

mod agent;
mod cli;
mod cluster;
mod compose;
mod demo;
mod deploy;
mod discover;
mod doctor;
mod evidence;
mod failure;
mod generate;
mod policy;
mod probe;
mod report;
mod road;
mod run;
mod tools;
mod ui;
mod witness;
mod yaml;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::of_arguments(&error),
    };
    cli.run().unwrap_or_else(|error| failure::report(&error))
}
