/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Identity: inherited by every child and thread, kept over exec, forgotten at the end.
 *
 * It is inherited in security_task_alloc, which can still fail the fork, and which io_uring's
 * worker threads pass as well (they do not pass the fork tracepoint). The number of the child is
 * not known there, so the table by thread group is filled in sched_process_fork, before the child
 * runs. Either of the two is enough.
 */
#define CLONE_THREAD 0x00010000

/*
 * Whether one more process fits into the table by thread group. It is asked before the child is
 * there, and counted when it is, so some forks that are under way at once may go beyond; the table
 * is larger than what is asked for by more than those.
 */
static __always_inline bool ct_has_room(void)
{
	__u32 zero = 0;
	struct ct_room *room = bpf_map_lookup_elem(&ct_room, &zero);

	return room && (__s64)room->used < (__s64)room->most;
}

static __always_inline void ct_count(__s64 change)
{
	__u32 zero = 0;
	struct ct_room *room = bpf_map_lookup_elem(&ct_room, &zero);

	if (room)
		__sync_fetch_and_add(&room->used, change);
}

/* Takes a thread group out of the table. */
static __always_inline void ct_forget(__u32 tgid)
{
	struct ct_task *known = bpf_map_lookup_elem(&ct_groups, &tgid);
	bool counted = known && !(known->role & CT_ROLE_BY_HAND);

	if (known && !bpf_map_delete_elem(&ct_groups, &tgid) && counted)
		ct_count(-1);
}

/*
 * What a child process of this one is, or a thread of one that is guarded.
 *
 * SECURITY: only threads are the agent. A child has its memory and descriptors until it executes a
 * program, so it is guarded until then, and nothing after.
 */
static __always_inline struct ct_task ct_as_child(struct ct_task *parent)
{
	struct ct_task child = { .group = parent->group };

	child.role = parent->role & CT_ROLES_TRUSTED ? CT_ROLE_GUARDED | CT_ROLE_UNTIL_EXEC :
						       parent->role & ~CT_ROLE_BY_HAND;
	return child;
}

CT_HOOK(task_alloc, struct task_struct *task, unsigned long clone_flags)
{
	struct ct_task *parent = ct_current();
	struct ct_task *child;

	if (!parent)
		return 0;
	/*
	 * What is not in the table can be read by its number: better no child. The agent's own are few,
	 * and what it is for must not end with a table that somebody else filled.
	 */
	if (!(clone_flags & CLONE_THREAD) && !(parent->role & CT_ROLES_TRUSTED) && !ct_has_room()) {
		ct_deny(CT_HOOK_TASK_ALLOC, 0);
		return -EAGAIN;
	}
	/* SECURITY: trust is in the table alone, out of which an exec takes it without fail. */
	if (parent->role & CT_ROLES_TRUSTED && clone_flags & CLONE_THREAD)
		return 0;
	child = bpf_task_storage_get(&ct_tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	/*
	 * KERNEL: where it preempts, there is none to be had while somebody else on this processor is
	 * in there. The child is in the table before it runs, and its parent stands for it until then.
	 */
	if (child)
		*child = ct_as_child(parent);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(ct_sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct ct_task *known = bpf_task_storage_get(&ct_tasks, child, 0, 0);
	struct ct_task copy;
	__u32 tgid;

	/* A thread's group is there already. */
	if (child->pid != child->tgid)
		return 0;
	if (known) {
		copy = *known;
	} else {
		known = ct_task_of(parent);
		if (!known)
			return 0;
		copy = ct_as_child(known);
	}
	tgid = child->tgid;
	if (bpf_map_update_elem(&ct_groups, &tgid, &copy, BPF_ANY))
		ct_report(CT_EVENT_TABLE_FULL, CT_HOOK_TASK_ALLOC, tgid);
	else
		ct_count(1);
	return 0;
}

/*
 * Whoever executed the agent's own file may take over: root, untraced, with no filter on its
 * system calls, in a process that is nothing yet. The tracepoint comes after the point of no
 * return: the memory is the file's, and nothing of it has run.
 */
static __always_inline void ct_make_heir(struct task_struct *task, __u32 tgid)
{
	struct ct_task heir = {
		.group = CT_GROUP_AGENT,
		.role = CT_ROLE_GUARDED | CT_ROLE_HEIR | CT_ROLE_BY_HAND,
	};

	if (task->ptrace || task->seccomp.mode || (__u32)bpf_get_current_uid_gid())
		return;
	/* SECURITY: not into its storage, which an exec cannot always take away: see task_alloc. */
	bpf_map_update_elem(&ct_groups, &tgid, &heir, BPF_ANY);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(ct_sched_process_exec, struct task_struct *task)
{
	struct ct_task *known = bpf_task_storage_get(&ct_tasks, task, 0, 0);
	bool agents = ct_runs(task) & CT_FILE_AGENT;
	__u32 leaving = CT_ROLE_UNTIL_EXEC | (agents ? 0 : CT_ROLES_TRUSTED);
	/* Numbers, not pointers: clang would or two pointers, which the verifier forbids. */
	__u32 by_task = known ? known->role : 0;
	__u32 tgid = task->tgid;
	__u32 by_group;

	/* Each for itself: the agent may be writing a new mark at this moment. */
	if (known && by_task & leaving) {
		known->role = 0; /* it may be kept from going, as in task_alloc */
		bpf_task_storage_delete(&ct_tasks, task);
	}
	known = bpf_map_lookup_elem(&ct_groups, &tgid);
	by_group = known ? known->role : 0;
	if (by_group & leaving)
		ct_forget(tgid);
	if (agents && !by_task && !by_group)
		ct_make_heir(task, tgid);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(ct_sched_process_exit, struct task_struct *task)
{
	__u32 tgid = task->tgid;

	/* The last thread is through exit_mm by now: there is nothing left to guard. */
	if (task->signal->live.counter == 0) {
		ct_forget(tgid);
		ct_leave_image(tgid);
	}
	return 0;
}
