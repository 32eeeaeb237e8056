//! The verbs.

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use crate::{demo, generate, policy, probe, road, run};

const AFTER: &str = "\
Start here:
  cloudtaser demo                                  see it work on this machine, in a minute
  cloudtaser run --plan cloudtaser.yaml -- ./app   start a program with its secrets
  cloudtaser probe PID --canary-file FILE          see what an attacker would get

Each verb has examples of its own: cloudtaser VERB --help";

/// Keeps secrets out of everything that a cloud provider stores or relays.
#[derive(Debug, Parser)]
#[command(
    name = "cloudtaser",
    version,
    max_term_width = 100,
    propagate_version = true,
    after_help = AFTER
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a program with secrets from OpenBao in sealed memory.
    Run(run::RunArgs),
    /// Show what an attacker gets, without and with cloudtaser, on this machine.
    Demo(demo::DemoArgs),
    /// Attack a running process: try every road by which others could read its secrets.
    Probe(probe::command::ProbeArgs),
    /// Say what a release policy of a bridge would do.
    Policy(policy::PolicyArgs),
    /// Beside OpenBao: set up the bridge, invite clusters, let them in, put them out.
    Bridge(road::RoadArgs),
    /// In the cluster: join a bridge by an invitation, and carry what programs there say to it.
    Broker(road::RoadArgs),
    /// Print completions for a shell.
    Completions(generate::CompletionsArgs),
    /// Print the manual page, or write one per verb.
    Man(generate::ManArgs),
}

impl Cli {
    /// Runs the verb that was asked for.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.verb {
            Verb::Bridge(args) => road::bridge(&args),
            Verb::Broker(args) => road::broker(&args),
            Verb::Completions(args) => Ok(generate::completions(&args, Self::command())),
            Verb::Demo(args) => demo::run(&args),
            Verb::Man(args) => generate::man(&args, Self::command()),
            Verb::Policy(args) => policy::run(&args),
            Verb::Probe(args) => probe::command::run(&args),
            Verb::Run(args) => run::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verbs_are_consistent() {
        Cli::command().debug_assert();
    }
}
