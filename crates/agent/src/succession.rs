//! What an agent leaves to the next one, and on which terms the next may have it.
//!
//! The next agent is known to the programs by its file (`CT_FILE_AGENT`, see `lifecycle.bpf.c`);
//! root may still start that file with any arguments. So whatever would weaken what is pinned is
//! refused here, and only attached after the new set is pinned does the old one go.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cloudtaser_sys::roads;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde_json::json;

use crate::abi::{self, Authority, Control, HOOKS, Stamp};
use crate::bpf::{Attached, Loaded, Own, Tier};
use crate::events;
use crate::pins::{Decoy, Pins};
use crate::road::{Attack, Outcome};
use crate::run::RunArgs;
use crate::socket::Listener;
use crate::table::Table;
use crate::terms;

/// The one entry of a map that has one.
const ONLY: [u8; 4] = [0; 4];
/// Size of `ct_proof`.
const PROOF: usize = 8192;
/// A killed process is gone at once; on a busy machine a little later.
const PATIENCE: u16 = 30_000;

/// What is pinned, opened by whoever may take over.
#[derive(Debug)]
pub(crate) struct Earlier {
    pub(crate) pins: Pins,
    pub(crate) control: Control,
    /// The attack before anything was attached.
    pub(crate) before: Attack,
    /// Whose orders are taken, and what else an heir may not change.
    pub(crate) authority: Authority,
    stamp: Stamp,
}

/// How long nobody was there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
pub(crate) struct Away {
    /// Seconds since boot, when the last agent was last seen.
    pub(crate) since_boot_s: u64,
    /// For how long.
    pub(crate) for_s: u64,
}

/// What the running agent keeps writing, and what holds the pins.
#[derive(Debug)]
pub(crate) struct Estate {
    stamp: MapHandle,
    /// Where it is.
    pub(crate) pins: Pins,
    /// The set that is pinned.
    pub(crate) set: u32,
    /// Set where this agent took over from one that had ended.
    pub(crate) away: Option<Away>,
}

impl Earlier {
    /// Opens what an earlier agent left; `None` where it left nothing in force.
    pub(crate) fn open(pins: &Pins) -> anyhow::Result<Option<Self>> {
        if !pins.has_sets() {
            return Ok(None);
        }
        let control = pins.map("ct_control").context(
            "the pins of an earlier agent are in force, and this process may not take over: it \
             does not run that agent's own file, or is traced, or has a seccomp filter",
        )?;
        let bytes = control.lookup(&ONLY, MapFlags::ANY)?.unwrap_or_default();
        let control = Control::parse(&bytes);
        let theirs = control.map_or(0, |control| control.abi);
        let Some(control) = control.filter(|control| control.abi == abi::VERSION) else {
            bail!(
                "the pinned maps are of version {theirs} and this agent's of {}: it takes a reboot",
                abi::VERSION
            );
        };
        ensure!(control.device == pins.device, "these pins are not on the host's bpffs");
        let stamp = pins.map("ct_stamp")?.lookup(&ONLY, MapFlags::ANY)?.unwrap_or_default();
        let proof = pins.map("ct_proof")?.lookup(&ONLY, MapFlags::ANY)?.unwrap_or_default();
        let text = proof.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(Some(Self {
            pins: pins.clone(),
            control,
            before: serde_json::from_slice(text).context("the pinned proof cannot be read")?,
            authority: terms::read(&pins.map("ct_authority")?)?,
            stamp: Stamp::parse(&stamp).unwrap_or_default(),
        }))
    }

    /// The tier of what is pinned.
    pub(crate) fn tier(&self) -> Tier {
        if self.control.tier == 1 { Tier::Lsm } else { Tier::FmodRet }
    }

    /// Refuses whatever is weaker than what is pinned.
    pub(crate) fn accept(&self, args: &RunArgs) -> anyhow::Result<()> {
        let (pinned, left_open) = (self.tier(), &args.leave_open);
        let same = args.tier().is_none_or(|tier| tier == pinned);
        ensure!(same, "weaker than what is pinned: --tier, which is {}", pinned.as_str());
        let more: Vec<&str> = HOOKS
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| self.control.left_open & 1 << bit == 0)
            .map(|(_, hook)| hook)
            .filter(|hook| left_open.iter().any(|left| left == hook))
            .collect();
        ensure!(more.is_empty(), "weaker than what is pinned: --leave-open {}", more.join(", "));
        let listed = self.pins.map("ct_loaders")?;
        for (inode, device) in args.loaders().identities()? {
            let marks = listed.lookup(&abi::loader(inode, device), MapFlags::ANY)?;
            ensure!(
                word(marks) & abi::FILE_LOADER != 0,
                "weaker than what is pinned: --allow-loader of inode {inode}, which is not listed"
            );
        }
        let wanted = args.loaders();
        for (path, device) in wanted.homes()? {
            let key = abi::device(device).to_ne_bytes();
            let listed = self.pins.map("ct_homes")?.lookup(&key, MapFlags::ANY)?.is_some();
            let shown = path.display();
            ensure!(
                listed,
                "weaker than what is pinned: --loader-home {shown}, which is not listed"
            );
        }
        terms::accept(&self.authority, &self.pins.map("ct_egress")?, args)
    }

    /// The table of who is guarded, as it stands.
    pub(crate) fn table(&self) -> anyhow::Result<Table> {
        Table::resume(
            self.pins.map("ct_tasks")?,
            self.pins.map("ct_groups")?,
            self.stamp.next_group,
        )
    }

    /// The decoy of what is pinned.
    pub(crate) fn decoy(&self) -> anyhow::Result<Decoy> {
        Ok(Decoy::new(&self.pins, self.pins.map("ct_pins")?, self.pins.map("ct_lost")?))
    }

    /// One object of each kind, of what is pinned.
    pub(crate) fn own(&self) -> anyhow::Result<Own> {
        let links = self.pins.links(self.control.set)?;
        let first = links.first().context("nothing is pinned")?;
        let link = self.pins.link(self.control.set, first)?.info()?;
        let map = self.pins.map("ct_tasks")?.info()?.info.id;
        Ok(Own { map, program: link.prog_id, link: link.id })
    }

    /// How many loaders are listed.
    pub(crate) fn loaders(&self) -> anyhow::Result<usize> {
        let listed = self.pins.map("ct_loaders")?;
        let mut count = 0;
        for key in listed.keys() {
            count += usize::from(word(listed.lookup(&key, MapFlags::ANY)?) & abi::FILE_LOADER != 0);
        }
        Ok(count)
    }

    /// Whether the agent that loaded this still runs.
    pub(crate) fn is_served(&self, table: &Table) -> bool {
        self.agent().is_some_and(|agent| table.is_agent(agent))
    }

    fn agent(&self) -> Option<Pid> {
        let pid = i32::try_from(self.control.agent).ok().filter(|pid| *pid > 0)?;
        Some(Pid::from_raw(pid)).filter(|pid| *pid != Pid::this())
    }

    /// Says what an attack on the pinned set gave, before anything was changed.
    pub(crate) fn tell(&self, found: &Attack, away: Option<Away>) {
        let open: Vec<&str> = self.opened(found);
        events::write(&json!({
            "event": "an earlier agent's pins were found",
            "set": self.control.set,
            "away": away,
            "held": open.is_empty(),
            "open": open,
        }));
    }

    fn opened<'a>(&self, found: &'a Attack) -> Vec<&'a str> {
        let roads = found.roads.iter().filter(|tried| tried.outcome == Outcome::Open);
        roads.map(|tried| tried.road.as_str()).collect()
    }

    /// When the last agent was seen; `None` where it still runs.
    pub(crate) fn away(&self, table: &Table) -> Option<Away> {
        let second = 1_000_000_000;
        let gone = now_ns().saturating_sub(self.stamp.seen_ns);
        (!self.is_served(table))
            .then(|| Away { since_boot_s: self.stamp.seen_ns / second, for_s: gone / second })
    }

    /// Pins the new set, listens, ends the old agent, drops the old set: in this order.
    pub(crate) fn hand_over(
        &self,
        attached: &mut Attached,
        table: &Table,
        left_open: &[String],
        (away, socket): (Option<Away>, &Path),
    ) -> anyhow::Result<(Estate, Listener)> {
        let old = self.pins.links(self.control.set)?;
        let missing: Vec<String> = old.difference(&attached.names()).cloned().collect();
        ensure!(missing.is_empty(), "the new set lacks {}; the old one stays", missing.join(", "));
        let set = self.control.set.wrapping_add(1);
        let listed = self.pins.map("ct_pins")?;
        self.pins.pin_links(set, attached.links_mut(), &listed)?;
        let control =
            Control { set, agent: std::process::id(), left_open: bits(left_open), ..self.control };
        // A pod that starts meanwhile waits for this agent, and is not told that there is none.
        let listener = Listener::open(socket)?;
        if let Some(agent) = self.agent().filter(|agent| table.is_agent(*agent)) {
            end(agent)?;
        }
        self.pins.map("ct_control")?.update(&ONLY, &control.bytes(), MapFlags::ANY)?;
        self.pins.keep_only(set)?;
        attached.unlist_others()?;
        let estate =
            Estate { stamp: self.pins.map("ct_stamp")?, pins: self.pins.clone(), set, away };
        estate.stamp(table)?;
        Ok((estate, listener))
    }
}

impl Estate {
    /// Pins a first set with its maps, and writes down what it is.
    pub(crate) fn found(
        pins: &Pins,
        attached: &mut Attached,
        table: &Table,
        (tier, left_open, before): (Tier, &[String], &Attack),
    ) -> anyhow::Result<Self> {
        const FIRST: u32 = 1;
        let map = |name: &str| attached.map(name);
        let control = Control {
            abi: abi::VERSION,
            set: FIRST,
            agent: std::process::id(),
            tier: if tier == Tier::Lsm { 1 } else { 2 },
            left_open: bits(left_open),
            device: pins.device,
        };
        map("ct_control")?.update(&ONLY, &control.bytes(), MapFlags::ANY)?;
        let mut proof = serde_json::to_vec(before)?;
        ensure!(proof.len() < PROOF, "the proof has {} bytes", proof.len());
        proof.resize(PROOF, 0);
        map("ct_proof")?.update(&ONLY, &proof, MapFlags::ANY)?;
        let (stamp, listed) = (map("ct_stamp")?, map("ct_pins")?);
        let estate = Self { stamp, pins: pins.clone(), set: FIRST, away: None };
        estate.stamp(table)?;
        pins.pin_maps(attached.maps()?)?;
        pins.pin_links(FIRST, attached.links_mut(), &listed)?;
        pins.keep_only(FIRST)?;
        Ok(estate)
    }

    /// Writes that an agent is here.
    pub(crate) fn stamp(&self, table: &Table) -> anyhow::Result<()> {
        let stamp = Stamp { seen_ns: now_ns(), next_group: table.next_group() };
        Ok(self.stamp.update(&ONLY, &stamp.bytes(), MapFlags::ANY)?)
    }
}

/// Enters this very program as the one that may take over, or says why it may not.
///
/// # Errors
/// Where the map does not take it.
pub(crate) fn name_heir(loaded: &Loaded) -> anyhow::Result<Option<&'static str>> {
    // SECURITY: a library is another file, which nobody guards.
    if fs::read_to_string("/proc/self/maps")?.contains(".so") {
        return Ok(Some("this agent is linked dynamically, so that none may take over"));
    }
    let data = fs::metadata("/proc/self/exe")?;
    let key = abi::loader(data.ino(), data.dev());
    loaded.map("ct_loaders")?.update(&key, &abi::FILE_AGENT.to_ne_bytes(), MapFlags::ANY)?;
    Ok(None)
}

fn bits(left_open: &[String]) -> u32 {
    let named = |hook: &&str| left_open.iter().any(|left| left == hook);
    HOOKS.iter().enumerate().filter(|(_, hook)| named(hook)).map(|(bit, _)| 1 << bit).sum()
}

fn word(value: Option<Vec<u8>>) -> u32 {
    value.as_deref().and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// Ends the agent before us. Only an heir may: it is of the agent's own group.
fn end(agent: Pid) -> anyhow::Result<()> {
    let Ok(process) = roads::open_process(agent) else { return Ok(()) };
    match kill(agent, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => return Err(error).context("the agent before cannot be ended"),
    }
    let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let ended = poll(&mut polled, PollTimeout::from(PATIENCE))?;
    ensure!(ended > 0, "the agent before does not end");
    Ok(())
}
