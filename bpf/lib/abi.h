/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What crosses between the programs and the agent. The agent keeps a copy in Rust
 * (crates/agent/src/abi.rs), which a test compares with the BTF of the compiled object.
 * No holes: pad by hand.
 */
#ifndef CT_ABI_H
#define CT_ABI_H

/* Who judged. Indices of ct_counts; append only, the agent names them in the same order. */
enum ct_hook {
	CT_HOOK_PTRACE_ACCESS_CHECK,
	CT_HOOK_PTRACE_TRACEME,
	CT_HOOK_FILE_OPEN,
	CT_HOOK_FILE_PERMISSION,
	CT_HOOK_MMAP_FILE,
	CT_HOOK_BPF,
	CT_HOOK_BPF_MAP,
	CT_HOOK_BPF_PROG,
	CT_HOOK_KERNEL_LOAD_DATA,
	CT_HOOK_KERNEL_READ_FILE,
	CT_HOOK_PERF_EVENT_OPEN,
	CT_HOOK_TASK_KILL,
	CT_HOOK_TASK_ALLOC,
	CT_HOOK_TASK_SETRLIMIT,
	CT_HOOK_INODE_UNLINK,
	CT_HOOK_INODE_RENAME,
	CT_HOOK_INODE_RMDIR,
	CT_HOOK_SB_UMOUNT,
	CT_HOOK_LOCKED_DOWN,
	CT_HOOK_FILE_RECEIVE,
	CT_HOOK_SOCKET_CONNECT,
	CT_HOOK_SOCKET_SENDMSG,
	CT_HOOK_SOCKET_CREATE,
	CT_HOOK_FILE_SEND_SIGIOTASK,
	/* A tracepoint, which refuses nothing: the process that would dump core is ended. */
	CT_HOOK_SIGNAL_DELIVER,
	CT_HOOK_COUNT,
};

/* What a task is. */
enum ct_role {
	/* Its flags; the group of a process that is guarded is never 0. */
	CT_ROLE_GUARDED = 1,
	/* The agent: guarded, and what only it may do. Children do not inherit it. */
	CT_ROLE_AGENT = 2,
	/* A child of the agent that has not executed a program yet: its memory is the agent's. */
	CT_ROLE_UNTIL_EXEC = 4,
	/* Runs the agent's own file from the start, so it may become the agent. It may be killed. */
	CT_ROLE_HEIR = 8,
	/* Entered into the table by the agent, or as an heir: not in ct_room's count. */
	CT_ROLE_BY_HAND = 16,
};

/* The group of the agent and its heirs. */
#define CT_GROUP_AGENT 1

/* In task storage, inherited, and by thread group. */
struct ct_task {
	__u32 group;
	__u32 role; /* enum ct_role, or-ed */
};

/* An object of ours. */
enum ct_kind {
	CT_KIND_MAP,
	CT_KIND_PROG,
	CT_KIND_LINK,
};

struct ct_object {
	__u32 kind; /* enum ct_kind */
	__u32 id;
};

/* A file, by what nobody can rename. Key of ct_loaders and ct_pins. */
struct ct_loader {
	__u64 inode;
	__u32 device; /* as the kernel keeps it: major << 20 | minor */
	__u32 reserved;
};

/* What a program file in ct_loaders is, or-ed. */
enum ct_file_mark {
	/* Its processes may load BPF programs and open perf events. */
	CT_FILE_LOADER = 1,
	/* The agent's own: its processes may take over. */
	CT_FILE_AGENT = 2,
	/* Not a loader yet: nobody writes it while the agent reads what it holds. */
	CT_FILE_HELD = 4,
};

/* A program by its content: SHA-256. Key of ct_contents. */
struct ct_content {
	__u8 sha256[32];
};

/* What a content in ct_contents is. */
enum ct_content_mark {
	/* Processes that run it may load BPF programs and open perf events. */
	CT_CONTENT_LOADER = 1,
	/* The agent's own, by which it sees whether contents are recognised on this kernel. */
	CT_CONTENT_PROOF = 2,
};

/* What came of looking at a content. Indices of ct_looks; append only. */
enum ct_look {
	CT_LOOK_LISTED,
	CT_LOOK_PROOF,
	/* A file of a listed one's size, and another one. */
	CT_LOOK_OTHER,
	/* The kernel gave no SHA-256: no IMA, or another algorithm. */
	CT_LOOK_NO_HASH,
	/* Listed, and on a file system whose content somebody else may answer for. */
	CT_LOOK_ELSEWHERE,
	/* Listed, and somebody has it open for writing. */
	CT_LOOK_WRITTEN,
	/* Listed, and started under a tracer. */
	CT_LOOK_TRACED,
	/* Listed, and there was no room. */
	CT_LOOK_FULL,
	CT_LOOK_COUNT,
};

/* What a process runs, where that was recognised by its content. In ct_images, by thread group. */
struct ct_image {
	/*
	 * The program's, by its address: as the process has it, in front of overlays. 0: the agent
	 * found it running, and `file` is what stat(2) says of it.
	 */
	__u64 inode;
	/* The same behind overlays: where the content lies. Zero: listed, and started under a tracer. */
	struct ct_loader file;
};

/*
 * A file that guarded processes run code of. With its generation, since file systems give numbers
 * of inodes again. Key of ct_code.
 */
struct ct_code_file {
	__u64 inode;
	__u32 device; /* as in ct_loader */
	__u32 generation;
};

/* The group of a file whose code several groups run. */
#define CT_GROUP_MANY 0xffffffff

/* Who runs it. */
struct ct_code {
	__u64 at_ns; /* since boot: when it was mapped last */
	__u32 group;
	__u32 reserved;
};

/* What the pinned set was loaded with. One agent writes it: the one that loaded. */
struct ct_control {
	__u32 abi; /* another number: another agent's maps */
	__u32 set;
	__u32 agent_tgid;
	__u32 tier; /* 1 lsm, 2 fmod_ret */
	__u32 left_open; /* bits of enum ct_hook */
	__u32 device; /* of the file system that holds the pins */
};

/* Written again and again by the agent that runs. */
struct ct_stamp {
	__u64 seen_ns; /* since boot */
	__u32 next_group;
	__u32 reserved;
};

/* How many processes the table of thread groups has that the programs entered, and may have. */
struct ct_room {
	__u64 used;
	__u64 most;
};

/* What an operator may order to be let through for a while. */
enum ct_grant_kind {
	CT_GRANT_NONE,
	/* Attaching to, reading and dumping the processes of one group. */
	CT_GRANT_MEMORY,
	/* Kernel modules, and the registers of hardware. */
	CT_GRANT_KERNEL,
	/* Block devices that are kept. */
	CT_GRANT_DEVICES,
	/* BPF programs, perf events, tracefs. */
	CT_GRANT_TRACING,
};

struct ct_grant_key {
	__u32 group; /* 0: the node */
	__u32 kind; /* enum ct_grant_kind */
};

/* Ends by itself, whether an agent runs or not. Stays as a record of what was granted. */
struct ct_grant {
	__u64 until_ns; /* since boot */
	__u64 uses;
	__u64 serial; /* of the order */
};

/* Whose orders are taken, and which is the next. Written at the first load, but for the serial. */
struct ct_authority {
	__u8 key[32]; /* Ed25519; all zero: nobody's */
	__u8 instance[16]; /* by chance: an order for another load is none for this one */
	__u64 serial;
	__u32 unloading; /* 1: an order to unload was taken, and is to be brought to its end */
	__u32 egress; /* 1: guarded processes may connect to what ct_egress lists, and nowhere else */
};

/* What is not to be done with a block device, or-ed; under key 0 for all of them. */
enum ct_device_mark {
	/* Memory is written there: neither read nor write. */
	CT_DEVICE_SWAP = 1,
	/* Below the agent's own file or a listed loader: no write. */
	CT_DEVICE_BELOW = 2,
	/* Under key 0 alone: swap is followed, so that nobody turns more of it on. */
	CT_DEVICE_FOLLOWED = 4,
};

/* Key of ct_egress: bits that count, and an IPv6 address or a mapped IPv4 one. */
struct ct_net {
	__u32 bits;
	__u8 address[16];
};

#define CT_PORT_RANGES 8

struct ct_port_range {
	__u16 low;
	__u16 high; /* 0: no range */
};

struct ct_ports {
	struct ct_port_range ranges[CT_PORT_RANGES];
};

/* What happened. */
enum ct_event_kind {
	CT_EVENT_DENIED,
	/* A child of a guarded task could not be entered into the table of thread groups. */
	CT_EVENT_TABLE_FULL,
	/* Would have been denied but for an operator's order. */
	CT_EVENT_GRANTED,
};

struct ct_event {
	__u64 at_ns; /* since boot */
	__u32 kind;  /* enum ct_event_kind */
	__u32 hook;  /* enum ct_hook */
	__u32 actor_tgid;
	__u32 actor_uid;
	__u32 target_tgid; /* 0 where the road leads to no one process */
	__u32 actor_parent; /* thread group; the actor may be gone when this is read */
	char actor_comm[16];
	__u64 actor_cgroup; /* id in the unified hierarchy; its root where there is none */
};

#endif
