//! `cloudtaser-agent`: denies every road by which another process, root included, could reach the
//! memory of a guarded one.
//!
//! The verdicts are in `bpf/`; this program loads them, says who is guarded, and reports only what
//! its canary showed. Reading order: [`run`], [`agent`], [`serve`], [`bpf`] (load and attach), [`canary`] and [`attack`]
//! (the proof), [`state`] (what may be claimed), [`table`] (who is guarded), [`succession`] and
//! [`pins`] (what outlives it), [`audit`] (what is told of denials), [`orders`] (what an operator may open), [`attest`] (what it signs),
//! [`metrics`], [`peers`] (who
//! asks) with [`caller`], [`wrappers`] and [`limit`].

#![forbid(unsafe_code)]

mod abi;
mod agent;
mod attack;
mod attest;
mod audit;
mod bpf;
mod caller;
mod canary;
mod client;
mod devices;
mod earlier;
mod egress;
mod events;
mod from_node;
mod host;
mod identity;
mod keys;
mod late;
mod limit;
mod loaders;
mod machine;
mod metrics;
mod modules;
mod neighbours;
mod net;
mod node_key;
mod operator;
mod orders;
mod peers;
mod pins;
mod quoting;
mod responder;
mod road;
mod run;
mod serve;
mod socket;
mod state;
mod succession;
mod table;
mod terms;
mod tpm;
mod wrappers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use cloudtaser_core::exit::Code;
use cloudtaser_core::names::AGENT_SOCKET;
use serde_json::json;

const AFTER: &str = "\
Examples:
  cloudtaser-agent run                     guards this node until it is ended
  cloudtaser-agent run --once              says what it would be worth here
  cloudtaser-agent guard -- ./server       starts a program that nobody else can look into
  cloudtaser-agent status                  ENFORCING(lsm), DEGRADED(why) or OFF(why)

Exit: 0 done (status: enforcing), 1 status: degraded, 64 usage, 69 no agent here, or it is off,
71 the kernel refuses what an agent needs, 77 a program was not started for lack of a guard.";

/// Denies every road to the memory of guarded processes.
#[derive(Debug, clap::Parser)]
#[command(name = "cloudtaser-agent", version, max_term_width = 100, after_help = AFTER)]
struct Cli {
    /// Where the agent listens.
    #[arg(long, global = true, value_name = "PATH", default_value = AGENT_SOCKET)]
    socket: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Guard this node.
    Run(Box<run::RunArgs>),
    /// Print what the agent of this node is worth.
    Status(client::StatusArgs),
    /// Start a program under guard: marked before it is executed, with all its children.
    Guard(client::GuardArgs),
    /// Guard a process that runs already.
    Protect(client::ProtectArgs),
    /// Print the key by which this node signs, as a release policy names it.
    NodeKey(node_key::NodeKeyArgs),
    /// Print what `run --allow-loader` takes for programs of images.
    Loader(loaders::content::LoaderArgs),
    /// Run from a copy of this program on the node: for an agent in a container.
    FromNode(from_node::FromNodeArgs),
    /// Ask the TPM who it is, or have it answer a challenge: to take it into a release policy.
    Tpm(identity::TpmArgs),
    /// Let something through for a while, by order of who has the operator's key.
    Grant(operator::GrantArgs),
    /// End a grant before its time.
    Revoke(operator::RevokeArgs),
    /// Print what was granted, and what the next order must name.
    Grants(operator::GrantsArgs),
    /// Let a program of an image load BPF from now on, as after an update of Tetragon.
    Admit(operator::AdmitArgs),
    /// Take the programs out of the kernel, and the agent with them.
    Unload(operator::UnloadArgs),
    /// Sign an order, where the key is: no node needs to have it.
    Sign(operator::SignArgs),
    /// Hand in an order that was signed elsewhere.
    Submit,
    /// The agent's own attacker.
    #[command(hide = true)]
    Attack(attack::AttackArgs),
    /// Loads kernel modules of the node.
    #[command(hide = true)]
    Preload(modules::LoadArgs),
    /// The agent's own canary.
    #[command(hide = true)]
    Canary,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody reads what cannot be printed.
            drop(error.print());
            let code = if error.use_stderr() { Code::Usage } else { Code::Ok };
            return ExitCode::from(code.number());
        }
    };
    let failed = if matches!(cli.verb, Verb::Guard(_)) { Code::Denied } else { Code::Unavailable };
    let done = match cli.verb {
        Verb::Run(args) => run::run(&args, cli.socket).map(Code::number),
        Verb::Status(args) => client::status(args, &cli.socket),
        Verb::Guard(args) => client::guard(&args, &cli.socket),
        Verb::Protect(args) => client::protect(args, &cli.socket),
        Verb::Tpm(args) => identity::run(&args).map(|()| Code::Ok.number()),
        Verb::NodeKey(args) => node_key::print(&args).map(|()| Code::Ok.number()),
        Verb::Loader(args) => loaders::content::print(&args).map(Code::number),
        Verb::FromNode(args) => {
            from_node::run(&args, &cli.socket).map(|()| Code::Internal.number())
        }
        Verb::Grant(args) => operator::grant(&args, &cli.socket),
        Verb::Revoke(args) => operator::revoke(&args, &cli.socket),
        Verb::Grants(args) => operator::grants(args, &cli.socket),
        Verb::Admit(args) => operator::admit(&args, &cli.socket),
        Verb::Unload(args) => operator::unload(&args, &cli.socket),
        Verb::Sign(args) => operator::sign(&args),
        Verb::Submit => operator::submit(&cli.socket),
        Verb::Attack(args) => attack::run(args).map(|()| Code::Ok.number()),
        Verb::Preload(args) => modules::run(&args).map(|()| Code::Internal.number()),
        Verb::Canary => canary::wait().map(|()| Code::Ok.number()),
    };
    done.map_or_else(
        |error| {
            events::write(&json!({"event": "failed", "why": format!("{error:#}")}));
            ExitCode::from(failed.number())
        },
        ExitCode::from,
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_verbs_are_consistent() {
        Cli::command().debug_assert();
    }
}
