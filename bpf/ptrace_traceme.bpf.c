/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies a guarded process offering itself to a parent that is not of its tree: a debugger that
 * forks, calls PTRACE_TRACEME in the child and executes the program there.
 */
CT_HOOK(ptrace_traceme, struct task_struct *parent)
{
	struct ct_task *target = ct_current();
	struct ct_task *actor;

	if (!target)
		return 0;
	actor = ct_task_of(parent);
	if (actor && actor->group == target->group)
		return 0;
	return ct_deny(CT_HOOK_PTRACE_TRACEME, bpf_get_current_pid_tgid() >> 32);
}
