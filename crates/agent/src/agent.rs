//! One tier at work: loaded, attached, attacked, and judged.
//!
//! Reading order: [`Agent::attach`] (the first on a node), [`Agent::take_over`] (from an earlier
//! one), [`Agent::judge`]. What it does from then on is in [`crate::serve`].

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::attest::Signer;
use crate::audit::{Counts, Sinks};
use crate::bpf::{self, Attached, Choice, Tier};
use crate::canary::{self, Attackers, Way};
use crate::devices::Devices;
use crate::earlier;
use crate::host::{self, Preemption};
use crate::late::Late;
use crate::loaders::{self, Contents, Listed, replaced};
use crate::metrics::{Kept, Metrics, Proved};
use crate::neighbours::{Neighbours, Watch};
use crate::net;
use crate::orders::Orders;
use crate::pins::{Decoy, Pins};
use crate::responder;
use crate::road::{self, Attack};
use crate::run::RunArgs;
use crate::socket::Listener;
use crate::state::{self, Doubts, State};
use crate::succession::{self, Earlier, Estate};
use crate::table::Table;
use crate::terms;

/// One tier at work.
pub(crate) struct Agent {
    pub(crate) attached: Attached,
    pub(crate) table: Arc<Table>,
    pub(crate) attackers: Arc<Attackers>,
    pub(crate) tier: Tier,
    /// Program files that may load BPF.
    pub(crate) loaders: usize,
    /// Those that are known by their content.
    pub(crate) contents: Contents,
    /// Files that are loaders besides those of every node.
    pub(crate) named: Vec<PathBuf>,
    /// Loaders of the node that are not listed any more.
    pub(crate) unlisted: Vec<&'static str>,
    /// Who looks for others on the hooks, until the canary's thread has it.
    pub(crate) watch: Option<Watch>,
    /// Who else is there.
    pub(crate) neighbours: Neighbours,
    pub(crate) before: Attack,
    pub(crate) now: Attack,
    pub(crate) proved: Instant,
    pub(crate) state: State,
    /// What is pinned, or nothing.
    pub(crate) estate: Option<Estate>,
    pub(crate) decoy: Option<Arc<Decoy>>,
    /// What it could not keep up, which ends nothing: a node without an agent is worse off.
    pub(crate) trouble: Option<String>,
    /// Block devices that are kept.
    pub(crate) devices: Devices,
    /// Who ran before the agent did.
    pub(crate) late: Late,
    /// Programs that hold from before what works on beside the agent.
    pub(crate) holders: usize,
    /// What an operator ordered.
    pub(crate) orders: Orders,
    /// Whether guarded processes may connect to listed networks only.
    pub(crate) egress: bool,
    /// Doubts that stay.
    pub(crate) lasting: Vec<String>,
    pub(crate) counts: Arc<Counts>,
    /// What it signs statements with, where it has a key.
    pub(crate) signer: Option<Signer>,
    /// The same as above, for who reads metrics.
    pub(crate) shown: Option<Arc<Mutex<Proved>>>,
    pub(crate) events: libbpf_rs::MapHandle,
}

impl Agent {
    /// Loads, attacks, attaches, attacks again.
    pub(crate) fn attach(
        tier: Tier,
        args: &RunArgs,
        pins: Result<&Pins, &String>,
    ) -> anyhow::Result<Self> {
        let egress = !args.allow_egress.is_empty();
        let choice = Choice { left_open: &args.leave_open, egress, types: args.btf.as_deref() };
        let loaded = bpf::load(tier, choice, None)?;
        terms::first(&loaded, args)?;
        let table = Table::of(&loaded)?;
        let wanted = args.loaders();
        let Listed { files: loaders, devices: files } = wanted.list(&loaded)?;
        let contents = Contents::of(&loaded)?;
        let images = loaded.map("ct_images")?;
        loaders::running::enter(&images, &wanted);
        // SECURITY: from the first program on, nobody but a marked process may touch the maps.
        table.mark_agent()?;
        let mut lasting: Vec<String> = Vec::new();
        if tier.refuses() {
            lasting.extend(succession::name_heir(&loaded)?.map(str::to_owned));
            lasting.extend(pins.err().map(|why| format!("it ends with the agent, {why}")));
        } else {
            lasting.push(road::KILLS.to_owned());
            lasting.push("it ends with the agent, since pins could be taken away".to_owned());
        }
        let pins = pins.ok().filter(|_| !args.is_trial() && tier.refuses());
        let devices = Devices::open(loaded.map("ct_devices")?, args.block_devices, &files)?;
        let (listed, lost) = (loaded.map("ct_pins")?, loaded.map("ct_lost")?);
        let decoy = pins.map(|pins| Arc::new(Decoy::new(pins, listed, lost)));
        let attackers = Attackers::default();
        let way = Way::of(tier);
        let before = canary::round(&table, &attackers, loaded.own()?, decoy.as_deref(), way)
            .context("the attack before the start")?;
        let events = loaded.map("ct_events")?;
        let orders = Orders::open(loaded.map("ct_authority")?, loaded.map("ct_grants")?)?;
        let attached = loaded.attach()?;
        // Those that started in between, and were not seen as they did.
        loaders::running::enter(&images, &wanted);
        if let (Some(pins), Some(decoy)) = (pins, &decoy) {
            decoy.renew()?;
            pins.show_mount()?;
        }
        let own = attached.own()?;
        let now = canary::round(&table, &attackers, own, decoy.as_deref(), way)
            .context("the first attack")?;
        let mut watch = Watch::new(tier, attached.programs(), contents.again()?);
        let neighbours = watch.look().clone();
        let unproved = contents.prove(wanted.contents())?;
        lasting.extend(unproved.map(|why| format!("loaders of images are not let in: {why}")));
        let mut agent = Self {
            attached,
            table: Arc::new(table),
            attackers: Arc::new(attackers),
            tier,
            loaders,
            named: args.loaders().files().to_vec(),
            unlisted: replaced::unlisted(&contents),
            contents,
            watch: Some(watch),
            neighbours,
            before,
            now,
            proved: Instant::now(),
            state: State::Off(Vec::new()),
            estate: None,
            decoy,
            trouble: None,
            devices,
            orders,
            late: Late::default(),
            holders: 0,
            egress,
            lasting,
            counts: Arc::default(),
            signer: None,
            shown: None,
            events,
        };
        agent.judge(None);
        match pins {
            Some(pins) if !matches!(agent.state, State::Off(_)) => {
                let terms = (tier, &args.leave_open[..], &agent.before);
                agent.estate = Some(Estate::found(pins, &mut agent.attached, &agent.table, terms)?);
            }
            _ => drop(agent.decoy.as_deref().map(Decoy::remove)),
        }
        if !matches!(agent.state, State::Off(_)) {
            agent.holders = earlier::tell(&agent.attached.map("ct_loaders")?, &agent.contents);
        }
        Ok(agent)
    }

    /// Attaches beside what an earlier agent left in force, which goes when this is pinned; listens in
    /// its place from then on.
    pub(crate) fn take_over(
        earlier: &Earlier,
        args: &RunArgs,
        socket: &Path,
    ) -> anyhow::Result<(Self, Listener)> {
        ensure!(!args.is_trial(), "an earlier agent's pins are in force: ask for its `status`");
        let tier = earlier.tier();
        earlier.accept(args)?;
        let table = earlier.table()?;
        ensure!(args.replace || !earlier.is_served(&table), "an agent runs (--replace)");
        table.mark_agent()?;
        let (attackers, away) = (Attackers::default(), earlier.away(&table));
        let decoy = earlier.decoy()?;
        let found = canary::round(&table, &attackers, earlier.own()?, Some(&decoy), Way::of(tier))
            .context("the attack on what was pinned")?;
        earlier.tell(&found, away);
        let egress = earlier.authority.egress;
        let choice = Choice { left_open: &args.leave_open, egress, types: None };
        let loaded = bpf::load(tier, choice, Some(&earlier.pins))?;
        let contents = Contents::of(&loaded)?;
        let listed = contents.have(args.loaders().contents())?;
        ensure!(
            listed,
            "weaker than what is pinned: --allow-loader of a content that is not listed"
        );
        let devices = Devices::open(loaded.map("ct_devices")?, args.block_devices, &[])?;
        let events = loaded.map("ct_events")?;
        let orders = Orders::open(loaded.map("ct_authority")?, loaded.map("ct_grants")?)?;
        let mut attached = loaded.attach()?;
        let mut watch = Watch::new(tier, attached.programs(), contents.again()?);
        let (left_open, place) = (&args.leave_open, (away, socket));
        let (estate, listener) = earlier.hand_over(&mut attached, &table, left_open, place)?;
        let neighbours = watch.look().clone();
        let now = canary::round(&table, &attackers, attached.own()?, Some(&decoy), Way::of(tier))
            .context("the first attack")?;
        let mut agent = Self {
            attached,
            table: Arc::new(table),
            attackers: Arc::new(attackers),
            tier,
            loaders: earlier.loaders()?,
            named: args.loaders().files().to_vec(),
            unlisted: replaced::unlisted(&contents),
            contents,
            watch: Some(watch),
            neighbours,
            before: earlier.before.clone(),
            now,
            proved: Instant::now(),
            state: State::Off(Vec::new()),
            estate: Some(estate),
            decoy: Some(Arc::new(decoy)),
            trouble: None,
            devices,
            orders,
            late: Late::default(),
            holders: 0,
            egress: earlier.authority.egress,
            lasting: Vec::new(),
            counts: Arc::default(),
            signer: None,
            shown: None,
            events,
        };
        agent.judge(None);
        Ok((agent, listener))
    }

    /// Starts what reports: records of denials, and metrics where they are wanted.
    pub(crate) fn tell(
        &mut self,
        sinks: Sinks,
        listener: Option<net::Listener>,
    ) -> anyhow::Result<()> {
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

    pub(crate) fn proved(&self) -> Proved {
        Proved {
            state: self.state.clone(),
            attack: self.now.clone(),
            at: self.proved,
            programs: self.attached.len(),
            skipped: self.attached.skipped(),
            neighbours: self.neighbours.clone(),
            unlisted: self.unlisted.len(),
            verified: self.attached.verified(),
        }
    }

    pub(crate) fn judge(&mut self, failed_round: Option<String>) {
        let mut doubts = Doubts::default();
        for missing in &self.attached.missing {
            doubts.add(format!("no hook {missing}"));
        }
        for lasting in &self.lasting {
            doubts.add(lasting.clone());
        }
        if let Some(trouble) = &self.trouble {
            doubts.add(format!("it cannot keep up {trouble}"));
        }
        if self.devices.are_left_open() {
            doubts.add("block devices are left open (--block-devices)");
        }
        if let Some(strangers) = self.neighbours.strangers() {
            doubts.add(strangers);
        }
        for open in self.orders.doubts() {
            doubts.add(open);
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
        let (late, standing) = road::after_kills(&self.now);
        if !late.is_empty() {
            doubts.add(format!("a kill comes too late for: {}", late.join(", ")));
        }
        if !standing.is_empty() {
            doubts.add(format!(
                "and for who shares descriptors with others: {}",
                standing.join(", ")
            ));
        }
        if self.tier != Tier::Lsm && self.loaders > 0 {
            // bpf_bprm_opts_set is for security modules only.
            doubts.add("root can put code into a listed loader (LD_PRELOAD)");
        }
        if self.tier == Tier::FmodRet {
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
}
