/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who is who. Nothing here trusts a name, a path or a number that a process chose. */
#ifndef CT_TASK_H
#define CT_TASK_H

#include "maps.h"

/* What this task is; NULL for the rest of the system. */
static __always_inline struct ct_task *ct_task_of(struct task_struct *task)
{
	struct ct_task *known = bpf_task_storage_get(&ct_tasks, task, 0, 0);
	__u32 tgid;

	if (known)
		return known;
	/* A thread that was there before its process was marked has no storage of its own. */
	tgid = task->tgid;
	return bpf_map_lookup_elem(&ct_groups, &tgid);
}

/*
 * The same for a task that is known by address only, so that helpers do not take it.
 *
 * Between the moment when a child becomes visible and sched_process_fork, which enters it into
 * the table, its parent stands for it: the parent is still in its fork.
 */
static __always_inline struct ct_task *ct_task_by_address(struct task_struct *task, __u32 *tgid)
{
	struct ct_task *known;
	__u32 parent;

	*tgid = BPF_CORE_READ(task, tgid);
	known = bpf_map_lookup_elem(&ct_groups, tgid);
	if (known)
		return known;
	parent = BPF_CORE_READ(task, real_parent, tgid);
	known = bpf_map_lookup_elem(&ct_groups, &parent);
	if (!known || known->role & CT_ROLE_AGENT)
		return 0; /* the agent's children are not guarded by birth */
	return known;
}

static __always_inline struct ct_task *ct_current(void)
{
	return ct_task_of(bpf_get_current_task_btf());
}

static __always_inline bool ct_is_agent(void)
{
	struct ct_task *actor = ct_current();

	return actor && actor->role & CT_ROLE_AGENT;
}

/* A process of a guarded tree may look at the others of its tree: they share what it guards. */
static __always_inline bool ct_may_reach(struct ct_task *target)
{
	struct ct_task *actor = ct_current();

	return actor && actor->group == target->group;
}

/*
 * Whether the current program is a listed loader, by the file that it was executed from.
 *
 * Not seen: what an LD_PRELOAD or an exploit put into that process, and a listed file whose
 * content was overwritten.
 */
static __always_inline bool ct_is_loader(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ct_loader key = {};
	struct inode *inode;

	inode = BPF_CORE_READ(task, mm, exe_file, f_inode);
	if (!inode)
		return false;
	key.inode = BPF_CORE_READ(inode, i_ino);
	key.device = BPF_CORE_READ(inode, i_sb, s_dev);
	return bpf_map_lookup_elem(&ct_loaders, &key);
}

#endif
