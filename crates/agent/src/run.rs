//! `run`: climbs down the tiers until a canary survives, then keeps proving it.
//!
//! Reading order: [`start`] (one tier, proved), [`Agent::serve`] (the loop).

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cloudtaser_core::exit::Code;
use cloudtaser_sys::roads;
use libbpf_rs::{MapCore as _, MapFlags, RingBufferBuilder};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use serde_json::json;

use crate::abi;
use crate::bpf::{self, Attached, Loaded, Tier};
use crate::canary::{self, Attackers};
use crate::events::{self, Log};
use crate::host::{self, Preemption};
use crate::pins::{Decoy, Pins};
use crate::road::Attack;
use crate::socket::{Answer, Asked, Listener, Question, ask};
use crate::state::{self, Doubts, Report, State};
use crate::succession::{self, Earlier, Estate};
use crate::table::Table;

/// How long the loop sleeps when nothing happens.
const TICK: Duration = Duration::from_millis(500);

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
    /// Take over from an agent that runs: this one's programs are attached and pinned before its go.
    #[arg(long, conflicts_with = "once")]
    replace: bool,
    /// Seconds between two attacks on the canary.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    canary_every: u64,
    /// A program file that may load BPF programs and open perf events, besides systemd and runc.
    #[arg(long, value_name = "PATH")]
    allow_loader: Vec<PathBuf>,
    /// Leave the roads of a hook open, such as `kernel_read_file` for modules on demand; the state
    /// then says so.
    #[arg(long, value_name = "HOOK", value_parser = clap::builder::PossibleValuesParser::new(LEAVABLE))]
    leave_open: Vec<String>,
    /// Use this tier only: to test one on a kernel that has a better one.
    #[arg(long, value_enum)]
    tier: Option<TierName>,
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

impl RunArgs {
    fn tier(&self) -> Option<Tier> {
        self.tier.map(|tier| match tier {
            TierName::Lsm => Tier::Lsm,
            TierName::FmodRet => Tier::FmodRet,
        })
    }
}

/// The verb. `socket` is where to listen.
pub(crate) fn run(args: &RunArgs, socket: PathBuf) -> anyhow::Result<Code> {
    let alone = args.once || args.replace || ask(&socket, Question::Status).is_err();
    ensure!(alone, "another agent listens at {} (--replace)", socket.display());
    match start(args) {
        Ok(agent) => {
            events::write(&json!({"event": "state", "state": agent.state.to_string()}));
            if args.once {
                return Ok(code(&agent.state));
            }
            agent.serve(&socket, Duration::from_secs(args.canary_every))
        }
        Err(reasons) => {
            let state = State::Off(reasons);
            events::write(&json!({"event": "state", "state": state.to_string()}));
            Ok(Code::Unsupported)
        }
    }
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
    let pins = Pins::find();
    match pins.as_ref().map(Earlier::open) {
        Ok(Ok(Some(earlier))) => {
            return Agent::take_over(&earlier, args).map_err(|error| vec![format!("{error:#}")]);
        }
        Ok(Err(error)) => return Err(vec![format!("{error:#}")]),
        Ok(Ok(None)) | Err(_) => {}
    }
    let has_lsm = host::has_bpf_lsm();
    let tiers = match args.tier() {
        Some(tier) => vec![tier],
        // An `lsm/` program attaches without `bpf` in lsm= as well, and never runs.
        None if has_lsm == Some(false) => vec![Tier::FmodRet],
        None => vec![Tier::Lsm, Tier::FmodRet],
    };
    let mut reasons = Vec::new();
    for tier in tiers {
        match Agent::attach(tier, args, pins.as_ref()) {
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
    /// What is pinned, or nothing.
    estate: Option<Estate>,
    decoy: Option<Arc<Decoy>>,
    /// Doubts that stay.
    lasting: Vec<String>,
    log: Log,
    events: libbpf_rs::MapHandle,
}

impl Agent {
    /// Loads, attacks, attaches, attacks again.
    fn attach(tier: Tier, args: &RunArgs, pins: Result<&Pins, &String>) -> anyhow::Result<Self> {
        let loaded = bpf::load(tier, &args.leave_open, None)?;
        let table = Table::of(&loaded)?;
        let loaders = list_loaders(&loaded, &args.allow_loader)?;
        // SECURITY: from the first program on, nobody but a marked process may touch the maps.
        table.mark_agent()?;
        let mut lasting: Vec<String> = Vec::new();
        lasting.extend(succession::name_heir(&loaded)?.map(str::to_owned));
        lasting.extend(pins.err().map(|why| format!("it ends with the agent, {why}")));
        let pins = pins.ok();
        let (listed, lost) = (loaded.map("ct_pins")?, loaded.map("ct_lost")?);
        let decoy = pins.map(|pins| Arc::new(Decoy::new(pins, listed, lost)));
        let attackers = Attackers::default();
        let before = canary::round(&table, &attackers, loaded.own()?, decoy.as_deref())
            .context("the attack before the start")?;
        let events = loaded.map("ct_events")?;
        let attached = loaded.attach()?;
        if let (Some(pins), Some(decoy)) = (pins, &decoy) {
            decoy.renew()?;
            pins.show_mount()?;
        }
        let own = attached.own()?;
        let now =
            canary::round(&table, &attackers, own, decoy.as_deref()).context("the first attack")?;
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
            estate: None,
            decoy,
            lasting,
            log: Log::new(),
            events,
        };
        agent.judge(None);
        match pins {
            Some(pins) if !args.once && !matches!(agent.state, State::Off(_)) => {
                let terms = (tier, &args.leave_open[..], &agent.before);
                agent.estate = Some(Estate::found(pins, &mut agent.attached, &agent.table, terms)?);
            }
            _ => drop(agent.decoy.as_deref().map(Decoy::remove)),
        }
        Ok(agent)
    }

    /// Attaches beside what an earlier agent left in force, which goes when this is pinned.
    fn take_over(earlier: &Earlier, args: &RunArgs) -> anyhow::Result<Self> {
        ensure!(!args.once, "an earlier agent's pins are in force: ask for its `status`");
        let tier = earlier.tier();
        earlier.accept(args.tier(), &args.leave_open, &identities(&args.allow_loader)?)?;
        let table = earlier.table()?;
        ensure!(args.replace || !earlier.is_served(&table), "an agent runs (--replace)");
        table.mark_agent()?;
        let (attackers, away) = (Attackers::default(), earlier.away(&table));
        let decoy = earlier.decoy()?;
        let found = canary::round(&table, &attackers, earlier.own()?, Some(&decoy))
            .context("the attack on what was pinned")?;
        earlier.tell(&found, away);
        let loaded = bpf::load(tier, &args.leave_open, Some(&earlier.pins))?;
        let events = loaded.map("ct_events")?;
        let mut attached = loaded.attach()?;
        let estate = earlier.hand_over(&mut attached, &table, &args.leave_open, away)?;
        let now = canary::round(&table, &attackers, attached.own()?, Some(&decoy))
            .context("the first attack")?;
        let mut agent = Self {
            attached,
            table: Arc::new(table),
            attackers: Arc::new(attackers),
            tier,
            loaders: earlier.loaders()?,
            before: earlier.before.clone(),
            now,
            proved: Instant::now(),
            state: State::Off(Vec::new()),
            estate: Some(estate),
            decoy: Some(Arc::new(decoy)),
            lasting: Vec::new(),
            log: Log::new(),
            events,
        };
        agent.judge(None);
        Ok(agent)
    }

    /// Answers, reports denials, and has the canary attacked again and again.
    fn serve(mut self, socket: &std::path::Path, every: Duration) -> anyhow::Result<Code> {
        let listener = Listener::open(socket)?;
        let (ask, asked) = mpsc::channel();
        let answers = self.attack_on_demand(asked)?;
        let attackers = Arc::clone(&self.attackers);
        let log = std::cell::RefCell::new(std::mem::replace(&mut self.log, Log::new()));
        let mut builder = RingBufferBuilder::new();
        let events = libbpf_rs::MapHandle::try_from(&self.events)?;
        builder.add(&events, |bytes| {
            log.borrow_mut().event(bytes, &attackers);
            0
        })?;
        let ring = builder.build()?;
        let mut due = Instant::now() + every;
        loop {
            ring.consume()?;
            self.log.unguarded = log.borrow().unguarded;
            log.borrow_mut().flush();
            self.hear(&answers);
            if let Some(estate) = &self.estate {
                estate.stamp(&self.table)?;
            }
            if Instant::now() >= due {
                ask.send(()).context("the canary's thread is gone")?;
                due = Instant::now() + every;
            }
            if question_waits(listener.as_fd())? {
                match listener.next() {
                    Ok(mut question) => {
                        let answer = self.answer(&question);
                        question.answer(&answer);
                    }
                    Err(error) => events::write(
                        &json!({"event": "refused to answer", "why": format!("{error:#}")}),
                    ),
                }
            }
        }
    }

    /// A thread of its own: an attack takes longer than a peer should wait.
    fn attack_on_demand(&self, asked: Receiver<()>) -> anyhow::Result<Receiver<Round>> {
        let (tell, told): (Sender<Round>, _) = mpsc::channel();
        let (table, attackers) = (Arc::clone(&self.table), Arc::clone(&self.attackers));
        let (own, decoy) = (self.attached.own()?, self.decoy.clone());
        thread::Builder::new().name("canary".to_owned()).spawn(move || {
            while asked.recv().is_ok() {
                let round = canary::round(&table, &attackers, own, decoy.as_deref());
                if tell.send(round.map_err(|error| format!("{error:#}"))).is_err() {
                    return;
                }
            }
        })?;
        Ok(told)
    }

    fn hear(&mut self, answers: &Receiver<Round>) {
        for round in answers.try_iter() {
            let before = self.state.clone();
            match round {
                Ok(attack) => {
                    self.now = attack;
                    self.proved = Instant::now();
                    self.judge(None);
                }
                Err(why) => self.judge(Some(why)),
            }
            if self.state != before {
                events::write(&json!({"event": "state", "state": self.state.to_string()}));
            }
        }
    }

    fn judge(&mut self, failed_round: Option<String>) {
        let mut doubts = Doubts::default();
        for missing in &self.attached.missing {
            doubts.add(format!("no hook {missing}"));
        }
        for lasting in &self.lasting {
            doubts.add(lasting.clone());
        }
        if let Some(why) = failed_round {
            doubts.add(format!("the canary could not be attacked: {why}"));
        }
        if host::trampolines_are_off() {
            doubts.add("kernel.ftrace_enabled is 0: no program runs");
        }
        let skipped = self.attached.skipped();
        if skipped > 0 {
            doubts.add(format!("the kernel skipped a program {skipped} times"));
        }
        if self.log.unguarded > 0 {
            doubts.add(format!("{} processes did not fit into the table", self.log.unguarded));
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

    fn answer(&mut self, asked: &Asked) -> Answer {
        let done = match asked.question {
            Question::Guard => self.table.guard(asked.pid, &asked.process).map(drop),
            Question::Protect { pid } => {
                let pid = Pid::from_raw(pid);
                match roads::open_process(pid) {
                    Ok(process) => self.table.guard(pid, &process).map(drop),
                    Err(_gone) => Err(crate::table::MarkError::Gone(pid)),
                }
            }
            Question::Status => Ok(()),
        };
        let report = (asked.question == Question::Status).then(|| self.report());
        let away = self.estate.as_ref().and_then(|estate| estate.away);
        let text = match (&done, away) {
            (Ok(()), Some(away)) if report.is_some() => {
                let (since, long) = (away.since_boot_s, away.for_s);
                format!("{}, and no agent ran for {long} s from {since} s after boot", self.state)
            }
            (Ok(()), _) => self.state.to_string(),
            (Err(error), _) => error.to_string(),
        };
        Answer { done: done.is_ok(), state: self.state.word().to_owned(), text, report }
    }

    fn report(&self) -> serde_json::Value {
        let mut report = Report::of(&self.state, &self.before, &self.now);
        report.programs = self.attached.len();
        report.pinned_set = self.estate.as_ref().map(|estate| estate.set);
        report.away = self.estate.as_ref().and_then(|estate| estate.away);
        report.guarded = self.table.len();
        report.proved_seconds_ago = self.proved.elapsed().as_secs();
        report.denials = self.attached.denials().unwrap_or_default();
        report.lost_reports = self.attached.lost().unwrap_or_default();
        report.verified_instructions = self.attached.verified();
        serde_json::to_value(report).unwrap_or_default()
    }
}

/// What a round gave, or why it gave nothing.
type Round = Result<Attack, String>;

/// Sleeps until a question or the next tick, at which denials are read; says which it was.
fn question_waits(listener: BorrowedFd<'_>) -> anyhow::Result<bool> {
    let mut polled = [PollFd::new(listener, PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(TICK)?;
    match poll(&mut polled, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [question] = &polled;
    Ok(question.revents().is_some_and(|events| events.contains(PollFlags::POLLIN)))
}

/// Inode and device of files.
fn identities(paths: &[PathBuf]) -> anyhow::Result<Vec<(u64, u64)>> {
    let each = paths.iter().map(|path| {
        let data = fs::metadata(path).with_context(|| format!("loader {}", path.display()))?;
        ensure!(data.is_file(), "loader {} is no file", path.display());
        Ok((data.ino(), data.dev()))
    });
    each.collect()
}

fn list_loaders(loaded: &Loaded, more: &[PathBuf]) -> anyhow::Result<usize> {
    let map = loaded.map("ct_loaders")?;
    let mut files = BTreeSet::new();
    for path in LOADERS {
        // Not every node has every one of them.
        if let Ok(data) = fs::metadata(path) {
            files.insert((data.ino(), data.dev()));
        }
    }
    files.extend(identities(more)?);
    for (inode, device) in &files {
        map.update(&abi::loader(*inode, *device), &abi::FILE_LOADER.to_ne_bytes(), MapFlags::ANY)?;
    }
    Ok(files.len())
}
