//! The verbs.

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    agent, compose, demo, deploy, discover, doctor, evidence, generate, policy, probe, report,
    road, run, witness,
};

const AFTER: &str = "\
Start here:
  cloudtaser demo                                  see it work on this machine, in a minute
  cloudtaser run --plan cloudtaser.yaml -- ./app   start a program with its secrets
  cloudtaser install --registry HOST/PATH          put it on the cluster of your kubeconfig
  cloudtaser probe PID --canary-file FILE          see what an attacker would get
  cloudtaser compose check policies/               see which policies would break it, or leak
  cloudtaser evidence verify FILE --policy POLICY  see what a file of receipts proves

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
    /// Ask the agent of this node, or order it: status, guard, grant, grants, unload.
    #[command(disable_help_flag = true)]
    Agent(agent::AgentArgs),
    /// Start a program with secrets from OpenBao in sealed memory.
    Run(run::RunArgs),
    /// Show what an attacker gets, without and with cloudtaser, on this machine.
    Demo(demo::DemoArgs),
    /// Put cloudtaser on a cluster.
    Install(deploy::InstallArgs),
    /// Say what is protected on a cluster, at which level, and why not.
    Status(deploy::StatusArgs),
    /// Say what stands in the way, on a cluster or this machine, and how to mend it.
    Doctor(doctor::DoctorArgs),
    /// Find workloads that use Kubernetes Secrets, and plan their way out.
    Discover(discover::DiscoverArgs),
    /// Renew the cloudtaser of a cluster.
    Upgrade(deploy::UpgradeArgs),
    /// Take cloudtaser off a cluster, and leave nothing.
    Uninstall(deploy::UninstallArgs),
    /// Attack a running process: try every road by which others could read its secrets.
    Probe(probe::command::ProbeArgs),
    /// Say what a release policy of a bridge would do.
    Policy(policy::PolicyArgs),
    /// Check policies of KubeArmor, Tetragon, seccomp and Kubernetes against what cloudtaser needs.
    Compose(compose::ComposeArgs),
    /// Work with receipts of releases: make keys, export, show, verify, compare.
    Evidence(evidence::EvidenceArgs),
    /// Write a report for DORA, NIS2, GDPR or Schrems II from evidence that verifies.
    Report(report::ReportArgs),
    /// Run a witness of logs: sign that they only grow.
    Witness(witness::WitnessArgs),
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
            Verb::Compose(args) => compose::run(&args),
            Verb::Agent(args) => agent::run(&args),
            Verb::Bridge(args) => road::bridge(&args),
            Verb::Broker(args) => road::broker(&args),
            Verb::Completions(args) => Ok(generate::completions(&args, Self::command())),
            Verb::Demo(args) => demo::run(&args),
            Verb::Discover(args) => discover::run(&args),
            Verb::Doctor(args) => doctor::run(&args),
            Verb::Install(args) => deploy::install(&args),
            Verb::Status(args) => deploy::status(&args),
            Verb::Uninstall(args) => deploy::uninstall(&args),
            Verb::Upgrade(args) => deploy::upgrade(&args),
            Verb::Evidence(args) => evidence::run(&args),
            Verb::Man(args) => generate::man(&args, Self::command()),
            Verb::Policy(args) => policy::run(&args),
            Verb::Probe(args) => probe::command::run(&args),
            Verb::Report(args) => report::run(&args),
            Verb::Run(args) => run::run(&args),
            Verb::Witness(args) => witness::run(&args),
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
