//! `run`: climbs down the tiers until a canary survives, then keeps proving it.
//!
//! Reading order: [`start`] (one tier, proved), [`crate::agent`], [`crate::serve`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cloudtaser_core::agent::Question;
use cloudtaser_core::exit::Code;
use cloudtaser_core::names::AGENT_NODE_KEY;
use serde_json::json;

use crate::agent::Agent;
use crate::attest::Signer;
use crate::audit::{AuditArgs, Sinks};
use crate::bpf::{self, Tier};
use crate::devices::Keep;
use crate::egress::Destination;
use crate::events;
use crate::host;
use crate::keys::OperatorKey;
use crate::late;
use crate::loaders::{Allowed, Wanted};
use crate::modules::{self, Preload};
use crate::net::{self, Address};
use crate::node_key::NodeKey;
use crate::peers::Peers;
use crate::pins::Pins;
use crate::serve;
use crate::socket::{Listener, ask};
use crate::state::State;
use crate::succession::Earlier;
use crate::tpm;
use crate::wrappers::{Named, Wrappers};

/// Hooks that a node may need open; without the others nothing is guarded.
const LEAVABLE: [&str; 4] = ["bpf", "kernel_load_data", "kernel_read_file", "perf_event_open"];

/// The table has 65,536 places; the others are for processes that are guarded by hand, and for
/// forks that are under way at once.
const MOST_PROCESSES: u32 = 60_000;

/// Wrappers that are known, and were.
const WRAPPERS: &str = "wrappers";

/// What the command line asks for.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Prove one state, print it, and end.
    #[arg(long)]
    pub(crate) once: bool,
    /// For a trial: pin nothing, and end when standard input does. No signal ends an agent.
    #[arg(long)]
    while_stdin_open: bool,
    /// Take over from an agent that runs: this one's programs are attached and pinned before its go.
    #[arg(long, conflicts_with_all = ["once", "while_stdin_open"])]
    pub(crate) replace: bool,
    /// Seconds between two attacks on the canary.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    canary_every: u64,
    /// A program that may load BPF programs and open perf events, besides systemd and runc: a file
    /// of the node, or by its content one of an image, as `cloudtaser-agent loader FILE` prints it.
    #[arg(long, value_name = "PATH|sha256:HEX:SIZE")]
    pub(crate) allow_loader: Vec<Allowed>,
    /// A folder of the node on whose file system images are unpacked too, besides those of Docker,
    /// containerd, CRI-O and k3s: elsewhere nothing is known by its content.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) loader_home: Vec<PathBuf>,
    /// A wrapper that may have itself guarded as any user, by file or by sha256:HEX, besides a
    /// cloudtaser-wrapper beside this program. Root of the node may have anything guarded.
    #[arg(long, value_name = "PATH|sha256:HEX")]
    wrapper: Vec<Named>,
    /// Leave the roads of a hook open, such as `kernel_read_file` for modules on demand; the state
    /// then says so.
    #[arg(long, value_name = "HOOK", value_parser = clap::builder::PossibleValuesParser::new(LEAVABLE))]
    pub(crate) leave_open: Vec<String>,
    /// Load this kernel module before the programs judge, or those that a node of Kubernetes asks for
    /// later (kubernetes): afterwards nobody loads one.
    #[arg(long, value_name = "MODULE|kubernetes")]
    preload: Vec<Preload>,
    /// What the kernel's types look like, where the kernel does not say it itself (no
    /// /sys/kernel/btf/vmlinux): for the tier `kprobe`.
    #[arg(long, value_name = "FILE")]
    pub(crate) btf: Option<PathBuf>,
    /// Let guarded processes connect to loopback and to what is named here, and nowhere else:
    /// ADDRESS[/BITS][:PORT[-PORT]], IPv6 in brackets. Name OpenBao and the resolver too.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) allow_egress: Vec<Destination>,
    /// Take orders that are signed with the secret half of this key (a file, PEM). Without one there
    /// are no grants, and the programs go only with a reboot.
    #[arg(long, value_name = "FILE")]
    pub(crate) operator_key: Option<OperatorKey>,
    /// Block devices that nobody may open: none; swap, and for writing the disk below the agent's
    /// file (own); all of them.
    #[arg(long, value_enum, default_value = "own", value_name = "WHICH")]
    pub(crate) block_devices: Keep,
    /// How many guarded processes there may be; one that asks for more cannot fork.
    #[arg(long, value_name = "N", default_value_t = MOST_PROCESSES, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_PROCESSES)))]
    pub(crate) most_processes: u32,
    /// Use this tier only: to test one on a kernel that has a better one.
    #[arg(long, value_enum)]
    tier: Option<TierName>,
    #[command(flatten)]
    audit: AuditArgs,
    /// Where the key is kept by which the agent signs what it is worth; made where there is none.
    #[arg(long, value_name = "FILE", default_value = AGENT_NODE_KEY)]
    node_key: PathBuf,
    /// The node's TPM, which signs each statement where there is one.
    #[arg(long, value_name = "DEVICE", default_value = tpm::DEVICE)]
    tpm: PathBuf,
    /// Answer GET /metrics here: IP:PORT, or the path of a unix socket.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<Address>,
}

/// A tier on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum TierName {
    /// BPF LSM.
    Lsm,
    /// In front of `security_*`.
    #[value(name = "fmod_ret")]
    FmodRet,
    /// At the entry of `security_*`: ends whoever asks, and refuses nothing. Never more than degraded.
    Kprobe,
}

impl RunArgs {
    /// Whether nothing is to stay behind.
    pub(crate) fn is_trial(&self) -> bool {
        self.once || self.while_stdin_open
    }

    pub(crate) fn loaders(&self) -> Wanted {
        Wanted::of(&self.allow_loader, &self.loader_home)
    }

    pub(crate) fn tier(&self) -> Option<Tier> {
        self.tier.map(|tier| match tier {
            TierName::Lsm => Tier::Lsm,
            TierName::FmodRet => Tier::FmodRet,
            TierName::Kprobe => Tier::Kprobe,
        })
    }
}

/// The verb. `socket` is where to listen.
pub(crate) fn run(args: &RunArgs, socket: PathBuf) -> anyhow::Result<Code> {
    let alone = args.once || args.replace || ask(&socket, &Question::Status).is_err();
    ensure!(alone, "another agent listens at {} (--replace)", socket.display());
    // The kernel names a process by its file, which in a pod is a digest. Cut to what it keeps.
    drop(fs::write("/proc/self/comm", env!("CARGO_PKG_NAME")));
    let mut wrappers = Wrappers::open(&args.wrapper)?;
    args.loaders().homes()?;
    let (sinks, listener) = if args.once { (None, None) } else { open(args)? };
    match start(args, &socket) {
        Ok((mut agent, listening)) => {
            let Some(sinks) = sinks else {
                say(&agent.state);
                return Ok(code(&agent.state));
            };
            agent.tell(sinks, listener)?;
            agent.signer = signer(&args.node_key, &args.tpm);
            // Before pods are looked for: some were made with an earlier wrapper.
            remember(&mut wrappers, &args.node_key);
            agent.late = late::guard(&agent.table, &mut wrappers);
            let listening = listening.map_or_else(|| Listener::open(&socket), Ok)?;
            let peers = Peers::new(listening, wrappers);
            // Whoever waits for the state may ask from here on.
            say(&agent.state);
            let over = if args.while_stdin_open { Some(serve::end_of_input()?) } else { None };
            agent.serve(peers, Duration::from_secs(args.canary_every), over.as_deref())
        }
        Err(reasons) => {
            say(&State::Off(reasons));
            Ok(Code::Unsupported)
        }
    }
}

/// Opens what the agent will report to: a slip is told before anything is guarded.
fn open(args: &RunArgs) -> anyhow::Result<(Option<Sinks>, Option<net::Listener>)> {
    let sinks = Sinks::open(&args.audit)?;
    let listen =
        |address| net::Listener::open(address).with_context(|| format!("--metrics {address}"));
    Ok((Some(sinks), args.metrics.as_ref().map(listen).transpose()?))
}

/// Beside the node's key; a node that cannot keep them is guarded all the same.
fn remember(wrappers: &mut Wrappers, key: &Path) {
    if let Err(error) = wrappers.remember(&key.with_file_name(WRAPPERS)) {
        let why = error.to_string();
        events::write(
            &json!({"event": "wrappers of now are not known to a later agent", "why": why}),
        );
    }
}

/// A node without a key is guarded all the same; nobody elsewhere has its word for it.
fn signer(file: &Path, tpm: &Path) -> Option<Signer> {
    let opened = NodeKey::open_or_make(file).and_then(|(key, made)| {
        let key = Signer::new(key, tpm)?;
        events::write(&json!({"event": "node key", "key": key.key.public(), "made": made}));
        Ok(key)
    });
    let told = |error: anyhow::Error| {
        let why = format!("{error:#}");
        events::write(&json!({"event": "no node key: no statement is signed", "why": why}));
    };
    opened.map_err(told).ok()
}

fn say(state: &State) {
    events::write(&json!({"event": "state", "state": state.to_string()}));
}

fn code(state: &State) -> Code {
    if matches!(state, State::Off(_)) { Code::Unsupported } else { Code::Ok }
}

/// Tries the tiers from the strongest down; the reasons are why none holds. One that takes over listens.
fn start(args: &RunArgs, socket: &Path) -> Result<(Agent, Option<Listener>), Vec<String>> {
    let lacking = what_is_lacking(args);
    if !lacking.is_empty() {
        return Err(lacking);
    }
    let pins = Pins::find();
    match pins.as_ref().map(Earlier::open) {
        // An order to unload was taken, and whoever took it was ended before it was done.
        Ok(Ok(Some(earlier))) if earlier.authority.unloading => {
            events::write(&json!({
                "event": "an unload that was cut off is brought to its end",
                "programs_left": earlier.pins.count(),
            }));
            if let Err(error) = earlier.pins.remove_all() {
                return Err(vec![format!("{error:#}")]);
            }
        }
        Ok(Ok(Some(earlier))) => {
            let taken = Agent::take_over(&earlier, args, socket);
            let both = taken.map(|(agent, listener)| (agent, Some(listener)));
            return both.map_err(|error| vec![format!("{error:#}")]);
        }
        Ok(Err(error)) => return Err(vec![format!("{error:#}")]),
        Ok(Ok(None)) | Err(_) => {}
    }
    bpf::wait_for_earlier();
    modules::load(&args.preload);
    let has_lsm = host::has_bpf_lsm();
    let tiers = match args.tier() {
        Some(tier) => vec![tier],
        // An `lsm/` program attaches without `bpf` in lsm= as well, and never runs.
        // Only the last one can do without the kernel's own description of its types.
        None if !host::has_btf() => vec![Tier::Kprobe],
        None if has_lsm == Some(false) => vec![Tier::FmodRet, Tier::Kprobe],
        None => vec![Tier::Lsm, Tier::FmodRet, Tier::Kprobe],
    };
    let mut reasons = Vec::new();
    for tier in tiers {
        match Agent::attach(tier, args, pins.as_ref()) {
            Ok(agent) if matches!(agent.state, State::Off(_)) => {
                reasons.push(agent.state.to_string());
            }
            Ok(agent) => return Ok((agent, None)),
            Err(error) => {
                // One cause behind several tiers is told once.
                let why = format!("{error:#}");
                if !reasons.iter().any(|told: &String| told.ends_with(&why)) {
                    reasons.push(format!("{}: {why}", tier.as_str()));
                }
            }
        }
    }
    Err(reasons)
}

/// Things without which loading would fail with a worse message.
fn what_is_lacking(args: &RunArgs) -> Vec<String> {
    let has_btf = host::has_btf() || args.btf.is_some();
    let checks = [
        (!nix::unistd::geteuid().is_root(), "not root"),
        (!has_btf, "the kernel has no BTF (/sys/kernel/btf/vmlinux), and none was given (--btf)"),
        (!host::is_in_first_pid_namespace(), "not in the host's PID namespace"),
    ];
    let lacking = checks.iter().filter(|(lacks, _)| *lacks).map(|(_, words)| *words);
    lacking.chain(host::what_forbids_bpf()).map(str::to_owned).collect()
}
