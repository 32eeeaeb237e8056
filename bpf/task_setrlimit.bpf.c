/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies changing the limits of a guarded process from outside: a raised core size, or a processor
 * time of nothing, after which the kernel itself sends a signal that dumps core.
 */
CT_HOOK(task_setrlimit, struct task_struct *task)
{
	struct ct_task *target = ct_target(task);

	if (!target || ct_may_reach(target))
		return 0;
	return ct_deny_unless(ct_memory_of(target), CT_HOOK_TASK_SETRLIMIT, CT_AT(task, tgid));
}
