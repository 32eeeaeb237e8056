//! What crosses between the programs in the kernel and the agent: `bpf/lib/abi.h`, in Rust.
//!
//! Values are written and read byte by byte, in the machine's own order; a test compares every
//! offset and size with the BTF of the compiled object, so that C stays the definition.

mod grants;
mod terms;

pub(crate) use grants::{Grant, GrantKey, GrantKind};
pub(crate) use terms::{Authority, Ports, Room, net};

/// Hooks in the order of `enum ct_hook`.
pub(crate) const HOOKS: [&str; 25] = [
    "ptrace_access_check",
    "ptrace_traceme",
    "file_open",
    "file_permission",
    "mmap_file",
    "bpf",
    "bpf_map",
    "bpf_prog",
    "kernel_load_data",
    "kernel_read_file",
    "perf_event_open",
    "task_kill",
    "task_alloc",
    "task_setrlimit",
    "inode_unlink",
    "inode_rename",
    "inode_rmdir",
    "sb_umount",
    "locked_down",
    "file_receive",
    "socket_connect",
    "socket_sendmsg",
    "socket_create",
    "file_send_sigiotask",
    "signal_deliver",
];

/// A tracepoint, the same in every tier; the others are places where the kernel asks for a verdict.
pub(crate) const TRACEPOINT: &str = "signal_deliver";

/// Hooks that ask only where guarded processes may not connect as they like.
pub(crate) const EGRESS_HOOKS: [&str; 3] = ["socket_connect", "socket_sendmsg", "socket_create"];

/// Number of the maps' meaning: raised with every change that an older or newer agent would misread.
pub(crate) const VERSION: u32 = 5;

/// The group of the agent (`CT_GROUP_AGENT`).
pub(crate) const AGENT_GROUP: u32 = 1;
/// `CT_ROLE_AGENT`.
pub(crate) const ROLE_AGENT: u32 = 2;
/// `CT_ROLE_BY_HAND`.
const ROLE_BY_HAND: u32 = 16;
/// `CT_FILE_LOADER`: its processes may load programs.
pub(crate) const FILE_LOADER: u32 = 1;
/// `CT_FILE_AGENT`: its processes may take over.
pub(crate) const FILE_AGENT: u32 = 2;
/// `CT_FILE_HELD`: nobody writes it while its content is read.
pub(crate) const FILE_HELD: u32 = 4;

/// `CT_CONTENT_LOADER`: processes that run it may load programs.
pub(crate) const CONTENT_LOADER: u32 = 1;
/// `CT_CONTENT_PROOF`: the agent's own.
pub(crate) const CONTENT_PROOF: u32 = 2;

/// What a task is to the programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// The agent's own process.
    Agent,
    /// A process whose memory nobody outside its tree may reach.
    Guarded,
}

/// `struct ct_task`.
pub(crate) fn task(group: u32, role: Role) -> [u8; 8] {
    let bits: u32 = match role {
        Role::Agent => 1 | ROLE_AGENT | ROLE_BY_HAND,
        Role::Guarded => 1 | ROLE_BY_HAND,
    };
    join([group, bits])
}

/// The group of a `struct ct_task` that says guarded, for good, and nothing else.
pub(crate) fn guarded_group(task: &[u8]) -> Option<u32> {
    let word = |at: usize| Some(u32::from_ne_bytes(*task.get(at..)?.first_chunk()?));
    (word(4)? & !ROLE_BY_HAND == 1).then(|| word(0)).flatten()
}

/// Kinds of `struct ct_object`, in the order of `enum ct_kind`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A map.
    Map = 0,
    /// A program.
    Program = 1,
    /// What ties a program to its hook.
    Link = 2,
}

/// `struct ct_object`.
pub(crate) fn object(kind: Kind, id: u32) -> [u8; 8] {
    join([kind as u32, id])
}

/// A device from `stat(2)` as the kernel itself keeps it.
pub(crate) fn device(device: u64) -> u32 {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    // KERNEL: dev_t has 12 bits for the major and 20 for the minor number.
    u32::try_from((major << 20) | minor).unwrap_or(0)
}

/// `struct ct_loader`, from an inode and a device as `stat(2)` gives it.
pub(crate) fn loader(inode: u64, device: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (head, tail) = bytes.split_at_mut(8);
    head.copy_from_slice(&inode.to_ne_bytes());
    if let Some(field) = tail.first_chunk_mut() {
        *field = self::device(device).to_ne_bytes();
    }
    bytes
}

/// `struct ct_image` of a process that the agent found running.
pub(crate) fn found_running(inode: u64, device: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    if let Some(file) = bytes.last_chunk_mut() {
        *file = loader(inode, device);
    }
    bytes
}

fn join(words: [u32; 2]) -> [u8; 8] {
    let [first, second] = words.map(u32::to_ne_bytes);
    let mut bytes = [0; 8];
    let (head, tail) = bytes.split_at_mut(4);
    head.copy_from_slice(&first);
    tail.copy_from_slice(&second);
    bytes
}

/// `struct ct_control`: what the pinned set was loaded with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Control {
    /// [`VERSION`] of whoever wrote it.
    pub(crate) abi: u32,
    /// Number of the set.
    pub(crate) set: u32,
    /// The agent that loaded it.
    pub(crate) agent: u32,
    /// 1 lsm, 2 fmod_ret.
    pub(crate) tier: u32,
    /// Bits of [`HOOKS`].
    pub(crate) left_open: u32,
    /// Device of the pins' file system.
    pub(crate) device: u32,
}

impl Control {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let Self { abi, set, agent, tier, left_open, device } = self;
        [abi, set, agent, tier, left_open, device].iter().flat_map(|w| w.to_ne_bytes()).collect()
    }

    /// `None` when it has another size: another agent's.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .filter_map(|chunk| chunk.first_chunk().copied().map(u32::from_ne_bytes))
            .collect();
        let [abi, set, agent, tier, left_open, device] = words[..] else { return None };
        Some(Self { abi, set, agent, tier, left_open, device })
    }
}

/// `struct ct_stamp`: when an agent was last there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Stamp {
    /// Nanoseconds since boot.
    pub(crate) seen_ns: u64,
    /// The group that the next process gets.
    pub(crate) next_group: u32,
}

impl Stamp {
    pub(crate) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (head, tail) = bytes.split_at_mut(8);
        head.copy_from_slice(&self.seen_ns.to_ne_bytes());
        if let Some(field) = tail.first_chunk_mut() {
            *field = self.next_group.to_ne_bytes();
        }
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let seen_ns = u64::from_ne_bytes(*bytes.first_chunk()?);
        let next_group = u32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
        Some(Self { seen_ns, next_group })
    }
}

/// Group and role of a `struct ct_task`.
pub(crate) fn parse_task(bytes: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    Some((word(0)?, word(4)?))
}

/// `struct ct_event`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Event {
    /// Nanoseconds since boot.
    pub(crate) at_ns: u64,
    /// What happened.
    pub(crate) kind: EventKind,
    /// Who judged.
    pub(crate) hook: &'static str,
    /// Who asked.
    pub(crate) actor: u32,
    /// Its user.
    pub(crate) actor_uid: u32,
    /// What it called itself, which means nothing.
    pub(crate) actor_comm: String,
    /// Who would have been reached; 0 where the road leads to no one process.
    pub(crate) target: u32,
    /// Who started the actor, or inherited it.
    pub(crate) actor_parent: u32,
    /// Where it was: the id of a cgroup, which is its inode.
    pub(crate) actor_cgroup: u64,
}

/// `enum ct_event_kind`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EventKind {
    /// A road was refused.
    Denied,
    /// A child could not be entered into the table of thread groups.
    TableFull,
    /// A road was open by an operator's order.
    Granted,
}

impl Event {
    /// Size of `struct ct_event`.
    const LEN: usize = 56;

    /// Reads one; `None` when the bytes are none of ours.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LEN {
            return None;
        }
        let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let comm = bytes.get(32..48)?.split(|byte| *byte == 0).next()?;
        Some(Self {
            at_ns: u64::from_ne_bytes(*bytes.first_chunk()?),
            kind: match word(8)? {
                0 => EventKind::Denied,
                1 => EventKind::TableFull,
                2 => EventKind::Granted,
                _ => return None,
            },
            hook: HOOKS.get(usize::try_from(word(12)?).ok()?)?,
            actor: word(16)?,
            actor_uid: word(20)?,
            actor_comm: String::from_utf8_lossy(comm).into_owned(),
            target: word(24)?,
            actor_parent: word(28)?,
            actor_cgroup: u64::from_ne_bytes(*bytes.get(48..)?.first_chunk()?),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use libbpf_rs::HasSize as _;
    use libbpf_rs::btf::{Btf, types};

    use super::*;

    /// Offsets of the members in bytes, by name, and the size.
    pub(super) fn layout(btf: &Btf<'_>, name: &str) -> (Vec<(String, u32)>, usize) {
        let found: types::Struct<'_> = btf.type_by_name(name).unwrap();
        let members = found.iter().map(|member| {
            let types::MemberAttr::Normal { offset } = member.attr else { panic!("a bit field") };
            (member.name.unwrap().to_string_lossy().into_owned(), offset / 8)
        });
        (members.collect(), found.size())
    }

    #[test]
    fn offsets_are_those_of_the_compiled_object() {
        let btf = Btf::from_raw("agent", crate::bpf::OBJECT).unwrap().unwrap();
        let check = |name: &str, members: &[(&str, u32)], size: usize| {
            let wanted: Vec<_> =
                members.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
            assert_eq!(layout(&btf, name), (wanted, size), "{name}");
        };
        check("ct_task", &[("group", 0), ("role", 4)], 8);
        check("ct_object", &[("kind", 0), ("id", 4)], 8);
        check("ct_loader", &[("inode", 0), ("device", 8), ("reserved", 12)], 16);
        check("ct_content", &[("sha256", 0)], 32);
        check("ct_code_file", &[("inode", 0), ("device", 8), ("generation", 12)], 16);
        check("ct_code", &[("at_ns", 0), ("group", 8), ("reserved", 12)], 16);
        check("ct_image", &[("inode", 0), ("file", 8)], 24);
        let control = [
            ("abi", 0),
            ("set", 4),
            ("agent_tgid", 8),
            ("tier", 12),
            ("left_open", 16),
            ("device", 20),
        ];
        check("ct_control", &control, 24);
        check("ct_stamp", &[("seen_ns", 0), ("next_group", 8), ("reserved", 12)], 16);
        let event = [
            ("at_ns", 0),
            ("kind", 8),
            ("hook", 12),
            ("actor_tgid", 16),
            ("actor_uid", 20),
            ("target_tgid", 24),
            ("actor_parent", 28),
            ("actor_comm", 32),
            ("actor_cgroup", 48),
        ];
        check("ct_event", &event, Event::LEN);
    }

    #[test]
    fn hooks_are_named_in_the_order_of_the_object() {
        let source = include_str!("../../../bpf/lib/abi.h");
        let (_, rest) = source.split_once("enum ct_hook {").unwrap();
        let names: Vec<String> = rest
            .lines()
            .filter_map(|line| line.trim().strip_prefix("CT_HOOK_")?.strip_suffix(','))
            .map(str::to_lowercase)
            .collect();
        let (last, hooks) = names.split_last().unwrap();
        assert_eq!(hooks, HOOKS);
        assert_eq!(last, "count");
    }

    #[test]
    fn only_who_is_guarded_for_good_has_a_group_to_stay_in() {
        assert_eq!(guarded_group(&task(7, Role::Guarded)), Some(7));
        assert_eq!(guarded_group(&task(1, Role::Agent)), None);
        // Guarded until it executes: the role has one more bit.
        assert_eq!(guarded_group(&join([7, 1 | 4])), None);
        assert_eq!(guarded_group(&[7; 6]), None);
    }

    #[test]
    fn control_and_stamp_are_read_as_written() {
        let control = Control { abi: 1, set: 2, agent: 3, tier: 2, left_open: 8, device: 9 };
        assert_eq!(Control::parse(&control.bytes()), Some(control));
        assert_eq!(Control::parse(&[0; 28]), None, "another agent's");
        let stamp = Stamp { seen_ns: u64::MAX - 1, next_group: 77 };
        assert_eq!(Stamp::parse(&stamp.bytes()), Some(stamp));
        assert_eq!(parse_task(&task(5, Role::Agent)), Some((5, 1 | 2 | 16)));
    }

    #[test]
    fn only_a_whole_event_is_read() {
        let mut bytes = vec![0; Event::LEN];
        bytes[0] = 7;
        bytes[12] = 1;
        bytes[16] = 9;
        bytes[28] = 5;
        bytes[32..36].copy_from_slice(b"evil");
        bytes[48] = 6;
        let event = Event::parse(&bytes).unwrap();
        assert_eq!((event.at_ns, event.hook, event.actor), (7, "ptrace_traceme", 9));
        assert_eq!((event.actor_parent, event.actor_cgroup), (5, 6));
        assert_eq!((event.kind, event.actor_comm.as_str()), (EventKind::Denied, "evil"));
        assert_eq!(Event::parse(&bytes[1..]), None);
        bytes[12] = 99;
        assert_eq!(Event::parse(&bytes), None, "a hook that nobody knows");
    }

    #[test]
    fn devices_are_packed_as_the_kernel_packs_them() {
        let bytes = loader(0x1122, nix::sys::stat::makedev(8, 1));
        assert_eq!(u64::from_ne_bytes(*bytes.first_chunk().unwrap()), 0x1122);
        assert_eq!(u32::from_ne_bytes(bytes[8..12].try_into().unwrap()), (8 << 20) | 1);
    }
}
