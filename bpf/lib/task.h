/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who is who. Nothing here trusts a name, a path or a number that a process chose. */
#ifndef CT_TASK_H
#define CT_TASK_H

#include "maps.h"
#include "read.h"

/* Who may have our objects. */
#define CT_ROLES_TRUSTED (CT_ROLE_AGENT | CT_ROLE_HEIR)

/*
 * The same for a task that is known by address only, so that helpers do not take it.
 *
 * Between the moment when a child becomes visible and sched_process_fork, which enters it into
 * the table, its parent stands for it: the parent is still in its fork.
 */
static __always_inline struct ct_task *ct_task_by_address(struct task_struct *task, __u32 tgid)
{
	struct ct_task *known;
	__u32 parent;

	known = bpf_map_lookup_elem(&ct_groups, &tgid);
	if (known)
		return known;
	parent = BPF_CORE_READ(task, real_parent, tgid);
	known = bpf_map_lookup_elem(&ct_groups, &parent);
	if (!known || known->role & CT_ROLES_TRUSTED)
		return 0; /* the agent's children are guarded until they execute, no longer */
	return known;
}

#ifdef CT_PROBE
static __always_inline struct ct_task *ct_task_of(struct task_struct *task)
{
	return ct_task_by_address(task, BPF_CORE_READ(task, tgid));
}

static __always_inline struct ct_task *ct_target(struct task_struct *task)
{
	return ct_task_of(task);
}

static __always_inline struct ct_task *ct_current(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	return bpf_map_lookup_elem(&ct_groups, &tgid);
}
#else
/*
 * What this task is; NULL for the rest of the system.
 *
 * KERNEL: where it preempts, a storage is not found while somebody else on this processor looks for
 * one, so nothing may hang on it alone. Nobody who is trusted has one: see task_alloc.
 */
static __always_inline struct ct_task *ct_task_of(struct task_struct *task)
{
	struct ct_task *known = bpf_task_storage_get(&ct_tasks, task, 0, 0);
	__u32 tgid;

	if (known && known->role) /* 0: it has executed, and the kernel kept the storage */
		return known;
	/* A thread that was there before its process was marked has no storage of its own. */
	tgid = task->tgid;
	return bpf_map_lookup_elem(&ct_groups, &tgid);
}

/* The same for a task that may be so new that only its parent is known: see ct_task_by_address. */
static __always_inline struct ct_task *ct_target(struct task_struct *task)
{
	struct ct_task *known = ct_task_of(task);
	__u32 parent;

	if (known)
		return known;
	parent = CT_AT(task, real_parent, tgid);
	known = bpf_map_lookup_elem(&ct_groups, &parent);
	return known && known->role & CT_ROLES_TRUSTED ? 0 : known;
}

static __always_inline struct ct_task *ct_current(void)
{
	return ct_task_of(bpf_get_current_task_btf());
}
#endif

static __always_inline bool ct_is_agent(void)
{
	struct ct_task *actor = ct_current();

	return actor && actor->role & CT_ROLES_TRUSTED;
}

/* A process of a guarded tree may look at the others of its tree: they share what it guards. */
static __always_inline bool ct_may_reach(struct ct_task *target)
{
	struct ct_task *actor = ct_current();

	return actor && actor->group == target->group;
}

/*
 * The key of an inode in ct_loaders and ct_pins.
 *
 * Here and below pointers are followed by CT_AT and not by BPF_CORE_READ, which lockdown forbids;
 * the verifier asks for the checks.
 */
static __always_inline bool ct_key(struct inode *inode, struct ct_loader *key)
{
	struct super_block *sb;

	if (!inode)
		return false;
	sb = CT_AT(inode, i_sb);
	if (!sb)
		return false;
	key->inode = CT_AT(inode, i_ino);
	key->device = CT_AT(sb, s_dev);
	return true;
}

/* What a file is listed as: enum ct_file_mark, or-ed; 0 for all others. */
static __always_inline __u32 ct_marks(struct inode *inode)
{
	struct ct_loader key = {};
	__u32 *marks;

	if (!ct_key(inode, &key))
		return 0;
	marks = bpf_map_lookup_elem(&ct_loaders, &key);
	return marks ? *marks : 0;
}

/*
 * What the file that this task runs is listed as. That its code is the file's own is held
 * elsewhere: by ptrace_access_check, bprm_creds_for_exec, and file_open for its content.
 */
static __always_inline __u32 ct_runs(struct task_struct *task)
{
	struct mm_struct *mm = CT_AT(task, mm);
	struct file *file;

	if (!mm)
		return 0;
	file = CT_AT(mm, exe_file);
	return file ? ct_marks(CT_AT(file, f_inode)) : 0;
}

/*
 * What is known of this task's program since it was executed: that its content was recognised, as
 * that of a program of an image, where neither device nor inode is the same twice; or that it was
 * started under a tracer. A process that failed to become it still has its own program, so that
 * the addresses differ; one that lives keeps its program's inode, so that the address is nobody
 * else's.
 */
static __always_inline struct ct_image *ct_image_of(struct task_struct *task)
{
	struct mm_struct *mm = CT_AT(task, mm);
	__u32 tgid = CT_AT(task, tgid);
	struct ct_loader key = {};
	struct ct_image *image;
	struct file *file;

	if (!mm)
		return 0;
	file = CT_AT(mm, exe_file);
	if (!file)
		return 0;
	image = bpf_map_lookup_elem(&ct_images, &tgid);
	if (!image)
		return 0;
	if (image->inode)
		return image->inode == (__u64)CT_AT(file, f_inode) ? image : 0;
	/* The agent found it running. */
	if (ct_key(CT_AT(file, f_inode), &key) && key.inode == image->file.inode &&
	    key.device == image->file.device)
		return image;
	return 0;
}

static __always_inline bool ct_runs_content(struct task_struct *task)
{
	struct ct_image *image = ct_image_of(task);

	return image && image->file.inode;
}

static __always_inline bool ct_is_loader(void)
{
	struct task_struct *task = ct_this_task();

	struct ct_image *image = ct_image_of(task);

	return image ? !!image->file.inode : !!(ct_runs(task) & CT_FILE_LOADER);
}

/* Whether a process runs such a file at this moment. */
static __always_inline bool ct_is_running(struct inode *inode)
{
	struct ct_loader key = {};
	__s64 *count;

	if (!ct_key(inode, &key))
		return false;
	count = bpf_map_lookup_elem(&ct_running, &key);
	return count && *count > 0;
}

#endif
