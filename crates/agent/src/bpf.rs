//! Loads the programs of one tier and attaches them. That they are attached proves nothing.
//!
//! Order matters: the agent is marked before anything is attached, or its own calls would be
//! denied; its objects are listed before the hooks that guard them run.

mod attached;

use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use libbpf_rs::btf::{Btf, types};
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::{
    ErrorKind, MapCore as _, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, PrintLevel,
    Program,
};
use serde_json::json;

use crate::abi::{self, Kind};
use crate::events;
use crate::host::signals;
use crate::pins::Pins;

pub(crate) use attached::{Attached, Counters};

/// libbpf reads the object in place and wants it aligned.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static ALIGNED: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/agent.bpf.o")));

/// The compiled programs.
pub(crate) static OBJECT: &[u8] = &ALIGNED.0;

static ALIGNED_PROBES: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/probe.bpf.o")));

/// The same for a kernel without trampolines.
static PROBES: &[u8] = &ALIGNED_PROBES.0;

/// How the kernel asks for a verdict.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
pub(crate) enum Tier {
    /// As a security module.
    #[serde(rename = "lsm")]
    Lsm,
    /// In front of the kernel's own `security_*` functions.
    #[serde(rename = "fmod_ret")]
    FmodRet,
    /// At the entry of the same functions, with a signal that ends whoever asked: it comes when the
    /// kernel has done what it was asked for, or is about to.
    #[serde(rename = "kprobe")]
    Kprobe,
}

impl Tier {
    /// The word for people and for `--tier`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::FmodRet => "fmod_ret",
            Self::Kprobe => "kprobe",
        }
    }

    /// Whether it refuses. The other kind ends whoever asked.
    pub(crate) const fn refuses(self) -> bool {
        !matches!(self, Self::Kprobe)
    }

    fn object(self) -> &'static [u8] {
        if self.refuses() { OBJECT } else { PROBES }
    }

    /// How names of this tier's programs begin.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Lsm => "lsm_",
            Self::FmodRet => "fmod_",
            Self::Kprobe => "probe_",
        }
    }

    /// The kernel function that a hook of this tier is tied to.
    fn function(self, hook: &str) -> String {
        match self {
            Self::Lsm => format!("bpf_lsm_{hook}"),
            Self::FmodRet | Self::Kprobe => format!("security_{hook}"),
        }
    }
}

/// Hooks whose programs follow pointers with `bpf_probe_read_kernel`, which lockdown forbids.
const PROBING: &[&str] = &[
    CONTENT,
    "file_open",
    "file_permission",
    "mmap_file",
    "sb_umount",
    "socket_connect",
    "socket_sendmsg",
    "task_kill",
];

/// The name of three programs that every set has, as far as the kernel keeps names.
const LIFE: &str = "ct_sched_proces";

/// The kernel needs milliseconds, and a busy real-time one some seconds. Another agent's trial may be
/// there for as long as it likes.
const LETTING_GO: Duration = Duration::from_secs(30);

/// The hook that recognises programs by their content; it refuses nothing.
const CONTENT: &str = "bprm_check_security";

/// How names of maps begin that sets share.
const OURS: &str = "ct_";

/// Programs in the kernel, not yet attached.
#[derive(Debug)]
pub(crate) struct Loaded {
    object: Object,
    tier: Tier,
    missing: Vec<String>,
}

/// One object of each kind, for an attacker to ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    /// A map.
    pub(crate) map: u32,
    /// A program.
    pub(crate) program: u32,
    /// A link; 0 while nothing is attached.
    pub(crate) link: u32,
}

/// Which programs are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    /// Hooks whose roads are left open on purpose.
    pub(crate) left_open: &'a [String],
    /// Whether connections of guarded processes are judged.
    pub(crate) egress: bool,
    /// What describes the kernel's types where it does not do so itself.
    pub(crate) types: Option<&'a Path>,
}

/// Loads one tier's programs: all but those that are left out on purpose, or under lockdown those
/// that it lets in. `shared` are maps of an earlier set, which are used on.
///
/// # Errors
/// What the kernel refused, with the last lines that libbpf had to say.
pub(crate) fn load(
    tier: Tier,
    choice: Choice<'_>,
    shared: Option<&Pins>,
) -> anyhow::Result<Loaded> {
    libbpf_rs::set_print(Some((PrintLevel::Info, remember)));
    let left_out: Vec<&str> = choice.left_open.iter().map(String::as_str).collect();
    let unwanted = if choice.egress { &[][..] } else { &abi::EGRESS_HOOKS[..] };
    let absent = [&left_out, unwanted].concat();
    let mut loaded = match try_load(tier, &absent, choice.types, shared) {
        Ok(loaded) => loaded,
        // Only worth another try where the newest helper or probe reads are what was refused.
        Err(problem) => {
            let mut tries = [&[CONTENT][..], PROBING].into_iter().filter_map(|less| {
                let without = [&absent, less].concat();
                try_load(tier, &without, choice.types, shared).ok().map(|partial| (partial, less))
            });
            let Some((mut partial, less)) = tries.next() else { return Err(problem) };
            let told = format!("{problem:#}");
            events::write(&json!({"event": "hooks were refused", "why": told}));
            let why = crate::host::lockdown().map_or_else(
                || "refused by the kernel".to_owned(),
                |mode| format!("lockdown={mode}"),
            );
            let refused = less.iter().filter(|hook| !unwanted.contains(hook));
            partial.missing.extend(refused.map(|hook| format!("{hook} ({why})")));
            partial
        }
    };
    loaded.missing.extend(left_out.iter().map(|hook| format!("{hook} (--leave-open)")));
    Ok(loaded)
}

fn try_load(
    tier: Tier,
    without: &[&str],
    types: Option<&Path>,
    shared: Option<&Pins>,
) -> anyhow::Result<Loaded> {
    let kernel = match tier {
        Tier::Kprobe => None, // what is not there is found out by attaching
        _ => Some(Btf::from_vmlinux().context("the kernel's BTF cannot be read")?),
    };
    let has = |function: &str| {
        kernel.as_ref().is_none_or(|k| k.type_by_name::<types::Func<'_>>(function).is_some())
    };
    let mut missing = Vec::new();
    let mut builder = ObjectBuilder::default();
    if let Some(types) = types.filter(|_| !tier.refuses()) {
        builder.btf_custom_path(types)?;
    }
    let mut object =
        builder.open_memory(tier.object()).map_err(|error| anyhow!("{error:#}{}", said()))?;
    for mut program in object.progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        let hook = ["lsm_", "fmod_", "probe_"].iter().find_map(|tier| name.strip_prefix(tier));
        let Some(hook) = hook else {
            // The same in every tier: the life of tasks, and the signals that end one.
            if name.ends_with(abi::TRACEPOINT) && !signals::are_deferred() {
                missing
                    .push(format!("{} (a real-time kernel with CVE-2025-21728)", abi::TRACEPOINT));
                program.set_autoload(false);
            }
            continue;
        };
        let ours = name.starts_with(tier.prefix());
        // KERNEL: before 5.18 no program is told a file's hash, and nothing is known by its content.
        let hashes = hook != CONTENT || has("bpf_ima_file_hash");
        let there = has(&tier.function(hook)) && hashes;
        if ours && !there && hook != CONTENT && !without.contains(&hook) {
            missing.push(format!("{hook} (not in this kernel)"));
        }
        program.set_autoload(ours && there && !without.contains(&hook));
    }
    if let Some(pins) = shared {
        share(&mut object, pins)?;
    }
    let object = object.load().map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => {
            anyhow!("the kernel lets nobody here load BPF programs{}", said())
        }
        _ => anyhow!("{error:#}{}", said()),
    })?;
    Ok(Loaded { object, tier, missing })
}

/// Has an object use the maps that are pinned.
fn share(object: &mut OpenObject, pins: &Pins) -> anyhow::Result<()> {
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        // Constants belong to the programs that read them.
        if !name.starts_with(OURS) {
            continue;
        }
        let pinned = pins.map(&name)?;
        let info = pinned.info()?.info;
        let sizes = (info.key_size, info.value_size, info.max_entries);
        let wanted = (map.key_size(), map.value_size(), map.max_entries());
        // Per processor; libbpf fills that in when it makes the map.
        ensure!(sizes == wanted, "the pinned map {name} has another form: it takes a reboot");
        map.reuse_fd(pinned.as_fd())?;
    }
    Ok(())
}

impl Loaded {
    /// Opens a second handle to a map.
    pub(crate) fn map(&self, name: &str) -> anyhow::Result<MapHandle> {
        handle(&self.object, name)
    }

    /// Ids for the canary's attacker, before anything is attached.
    pub(crate) fn own(&self) -> anyhow::Result<Own> {
        own(&self.object, 0)
    }

    /// Attaches all programs; those that the kernel does not take are named.
    pub(crate) fn attach(self) -> anyhow::Result<Attached> {
        let objects = self.map("ct_objects")?;
        let list =
            |kind, id| objects.update(&abi::object(kind, id), &1_u32.to_ne_bytes(), MapFlags::ANY);
        for map in self.object.maps() {
            list(Kind::Map, map.info()?.info.id)?;
        }
        let mut attached = Attached {
            object: self.object,
            links: Vec::new(),
            programs: Vec::new(),
            missing: self.missing,
        };
        for program in attached.object.progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            if !program.autoload() {
                continue;
            }
            let id = Program::id_from_fd(program.as_fd())?;
            list(Kind::Program, id)?;
            match program.attach() {
                Ok(link) => {
                    // KERNEL: before 5.15 a kprobe has no link of the kernel's.
                    if let Ok(info) = link.info() {
                        list(Kind::Link, info.id)?;
                    }
                    attached.links.push((name, link));
                    attached.programs.push(id);
                }
                Err(error) => {
                    let hook = name.trim_start_matches(self.tier.prefix());
                    attached.missing.push(format!("{hook} ({error})"));
                }
            }
        }
        Ok(attached)
    }
}

/// Waits, for a while, until the kernel has let go of programs that nothing holds any more: those of
/// a set that was unloaded a moment ago would judge the attack that is to show what a node is like
/// without an agent.
pub(crate) fn wait_for_earlier() {
    let until = Instant::now() + LETTING_GO;
    let there = || ProgInfoIter::default().any(|info| info.name == LIFE);
    while there() && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
}

fn own(object: &Object, link: u32) -> anyhow::Result<Own> {
    let map = object.maps().next().context("there are no maps")?.info()?.info.id;
    let program = object.progs().find(|program| program.autoload()).context("no programs")?;
    Ok(Own { map, program: Program::id_from_fd(program.as_fd())?, link })
}

fn handle(object: &Object, name: &str) -> anyhow::Result<MapHandle> {
    let map = object.maps().find(|map| map.name() == OsStr::new(name));
    Ok(MapHandle::try_from(&map.with_context(|| format!("there is no map {name}"))?)?)
}

/// What libbpf said; shown only when something fails.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A verifier's log has its point at the end.
const LINES: usize = 30;

fn remember(_level: PrintLevel, text: String) {
    let Ok(mut said) = SAID.lock() else { return };
    said.extend(text.lines().map(str::to_owned));
    let surplus = said.len().saturating_sub(LINES);
    said.drain(..surplus);
}

fn said() -> String {
    let lines = SAID.lock().map(|mut said| std::mem::take(&mut *said)).unwrap_or_default();
    if lines.is_empty() { String::new() } else { format!("\n{}", lines.join("\n")) }
}

#[cfg(test)]
mod tests;
