/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The verdict on a file, by what the kernel says it is: superblock, inode, device number. Names
 * are read only inside procfs and tracefs, where the kernel chose them and nobody can rename.
 */
#ifndef CT_FILE_H
#define CT_FILE_H

#include "code.h"
#include "grant.h"
#include "report.h"
#include "task.h"

/* Of f_mode. */
#define FMODE_WRITE 0x2
#define PROC_SUPER_MAGIC 0x9fa0
#define TRACEFS_MAGIC 0x74726163
#define DEBUGFS_MAGIC 0x64626720
#define BINFMTFS_MAGIC 0x42494e4d
#define BPF_FS_MAGIC 0xcafe4a11
#define S_IFCHR 0020000
#define S_IFDIR 0040000
#define S_IFBLK 0060000
/* Of i_flags: memory is written here. */
#define S_SWAPFILE 0x100

/* What is done with the file. */
enum ct_access {
	CT_ACCESS_READ = 1,
	CT_ACCESS_WRITE = 2,
	/* It is opened: nobody had a descriptor of it before, or it is by another one's. */
	CT_ACCESS_OPEN = 4,
};

struct ct_finding {
	bool denied;
	__u32 target_tgid;
	/* Which order would let it through; CT_GRANT_NONE: none. */
	struct ct_grant_key grant;
};

/* Two words, so that a name is compared by two instructions. Longer ones are cut: none of ours is. */
#define CT_NAME_LEN 16

struct ct_name {
	__u64 words[CT_NAME_LEN / 8];
};

/* Whether a zero-padded name is this literal. */
#define CT_IS(name, literal) ct_same(name, (const char[CT_NAME_LEN]){ literal })

static __always_inline bool ct_same(const struct ct_name *name, const char *literal)
{
	struct ct_name other;

	__builtin_memcpy(&other, literal, sizeof(other));
	return name->words[0] == other.words[0] && name->words[1] == other.words[1];
}

static __always_inline void ct_read_name(struct ct_name *name, struct dentry *dentry)
{
	bpf_probe_read_kernel_str(name, sizeof(*name), BPF_CORE_READ(dentry, d_name.name));
}

/*
 * Files below /proc/PID and /proc/PID/task/TID that show or change memory. Not among them, since
 * node software lives on them and no secret is there: cmdline, comm, stat, statm, status,
 * cgroup, loginuid, exe, cwd, root, ns/, limits, mountinfo, oom_score_adj, fd/, fdinfo/.
 */
static __always_inline bool ct_shows_memory(const struct ct_name *name)
{
	return CT_IS(name, "mem") || CT_IS(name, "environ") || CT_IS(name, "maps") ||
	       CT_IS(name, "smaps") || CT_IS(name, "smaps_rollup") || CT_IS(name, "numa_maps") ||
	       CT_IS(name, "pagemap") || CT_IS(name, "auxv") || CT_IS(name, "clear_refs") ||
	       CT_IS(name, "stack") || CT_IS(name, "syscall") || CT_IS(name, "map_files") ||
	       CT_IS(name, "coredump_filter") || CT_IS(name, "personality");
}

/* A file that belongs to a process, found by the inode's own reference to it. */
static __always_inline void ct_judge_process(struct pid *pid, struct dentry *dentry,
					     struct ct_finding *finding)
{
	struct hlist_node *node = BPF_CORE_READ(pid, tasks[PIDTYPE_PID].first);
	struct task_struct *task;
	struct ct_name name = {};
	struct ct_task *target;
	__u32 tgid;

	if (!node) /* it has ended */
		return;
	task = (void *)node - bpf_core_field_offset(struct task_struct, pid_links[PIDTYPE_PID]);
	tgid = BPF_CORE_READ(task, tgid);
	if (tgid == bpf_get_current_pid_tgid() >> 32) /* its own, before anything is looked up */
		return;
	target = ct_task_by_address(task, tgid);
	if (!target || ct_may_reach(target))
		return;
	finding->target_tgid = tgid;
	ct_read_name(&name, dentry);
	finding->denied = ct_shows_memory(&name);
	finding->grant.kind = CT_GRANT_MEMORY;
	finding->grant.group = target->group;
}

static __always_inline bool ct_is_kernel_file(struct dentry *dentry, const struct ct_name *name,
					      enum ct_access access)
{
	struct ct_name parent = {};

	if (CT_IS(name, "kcore"))
		return BPF_CORE_READ(dentry, d_parent) ==
		       BPF_CORE_READ(dentry, d_parent, d_parent);
	/* SECURITY: a zero there turns off every BPF program on a trampoline, silently. */
	if (access & CT_ACCESS_WRITE && CT_IS(name, "ftrace_enabled")) {
		ct_read_name(&parent, BPF_CORE_READ(dentry, d_parent));
		return CT_IS(&parent, "kernel");
	}
	return false;
}

/* kprobes/enabled, whose zero takes all kprobes out of the kernel. */
static __always_inline bool ct_is_switch_of_probes(struct dentry *dentry)
{
#ifdef CT_PROBE
	struct ct_name name = {}, parent = {};

	ct_read_name(&name, dentry);
	ct_read_name(&parent, BPF_CORE_READ(dentry, d_parent));
	return CT_IS(&name, "enabled") && CT_IS(&parent, "kprobes");
#else
	return false; /* nothing of ours hangs on it */
#endif
}

/* Physical memory and ports: character devices of major 1. */
static __always_inline bool ct_is_raw_memory(dev_t device)
{
	__u32 minor = device & 0xfffff;

	return device >> 20 == 1 && (minor == 1 || minor == 2 || minor == 4);
}

/*
 * A block device, by number. What is open already is known by the device's own inode, which the
 * kernel marks when it begins to swap there.
 */
static __always_inline void ct_judge_device(struct file *file, enum ct_access access,
					    struct ct_finding *finding)
{
	__u32 device = CT_AT(file, f_inode, i_rdev), all = 0, marks = 0;
	struct address_space *mapping = CT_AT(file, f_mapping);
	struct inode *host;
	__u32 *found;

	found = bpf_map_lookup_elem(&ct_devices, &device);
	if (found)
		marks = *found;
	found = bpf_map_lookup_elem(&ct_devices, &all);
	if (found)
		marks |= *found;
	host = mapping ? CT_AT(mapping, host) : NULL;
	if (host && CT_AT(host, i_flags) & S_SWAPFILE)
		marks |= CT_DEVICE_SWAP;
	finding->denied = marks & CT_DEVICE_SWAP ||
			  (marks & CT_DEVICE_BELOW && access & CT_ACCESS_WRITE);
	finding->grant.kind = CT_GRANT_DEVICES;
}

/* What procfs shows of a process or of the kernel. */
static __always_inline void ct_judge_proc(struct file *file, enum ct_access access,
					  struct ct_finding *finding)
{
	struct dentry *dentry = CT_AT(file, f_path.dentry);
	struct ct_name name = {};
	struct proc_inode *proc;
	struct pid *pid;

	proc = (void *)CT_AT(file, f_inode) - bpf_core_field_offset(struct proc_inode, vfs_inode);
	pid = BPF_CORE_READ(proc, pid);
	if (pid) {
		ct_judge_process(pid, dentry, finding);
		return;
	}
	ct_read_name(&name, dentry);
	finding->denied = ct_is_kernel_file(dentry, &name, access);
}

/*
 * Memory that is a file without a name, reopened by /proc/PID/fd or map_files. A memfd is the group's
 * that used it first, where that is a guarded one. Shared memory without a file of the process's own
 * making passes no hook when it is made; the kernel calls all of it by two names, and nobody has
 * cause to open it.
 */
static __always_inline void ct_judge_memory(struct file *file, enum ct_access access,
					    struct ct_finding *finding)
{
	struct inode *inode = CT_AT(file, f_inode);
	struct ct_code_file key = ct_code_of(inode);
	struct ct_code *known = bpf_map_lookup_elem(&ct_code, &key);
	struct ct_name name = {};
	struct ct_task *actor;

	if (known && !(access & CT_ACCESS_OPEN))
		return;
	if (!known && access & CT_ACCESS_OPEN) {
		ct_read_name(&name, CT_AT(file, f_path.dentry));
		finding->denied = CT_IS(&name, "dev/zero") || CT_IS(&name, "anon_hugepage");
		if (finding->denied)
			return;
	}
	actor = ct_current();
	if (!known) {
		finding->denied = actor && !ct_enter_code(inode, actor->group);
		return;
	}
	if (actor && actor->group == known->group)
		return;
	finding->denied = true;
	finding->grant.kind = CT_GRANT_MEMORY;
	finding->grant.group = known->group;
}

/* Ordered by how often it is asked: most files end at the second comparison. */
static __always_inline struct ct_finding ct_judge_file(struct file *file, enum ct_access access)
{
	struct ct_finding finding = {};
	struct inode *inode = CT_AT(file, f_inode);
	umode_t kind = CT_AT(inode, i_mode) & S_IFMT;
	unsigned long magic;

	if (kind == S_IFREG || kind == S_IFDIR) {
		magic = CT_AT(inode, i_sb, s_magic);
		if (magic == PROC_SUPER_MAGIC) {
			ct_judge_proc(file, access, &finding);
		} else if (magic == TRACEFS_MAGIC) {
			/* uprobe_events and its like; a trace that is there may be read. */
			finding.denied = access & CT_ACCESS_WRITE && !ct_is_loader();
			finding.grant.kind = CT_GRANT_TRACING;
		} else if (magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC) {
			if (CT_AT(inode, i_sb, s_flags) & SB_KERNMOUNT)
				ct_judge_memory(file, access, &finding);
		} else if (magic == BINFMTFS_MAGIC) {
			/* Which program runs in the place of what a guarded process executes next. */
			finding.denied = access & CT_ACCESS_WRITE;
			finding.grant.kind = CT_GRANT_KERNEL;
		} else if (magic == DEBUGFS_MAGIC) {
			finding.denied = access & CT_ACCESS_WRITE &&
					 ct_is_switch_of_probes(CT_AT(file, f_path.dentry));
		} else if (CT_AT(inode, i_flags) & S_SWAPFILE) {
			finding.denied = true;
			finding.grant.kind = CT_GRANT_DEVICES;
		}
	} else if (kind == S_IFCHR) {
		finding.denied = ct_is_raw_memory(CT_AT(inode, i_rdev));
	} else if (kind == S_IFBLK) {
		ct_judge_device(file, access, &finding);
	}
	return finding;
}

/* The answer to a finding. */
static __always_inline int ct_answer(struct ct_finding finding, __u32 hook)
{
	if (!finding.denied)
		return 0;
	return ct_deny_unless(finding.grant, hook, finding.target_tgid);
}

#endif
