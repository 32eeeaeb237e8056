//! `cloudtaser demo`: one secret from a real OpenBao, unmodified apps, every attacker's attempt,
//! without and with cloudtaser, in one table.
//!
//! Everything is real and nothing stays: the server, the apps and their directory end with the
//! demo, also when it is interrupted. Order matters: the attacks of the weaker attacker come first.

mod agent;
pub(crate) mod apps;
pub(crate) mod interrupt;
pub(crate) mod outcome;
mod scratch;
mod server;
mod trial;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use cloudtaser_core::exit::Code;
use cloudtaser_sys::harden::fill_random;
use zeroize::Zeroizing;

use crate::{tools, ui};
use agent::Agent;
use apps::{Apps, Mode, Vault};
use interrupt::Interrupts;
use outcome::Outcome;
use scratch::{AppUser, Keep, Scratch};
use server::Server;
use trial::Attackers;

/// What a demo that does not show what it should is answered with.
const FAILED: u8 = 1;

const AFTER: &str = "\
Takes about a minute. It starts an OpenBao of its own on loopback and attacks only the apps that it
has started; everything lies in one private directory, which is removed at the end.

Needs the OpenBao program: CLOUDTASER_BAO, else `bao` on the PATH, else target/tools/bao, where
`cargo xtask demo` puts it; and sha256sum. As root the apps run as uid 65534, so that both a process
of the same user and root can attack. gdb, Python, a C compiler (or the program that
CLOUDTASER_DEMO_C names) and Go are used where they are.

Where cloudtaser-agent is (CLOUDTASER_AGENT_PROGRAM, beside this program, on the PATH), root may load it and
the kernel lets it enforce, it runs for the second half. For these seconds nobody else on the
machine can load BPF programs or kernel modules.

Exit: 0 when each app got the right value and, with cloudtaser, no passive road gave it; else 1.

JSON: {schema, passed, server, uid, agent {runs, state}, trials [{app, what, copies none|by-runtime, mode without|with,
right_value, attacks [{attacker same-user|root, report}], supervisor [{attacker, report}], level}],
skipped [{name, why}]}; a report is what `cloudtaser probe --json` prints.";

/// Shows what an attacker gets, without and with cloudtaser, on this machine.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct DemoArgs {
    /// Print everything that was seen as JSON.
    #[arg(long)]
    json: bool,
    /// Start no node agent, and let the wrapper stand alone.
    #[arg(long)]
    no_agent: bool,
    /// Leave the directory with the logs behind, and say where.
    #[arg(long)]
    keep: bool,
    /// Print without colour, as with NO_COLOR set.
    #[arg(long)]
    no_color: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode> {
    if args.no_color {
        ui::without_colour();
    }
    let interrupts = Interrupts::listen().context("cannot listen for signals")?;
    let (bao, wrapper) = (tools::bao()?, tools::wrapper()?);
    let user = AppUser::choose();
    let keep = if args.keep { Keep::Yes } else { Keep::No };
    let scratch = Scratch::new(user, keep).context("cannot make a private directory")?;
    let programs =
        Programs { bao, wrapper, agent: if args.no_agent { None } else { tools::agent() } };
    let outcome = play(&programs, user, &scratch, &interrupts)?;
    if args.json {
        ui::line(&serde_json::to_string_pretty(&outcome)?);
    } else {
        ui::demo::show(&outcome);
    }
    if keep == Keep::Yes {
        ui::note(&format!("logs and programs of the demo are in {}", scratch.root().display()));
    }
    Ok(ExitCode::from(if outcome.passed { Code::Ok.number() } else { FAILED }))
}

/// What the demo shows, and what it needs for that.
struct Programs {
    bao: PathBuf,
    wrapper: PathBuf,
    agent: Option<PathBuf>,
}

fn play(
    programs: &Programs,
    user: AppUser,
    scratch: &Scratch,
    interrupts: &Interrupts,
) -> Result<Outcome> {
    let progress = ui::Progress::start().lively();
    progress.say("starting OpenBao");
    let server = Server::start(&programs.bao, scratch, interrupts)?;
    let canary = canary().context("the kernel gives no random numbers")?;
    let proof = user::sha256(canary.as_bytes()).context("sha256sum is needed")?;
    progress.say("storing a secret in OpenBao");
    let token = server.seed(canary.as_bytes(), scratch)?;
    progress.say("compiling the apps");
    let apps = Apps::prepare(scratch, user, interrupts)?;
    let wrapper = scratch.program("cloudtaser-wrapper", &programs.wrapper)?;
    let (address, ca) = (server.address(), server.ca());
    let vault = Vault { wrapper: &wrapper, address, ca, token: &token };
    let stage = trial::Stage {
        scratch,
        interrupts,
        progress: &progress,
        user,
        vault,
        canary: &canary,
        proof: &proof,
        needle: crate::probe::Needle::new(Zeroizing::new(canary.as_bytes().to_vec()))?,
        attackers: Attackers::here(),
    };
    let perform = |mode| -> Result<Vec<_>> {
        apps.ready.iter().map(|app| stage.perform(app, mode)).collect()
    };
    // The agent would deny some roads to all of the machine: it comes after the first half.
    let without = perform(Mode::Without)?;
    progress.say("starting a node agent, which attacks itself");
    let (agent, state) = Agent::start(programs.agent.clone(), &wrapper, scratch, interrupts)?;
    let with = perform(Mode::With)?;
    drop(agent);
    let pairs = without.into_iter().zip(with);
    let trials = pairs.flat_map(|(without, with)| [without, with]).collect();
    Ok(Outcome::new(server.version(), user.uid, trials, apps.skipped, state))
}

/// 32 letters that no program contains by chance, made anew for each demo.
fn canary() -> nix::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 32]);
    fill_random(bytes.as_mut_slice())?;
    Ok(Zeroizing::new(bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect()))
}
