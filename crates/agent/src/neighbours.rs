//! Who else is on this node's hooks: programs of other products on the functions that ours hang on,
//! and programs anywhere that read the memory of processes.
//!
//! On one function the program that was attached last is asked first, and the first no ends the
//! walk. So what stands before ours can hide a question from us, and what stands behind cannot see
//! what we refuse. The kernel numbers links in the order in which they are made, which is the order
//! in which they were attached.

mod calls;
mod owners;
mod tables;

use std::collections::{BTreeMap, BTreeSet};

use libbpf_rs::btf::types::Func;
use libbpf_rs::btf::{Btf, TypeId};
use libbpf_rs::query::{LinkInfoIter, LinkTypeInfo, ProgInfoIter, ProgInfoQueryOptions};
use libbpf_rs::{ProgramAttachType, ProgramType};
use serde::Serialize;
use serde_json::json;

use self::calls::Readers;
use self::owners::{Owner, Owners};
use crate::abi::HOOKS;
use crate::bpf::Tier;
use crate::events;
use crate::loaders::Contents;

/// KERNEL: `BPF_MAX_TRAMP_LINKS`: so many programs hang on one function, and one more is refused.
pub(crate) const CEILING: usize = 38;

/// Near it: the next policy of a neighbour may be the one that is refused, or our next upgrade.
const FEW_LEFT: usize = 4;

/// What else is there.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Neighbours {
    /// Hooks of ours on which there is somebody else.
    pub(crate) hooks: Vec<Hook>,
    /// Programs elsewhere that are run with the memory of whoever meets them.
    pub(crate) tracers: Vec<Tracer>,
}

/// One hook.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Hook {
    /// Its name.
    pub(crate) hook: &'static str,
    /// Programs on the function that ours hangs on, ours included.
    pub(crate) programs: usize,
    /// How many it takes.
    pub(crate) limit: usize,
    /// Those that are asked before ours, first the first: what they refuse, we never see.
    pub(crate) before: Vec<Other>,
    /// Those that are asked after ours: what we refuse, they never see.
    pub(crate) behind: Vec<Other>,
}

/// Somebody else's program on a hook.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Other {
    /// The program's number.
    pub(crate) id: u32,
    /// What it is called, which its owner chose.
    pub(crate) name: String,
    /// Whether it can refuse, or only looks on.
    pub(crate) refuses: bool,
    /// Whose it is, as far as that can be told.
    pub(crate) owner: Owner,
}

/// A program that is run in the midst of processes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Tracer {
    /// The program's number.
    pub(crate) id: u32,
    /// What it is called, which its owner chose.
    pub(crate) name: String,
    /// What it hangs on.
    pub(crate) kind: &'static str,
    /// Whether it calls what reads the memory of processes; `None` where that cannot be told.
    pub(crate) reads_processes: Option<bool>,
    /// Whether it was there before our programs were.
    pub(crate) earlier: bool,
    /// Whether its owner is a listed loader.
    pub(crate) listed: bool,
    /// Whose it is, as far as that can be told.
    pub(crate) owner: Owner,
}

/// A link on a function of the kernel.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Tied {
    link: u32,
    program: u32,
    kind: Kind,
}

/// How a program hangs on a function.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    /// Looks on.
    Looks,
    /// In front of the function.
    InFront,
    /// As a security module.
    Module,
}

/// Looks again and again, and says when something changed.
#[derive(Debug)]
pub(crate) struct Watch {
    tier: Tier,
    ours: BTreeSet<u32>,
    /// The kernel's number of our first program: what has a lower one was there before.
    first: u32,
    /// Names of the functions that our hooks hang on, by their numbers in BTF.
    functions: BTreeMap<u32, (&'static str, Place)>,
    seen: BTreeSet<(u32, u32)>,
    found: Neighbours,
    /// Who is listed.
    listed: Contents,
    /// What reading means on this kernel, once it was asked for.
    readers: Option<Readers>,
}

/// Which of a hook's two functions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// `security_X`.
    Front,
    /// `bpf_lsm_X`.
    Module,
}

impl Watch {
    /// For programs of ours that are attached.
    pub(crate) fn new(tier: Tier, ours: &[u32], listed: Contents) -> Self {
        let functions = Btf::from_vmlinux().map(|btf| functions(&btf)).unwrap_or_default();
        let ours: BTreeSet<u32> = ours.iter().copied().collect();
        let first = ours.first().copied().unwrap_or_default();
        let (seen, found) = (BTreeSet::new(), Neighbours::default());
        Self { tier, ours, first, functions, seen, found, listed, readers: None }
    }

    /// Looks again, which may take a second. Owners are looked for only where a program came or went.
    pub(crate) fn look(&mut self) -> &Neighbours {
        let mut tied: BTreeMap<u32, Vec<Tied>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for link in LinkInfoIter::default() {
            seen.insert((link.id, link.prog_id));
            let LinkTypeInfo::Tracing(info) = link.info else { continue };
            let kind = match info.attach_type {
                ProgramAttachType::LsmMac => Kind::Module,
                ProgramAttachType::ModifyReturn => Kind::InFront,
                _ => Kind::Looks,
            };
            let each = Tied { link: link.id, program: link.prog_id, kind };
            tied.entry(info.target_btf_id).or_default().push(each);
        }
        let programs: Vec<_> = ProgInfoIter::default().collect();
        seen.extend(programs.iter().map(|program| (0, program.id)));
        if seen == self.seen {
            return &self.found;
        }
        let earlier = std::mem::replace(&mut self.seen, seen);
        let names: BTreeMap<u32, String> = programs
            .iter()
            .map(|program| (program.id, program.name.to_string_lossy().into_owned()))
            .collect();
        let others = programs.iter().any(|program| !self.ours.contains(&program.id));
        let owners = if others { Owners::find() } else { Owners::default() };
        let hooks = self.hooks(&tied, &names, &owners);
        let tracers = if others { self.tracers(&owners) } else { Vec::new() };
        let found = Neighbours { hooks, tracers };
        if !earlier.is_empty() || found != Neighbours::default() {
            tell(&self.found, &found);
        }
        self.found = found;
        &self.found
    }

    fn hooks(
        &self,
        tied: &BTreeMap<u32, Vec<Tied>>,
        names: &BTreeMap<u32, String>,
        owners: &Owners,
    ) -> Vec<Hook> {
        let mut hooks = Vec::new();
        for hook in HOOKS {
            let on = |place: Place| {
                let mut functions = self.functions.iter();
                let number = functions.find(|(_, at)| **at == (hook, place)).map(|(id, _)| id);
                number.and_then(|number| tied.get(number)).map_or(&[][..], Vec::as_slice)
            };
            let (front, module) = (on(Place::Front), on(Place::Module));
            let own = if self.tier == Tier::Lsm { module } else { front };
            let is_ours = |tied: &&Tied| self.ours.contains(&tied.program);
            let Some(ours) = own.iter().filter(is_ours).map(|tied| tied.link).max() else {
                continue;
            };
            let other = |tied: &Tied| Other {
                id: tied.program,
                name: names.get(&tied.program).cloned().unwrap_or_default(),
                refuses: tied.kind != Kind::Looks,
                owner: owners.of(tied.program),
            };
            let (before, behind) = order(self.tier, front, module, ours);
            let others = |list: Vec<Tied>| {
                list.iter().filter(|tied| !is_ours(tied)).map(other).collect::<Vec<_>>()
            };
            let (before, behind) = (others(before), others(behind));
            if !before.is_empty() || !behind.is_empty() {
                hooks.push(Hook { hook, programs: own.len(), limit: CEILING, before, behind });
            }
        }
        hooks
    }

    fn tracers(&mut self, owners: &Owners) -> Vec<Tracer> {
        let mut known = BTreeMap::new();
        let readers = self.readers.get_or_insert_with(Readers::of_this_kernel).clone();
        let options = ProgInfoQueryOptions::default().include_xlated_prog_insns(true);
        let programs = ProgInfoIter::with_query_opts(options);
        let others = programs.filter(|program| !self.ours.contains(&program.id));
        let each = others.filter_map(|program| {
            let owner = owners.of(program.id);
            let pid = owner.pid.unwrap_or_default();
            let listed = *known.entry(pid).or_insert_with(|| self.listed.lists(pid));
            Some(Tracer {
                id: program.id,
                name: program.name.to_string_lossy().into_owned(),
                kind: kind(program.ty)?,
                reads_processes: readers.read(&program.xlated_prog_insns),
                earlier: program.id < self.first,
                listed,
                owner,
            })
        });
        each.collect()
    }
}

/// Which links are asked before ours and which after, in the order in which they are asked. A hook
/// of a security module comes after everything in front of its function.
fn order(tier: Tier, front: &[Tied], module: &[Tied], ours: u32) -> (Vec<Tied>, Vec<Tied>) {
    let newest_first = |list: &[Tied]| {
        let mut list: Vec<Tied> =
            list.iter().copied().filter(|tied| tied.kind != Kind::Looks).collect();
        list.sort_unstable_by_key(|tied| std::cmp::Reverse(tied.link));
        list
    };
    let (front, module) = (newest_first(front), newest_first(module));
    let split = |list: &[Tied]| -> (Vec<Tied>, Vec<Tied>) {
        let list = list.iter().copied().filter(|tied| tied.link != ours);
        list.partition(|tied| tied.link > ours)
    };
    if tier == Tier::Lsm {
        let (before, behind) = split(&module);
        ([front, before].concat(), behind)
    } else {
        let (before, behind) = split(&front);
        (before, [behind, module].concat())
    }
}

/// Kinds of programs that run in the midst of processes.
const fn kind(kind: ProgramType) -> Option<&'static str> {
    Some(match kind {
        ProgramType::Kprobe => "probe",
        ProgramType::Lsm => "security module",
        ProgramType::PerfEvent => "perf event",
        ProgramType::RawTracepoint | ProgramType::RawTracepointWritable => "raw tracepoint",
        ProgramType::Tracepoint => "tracepoint",
        ProgramType::Tracing => "trampoline",
        _ => return None,
    })
}

fn functions(btf: &Btf<'_>) -> BTreeMap<u32, (&'static str, Place)> {
    let mut found = BTreeMap::new();
    for hook in HOOKS {
        for (prefix, place) in [("security_", Place::Front), ("bpf_lsm_", Place::Module)] {
            if let Some(function) = btf.type_by_name::<Func<'_>>(&format!("{prefix}{hook}")) {
                found.insert(number(function.type_id()), (hook, place));
            }
        }
    }
    found
}

fn number(id: TypeId) -> u32 {
    u32::from(id)
}

/// One line for what came in front of ours or may read memory, and was not there before.
fn tell(before: &Neighbours, now: &Neighbours) {
    for hook in &now.hooks {
        let known = before.hooks.iter().find(|known| known.hook == hook.hook);
        let list_of: [fn(&Hook) -> &Vec<Other>; 2] = [|hook| &hook.before, |hook| &hook.behind];
        let words = [
            ("others are asked before the agent", "what they refuse has no record here"),
            ("others are asked after the agent", "what the agent refuses, they do not see"),
        ];
        for (list, (event, what)) in list_of.into_iter().zip(words) {
            let was = |other: &Other| {
                known.is_some_and(|known| list(known).iter().any(|had| had.id == other.id))
            };
            let come: Vec<&Other> = list(hook).iter().filter(|other| !was(other)).collect();
            if !come.is_empty() {
                events::write(&json!({
                    "event": event,
                    "hook": hook.hook,
                    "what": what,
                    "programs": hook.programs,
                    "limit": hook.limit,
                    "others": come,
                }));
            }
        }
    }
    let was = |tracer: &Tracer| before.tracers.iter().any(|had| had.id == tracer.id);
    let come: Vec<&Tracer> =
        now.tracers.iter().filter(|tracer| tracer.reads_processes != Some(false)).collect();
    let come: Vec<&&Tracer> = come.iter().filter(|tracer| !was(tracer)).collect();
    if !come.is_empty() {
        events::write(&json!({
            "event": "programs of others read the memory of processes",
            "tracers": come,
        }));
    }
}

impl Neighbours {
    /// What `status` says of it; nothing where the agent is alone.
    pub(crate) fn words(&self) -> Option<String> {
        let mut parts = Vec::new();
        let names = |list: fn(&Hook) -> &Vec<Other>| {
            let hooks = self.hooks.iter().filter(|hook| !list(hook).is_empty());
            hooks.map(|hook| hook.hook).collect::<Vec<_>>().join(", ")
        };
        let (before, behind) = (names(|hook| &hook.before), names(|hook| &hook.behind));
        if !before.is_empty() {
            parts.push(format!(
                "others are asked before the agent at {before}: what they refuse has no record here"
            ));
        }
        if !behind.is_empty() {
            parts.push(format!(
                "others are asked after the agent at {behind}: what it refuses, they do not see"
            ));
        }
        for hook in self.hooks.iter().filter(|hook| hook.programs + FEW_LEFT > hook.limit) {
            let Hook { hook, programs, limit, .. } = hook;
            parts.push(format!("{programs} of {limit} programs hang on {hook}"));
        }
        let readers = self.tracers.iter().filter(|tracer| tracer.reads_processes != Some(false));
        let readers = readers.count();
        if readers > 0 {
            parts.push(format!("{readers} programs of others can read the memory of processes"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// As much as fits into an answer: of long lists the first ones.
    pub(crate) fn shortened(&self) -> Self {
        const TRACERS: usize = 40;
        const ON_A_SIDE: usize = 4;
        let mut own = self.clone();
        own.tracers.truncate(TRACERS);
        for hook in &mut own.hooks {
            hook.before.truncate(ON_A_SIDE);
            hook.behind.truncate(ON_A_SIDE);
        }
        own
    }

    /// Programs that can read what is guarded, and were let in by nobody: there before the agent
    /// was, of an owner that is not listed.
    pub(crate) fn strangers(&self) -> Option<String> {
        let strangers = self.tracers.iter().filter(|tracer| {
            tracer.earlier && tracer.reads_processes != Some(false) && !tracer.listed
        });
        let named: BTreeSet<String> =
            strangers.map(|tracer| format!("{} ({})", tracer.name, tracer.owner)).collect();
        (!named.is_empty()).then(|| {
            let named: Vec<String> = named.into_iter().collect();
            format!(
                "programs that were there before the agent can read the memory of processes: {}",
                named.join(", ")
            )
        })
    }
}

/// For tests of what is shown.
#[cfg(test)]
pub(crate) fn examples() -> Neighbours {
    let other =
        |name: &str| Other { id: 7, name: name.to_owned(), refuses: true, owner: Owner::default() };
    let hook = Hook {
        hook: "file_open",
        programs: 4,
        limit: CEILING,
        before: vec![other("enforce_file")],
        behind: vec![other("generic_lsm_core"), other("generic_lsm_output")],
    };
    Neighbours { hooks: vec![hook], tracers: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn tied(link: u32, kind: Kind) -> Tied {
        Tied { link, program: link, kind }
    }

    fn links(list: &[Tied]) -> Vec<u32> {
        list.iter().map(|tied| tied.link).collect()
    }

    #[test]
    fn the_newest_is_asked_first_and_what_is_in_front_before_every_module() {
        let module = [tied(3, Kind::Module), tied(9, Kind::Module), tied(5, Kind::Module)];
        let front = [tied(1, Kind::InFront), tied(7, Kind::InFront), tied(8, Kind::Looks)];
        let (before, behind) = order(Tier::Lsm, &front, &module, 5);
        assert_eq!((links(&before), links(&behind)), (vec![7, 1, 9], vec![3]));
        let (before, behind) = order(Tier::FmodRet, &front, &module, 1);
        assert_eq!((links(&before), links(&behind)), (vec![7], vec![9, 5, 3]));
    }

    fn tracer(name: &str, earlier: bool, reads_processes: Option<bool>) -> Tracer {
        let owner = Owner::default();
        let name = name.to_owned();
        Tracer { id: 1, name, kind: "probe", reads_processes, earlier, listed: false, owner }
    }

    #[test]
    fn only_what_nobody_let_in_and_may_read_is_a_stranger() {
        let of = |tracers: Vec<Tracer>| Neighbours { hooks: Vec::new(), tracers };
        let harmless =
            of(vec![tracer("late", false, Some(true)), tracer("blind", true, Some(false))]);
        assert_eq!(harmless.strangers(), None);
        let found = of(vec![tracer("old", true, Some(true)), tracer("unknown", true, None)]);
        let words = found.strangers().unwrap();
        assert!(words.contains("old (nobody who runs)"), "{words}");
        assert!(words.contains("unknown"), "{words}");
        let let_in = Tracer { listed: true, ..tracer("old", true, Some(true)) };
        assert_eq!(of(vec![let_in]).strangers(), None);
    }

    #[test]
    fn an_agent_alone_has_nothing_to_say() {
        assert_eq!(Neighbours::default().words(), None);
        let other = Other { id: 7, name: "x".to_owned(), refuses: true, owner: Owner::default() };
        let hook = |programs, before, behind| Hook {
            hook: "file_open",
            programs,
            limit: CEILING,
            before,
            behind,
        };
        let full = hook(36, vec![other.clone()], Vec::new());
        let words = Neighbours { hooks: vec![full], tracers: Vec::new() }.words().unwrap();
        assert!(words.contains("before the agent at file_open"), "{words}");
        assert!(words.contains("36 of 38"), "{words}");
        let words = Neighbours { hooks: vec![hook(2, Vec::new(), vec![other])], tracers: vec![] };
        let words = words.words().unwrap();
        assert!(words.contains("after the agent") && !words.contains(" of 38"), "{words}");
    }
}
