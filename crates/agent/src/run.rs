//! `run`: climbs down the tiers until a canary survives, then keeps proving it.
//!
//! Reading order: [`start`] (one tier, proved), [`Agent::serve`] (the loop).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cloudtaser_core::agent::{Answer, Question};
use cloudtaser_core::exit::Code;
use cloudtaser_sys::roads;
use libbpf_rs::{MapCore as _, MapFlags};
use nix::unistd::Pid;
use serde_json::json;

use crate::abi;
use crate::audit::{AuditArgs, Counts, Sinks};
use crate::bpf::{self, Attached, Loaded, Tier};
use crate::canary::{self, Attackers};
use crate::events;
use crate::host::{self, Preemption};
use crate::metrics::{Kept, Metrics, Proved};
use crate::net::{self, Address};
use crate::peers::{Asked, Peers};
use crate::responder;
use crate::road::Attack;
use crate::socket::ask;
use crate::state::{self, Doubts, Report, State};
use crate::table::{Guarded, MarkError, Table};
use crate::wrappers::{Named, Wrappers};

/// How long the loop sleeps when nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// After so long without a proof the last one says nothing any more.
const SILENCE: Duration = Duration::from_secs(60);

/// Programs that load BPF on an ordinary node; those that are not there are passed over.
const LOADERS: &[&str] = &[
    "/lib/systemd/systemd",
    "/usr/bin/crun",
    "/usr/bin/runc",
    "/usr/lib/systemd/systemd",
    "/usr/local/sbin/runc",
    "/usr/sbin/runc",
];

/// Hooks that a node may need open; without the others nothing is guarded.
const LEAVABLE: [&str; 4] = ["bpf", "kernel_load_data", "kernel_read_file", "perf_event_open"];

/// What the command line asks for.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Prove one state, print it, and end.
    #[arg(long)]
    once: bool,
    /// End when standard input does, for a trial; the agent cannot be ended by a signal.
    #[arg(long)]
    while_stdin_open: bool,
    /// Seconds between two attacks on the canary.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    canary_every: u64,
    /// A program file that may load BPF programs and open perf events, besides systemd and runc.
    #[arg(long, value_name = "PATH")]
    allow_loader: Vec<PathBuf>,
    /// A wrapper that may have itself guarded as any user, by file or by sha256:HEX, besides a
    /// cloudtaser-wrapper beside this program. Root of the node may have anything guarded.
    #[arg(long, value_name = "PATH|sha256:HEX")]
    wrapper: Vec<Named>,
    /// Leave the roads of a hook open, such as `kernel_read_file` for modules on demand; the state
    /// then says so.
    #[arg(long, value_name = "HOOK", value_parser = clap::builder::PossibleValuesParser::new(LEAVABLE))]
    leave_open: Vec<String>,
    /// Use this tier only: to test one on a kernel that has a better one.
    #[arg(long, value_enum)]
    tier: Option<TierName>,
    #[command(flatten)]
    audit: AuditArgs,
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
}

/// The verb. `socket` is where to listen.
pub(crate) fn run(args: &RunArgs, socket: PathBuf) -> anyhow::Result<Code> {
    let alone = args.once || ask(&socket, Question::Status).is_err();
    ensure!(alone, "another agent listens at {}", socket.display());
    let wrappers = Wrappers::open(&args.wrapper)?;
    let (sinks, listener) = if args.once { (None, None) } else { open(args)? };
    match start(args) {
        Ok(mut agent) => {
            events::write(&json!({"event": "state", "state": agent.state.to_string()}));
            let Some(sinks) = sinks else { return Ok(code(&agent.state)) };
            agent.tell(sinks, listener)?;
            let peers = Peers::open(&socket, wrappers)?;
            let over = if args.while_stdin_open { Some(end_of_input()?) } else { None };
            agent.serve(peers, Duration::from_secs(args.canary_every), over.as_deref())
        }
        Err(reasons) => {
            let state = State::Off(reasons);
            events::write(&json!({"event": "state", "state": state.to_string()}));
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

fn code(state: &State) -> Code {
    if matches!(state, State::Off(_)) { Code::Unsupported } else { Code::Ok }
}

/// Tries the tiers from the strongest down; the reasons are why none holds.
fn start(args: &RunArgs) -> Result<Agent, Vec<String>> {
    let lacking = what_is_lacking();
    if !lacking.is_empty() {
        return Err(lacking);
    }
    let has_lsm = host::has_bpf_lsm();
    let tiers = match args.tier {
        Some(TierName::Lsm) => vec![Tier::Lsm],
        Some(TierName::FmodRet) => vec![Tier::FmodRet],
        // An `lsm/` program attaches without `bpf` in lsm= as well, and never runs.
        None if has_lsm == Some(false) => vec![Tier::FmodRet],
        None => vec![Tier::Lsm, Tier::FmodRet],
    };
    let mut reasons = Vec::new();
    for tier in tiers {
        match Agent::attach(tier, args) {
            Ok(agent) if matches!(agent.state, State::Off(_)) => {
                reasons.push(agent.state.to_string());
            }
            Ok(agent) => return Ok(agent),
            Err(error) => {
                // One cause behind both tiers is told once.
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
fn what_is_lacking() -> Vec<String> {
    let checks = [
        (!nix::unistd::geteuid().is_root(), "not root"),
        (!host::has_btf(), "the kernel has no BTF (/sys/kernel/btf/vmlinux)"),
        (!host::is_in_first_pid_namespace(), "not in the host's PID namespace"),
    ];
    checks.iter().filter(|(lacks, _)| *lacks).map(|(_, words)| (*words).to_owned()).collect()
}

/// One tier at work.
struct Agent {
    attached: Attached,
    table: Arc<Table>,
    attackers: Arc<Attackers>,
    tier: Tier,
    /// Program files that may load BPF.
    loaders: usize,
    before: Attack,
    now: Attack,
    proved: Instant,
    state: State,
    counts: Arc<Counts>,
    /// The same as above, for who reads metrics.
    shown: Option<Arc<Mutex<Proved>>>,
    events: libbpf_rs::MapHandle,
}

impl Agent {
    /// Loads, attacks, attaches, attacks again.
    fn attach(tier: Tier, args: &RunArgs) -> anyhow::Result<Self> {
        let loaded = bpf::load(tier, &args.leave_open)?;
        let table = Table::of(&loaded)?;
        let loaders = list_loaders(&loaded, &args.allow_loader)?;
        // SECURITY: from the first program on, nobody but a marked process may touch the maps.
        table.mark_agent()?;
        let attackers = Attackers::default();
        let before = canary::round(&table, &attackers, loaded.own()?)
            .context("the attack before the start")?;
        let events = loaded.map("ct_events")?;
        let attached = loaded.attach()?;
        let own = attached.own()?;
        let now = canary::round(&table, &attackers, own).context("the first attack")?;
        let mut agent = Self {
            attached,
            table: Arc::new(table),
            attackers: Arc::new(attackers),
            tier,
            loaders,
            before,
            now,
            proved: Instant::now(),
            state: State::Off(Vec::new()),
            counts: Arc::default(),
            shown: None,
            events,
        };
        agent.judge(None);
        Ok(agent)
    }

    /// Starts what reports: records of denials, and metrics where they are wanted.
    fn tell(&mut self, sinks: Sinks, listener: Option<net::Listener>) -> anyhow::Result<()> {
        let spool = sinks.spool();
        let events = libbpf_rs::MapHandle::try_from(&self.events)?;
        sinks.start(events, Arc::clone(&self.attackers), self.tier, &self.counts)?;
        let Some(listener) = listener else { return Ok(()) };
        let proved = Arc::new(Mutex::new(self.proved()));
        self.shown = Some(Arc::clone(&proved));
        let metrics = Metrics {
            tier: self.tier.as_str(),
            proved,
            table: Arc::clone(&self.table),
            counters: self.attached.counters()?,
            counts: Arc::clone(&self.counts),
            spool,
            kept: Kept::default(),
        };
        responder::start(listener, move || metrics.text())?;
        Ok(())
    }

    fn proved(&self) -> Proved {
        Proved {
            state: self.state.clone(),
            attack: self.now.clone(),
            at: self.proved,
            programs: self.attached.len(),
            skipped: self.attached.skipped(),
            verified: self.attached.verified(),
        }
    }

    /// Answers, and has the canary attacked again and again.
    fn serve(
        mut self,
        mut peers: Peers,
        every: Duration,
        over: Option<&AtomicBool>,
    ) -> anyhow::Result<Code> {
        let (ask, asked) = mpsc::channel();
        let answers = self.attack_on_demand(asked)?;
        let (mut due, mut waiting) = (Instant::now() + every, false);
        loop {
            waiting &= !self.hear(&answers);
            if Instant::now() >= due && !waiting {
                ask.send(()).context("the canary's thread is gone")?;
                due = Instant::now() + every;
                waiting = true;
            }
            if self.proved.elapsed() > every + SILENCE {
                self.change(Some("it has not answered for a minute".to_owned()));
            }
            for mut asked in peers.next(TICK)? {
                let answer = self.answer(&asked, &peers);
                asked.answer(&answer);
            }
            if over.is_some_and(|over| over.load(Ordering::Relaxed)) {
                return Ok(Code::Ok);
            }
        }
    }

    /// A thread of its own: an attack takes longer than a peer should wait.
    fn attack_on_demand(&self, asked: Receiver<()>) -> anyhow::Result<Receiver<Round>> {
        let (tell, told): (Sender<Round>, _) = mpsc::channel();
        let (table, attackers) = (Arc::clone(&self.table), Arc::clone(&self.attackers));
        let own = self.attached.own()?;
        thread::Builder::new().name("canary".to_owned()).spawn(move || {
            while asked.recv().is_ok() {
                let round = canary::round(&table, &attackers, own);
                if tell.send(round.map_err(|error| format!("{error:#}"))).is_err() {
                    return;
                }
            }
        })?;
        Ok(told)
    }

    /// Takes what the canary's thread has to say; whether it had.
    fn hear(&mut self, answers: &Receiver<Round>) -> bool {
        let mut heard = false;
        for round in answers.try_iter() {
            heard = true;
            match round {
                Ok(attack) => {
                    self.now = attack;
                    self.proved = Instant::now();
                    self.change(None);
                }
                Err(why) => self.change(Some(why)),
            }
            if let Some(shown) = &self.shown {
                *shown.lock().unwrap_or_else(PoisonError::into_inner) = self.proved();
            }
        }
        heard
    }

    /// Judges anew, and tells when that changes the state.
    fn change(&mut self, failed_round: Option<String>) {
        let before = self.state.clone();
        self.judge(failed_round);
        if self.state != before {
            events::write(&json!({"event": "state", "state": self.state.to_string()}));
        }
    }

    fn judge(&mut self, failed_round: Option<String>) {
        let mut doubts = Doubts::default();
        for missing in &self.attached.missing {
            doubts.add(format!("no hook {missing}"));
        }
        if let Some(why) = failed_round {
            doubts.add(format!("the canary could not be attacked: {why}"));
        }
        if host::trampolines_are_off() {
            doubts.add("kernel.ftrace_enabled is 0: no program runs");
        }
        let skipped = self.attached.skipped();
        if skipped > 0 {
            doubts.add("the kernel skipped a program that was running already");
        }
        if self.counts.unguarded.load(Ordering::Relaxed) > 0 {
            doubts.add("not every child of a guarded process fitted into the table");
        }
        if self.tier == Tier::FmodRet {
            if self.loaders > 0 {
                // bpf_bprm_opts_set is for security modules only.
                doubts.add("root can put code into a listed loader (LD_PRELOAD)");
            }
            match Preemption::read() {
                Preemption::Full => doubts.add("the kernel preempts fully, so races may pass"),
                Preemption::Unknown => {
                    doubts.add("the preemption model cannot be told (debugfs), races may pass");
                }
                Preemption::Voluntary => {}
            }
        }
        self.state = state::judge(self.tier, &self.before, &self.now, doubts);
    }

    fn answer(&self, asked: &Asked, peers: &Peers) -> Answer {
        let done = match asked.question {
            Question::Guard => self.guard(asked),
            Question::Protect { pid } => {
                let pid = Pid::from_raw(pid);
                match roads::open_process(pid) {
                    Ok(process) => self.table.guard(pid, &process).map(drop),
                    Err(_gone) => Err(MarkError::Gone(pid)),
                }
            }
            Question::Status => Ok(()),
        };
        let report = (asked.question == Question::Status).then(|| self.report(peers));
        Answer {
            done: done.is_ok(),
            state: self.state.facet(),
            tier: self.state.tier().map(|tier| tier.as_str().to_owned()),
            reasons: self.state.reasons().to_vec(),
            text: done.map_or_else(|error| error.to_string(), |()| self.state.to_string()),
            report,
        }
    }

    /// Guards whoever asks, and keeps a record of who that was.
    fn guard(&self, asked: &Asked) -> Result<(), MarkError> {
        let caller = &asked.caller;
        let Guarded { group, since } = self.table.guard(caller.pid, &caller.process)?;
        events::write(&json!({
            "event": "guarded",
            "pid": caller.pid.as_raw(),
            "uid": caller.uid,
            "cgroup": caller.cgroup,
            "wrapper": asked.wrapper.map(|digest| digest.to_string()),
            "group": group,
            "since": since.as_str(),
        }));
        Ok(())
    }

    fn report(&self, peers: &Peers) -> serde_json::Value {
        let mut report = Report::of(&self.state, &self.before, &self.now);
        report.programs = self.attached.len();
        report.guarded = self.table.len();
        report.unguarded = self.counts.unguarded.load(Ordering::Relaxed);
        report.skipped = self.attached.skipped();
        report.refused = peers.refused();
        report.wrappers = peers.wrappers();
        report.proved_seconds_ago = self.proved.elapsed().as_secs();
        if let Ok(counters) = self.attached.counters() {
            report.denials = counters.denials().unwrap_or_default();
            report.lost_reports = counters.lost().unwrap_or_default();
        }
        report.verified_instructions = self.attached.verified();
        serde_json::to_value(report).unwrap_or_default()
    }
}

/// Set when standard input has come to its end.
fn end_of_input() -> anyhow::Result<Arc<AtomicBool>> {
    let over = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&over);
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // An input that cannot be read has ended as well.
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        set.store(true, Ordering::Relaxed);
    })?;
    Ok(over)
}

/// What a round gave, or why it gave nothing.
type Round = Result<Attack, String>;

fn list_loaders(loaded: &Loaded, more: &[PathBuf]) -> anyhow::Result<usize> {
    let map = loaded.map("ct_loaders")?;
    let mut files = BTreeSet::new();
    for path in LOADERS {
        // Not every node has every one of them.
        if let Ok(data) = fs::metadata(path) {
            files.insert((data.ino(), data.dev()));
        }
    }
    for path in more {
        let data = fs::metadata(path).with_context(|| format!("loader {}", path.display()))?;
        ensure!(data.is_file(), "loader {} is no file", path.display());
        files.insert((data.ino(), data.dev()));
    }
    for (inode, device) in &files {
        map.update(&abi::loader(*inode, *device), &1_u32.to_ne_bytes(), MapFlags::ANY)?;
    }
    Ok(files.len())
}
