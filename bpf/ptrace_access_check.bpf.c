/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies attaching to a guarded process: ptrace, process_vm_readv and writev, pidfd_getfd,
 * perf events on it, /proc/PID/mem, setns.
 *
 * Only the ATTACH class. The READ class stays open, since node software must be able to read
 * links such as /proc/PID/exe and ns/ *; the files of procfs in that class that do show memory
 * are closed in file_open. Of the READ class, kcmp, get_robust_list, move_pages and reopening
 * /proc/PID/fd/N are left.
 *
 * Attaching to a listed loader or to whoever runs the agent's file is denied as well, or root would make it load what it likes; the
 * processes that it starts are other programs, and may be attached to.
 */
#define PTRACE_MODE_ATTACH 0x02
#define PTRACE_MODE_NOAUDIT 0x04

CT_HOOK(ptrace_access_check, struct task_struct *child, unsigned int mode)
{
	struct ct_grant_key key = {};
	struct ct_task *target;

	if (!(mode & PTRACE_MODE_ATTACH))
		return 0;
	target = ct_target(child);
	if (target ? ct_may_reach(target) : !ct_runs(child) && !ct_runs_content(child))
		return 0;
	if (target) /* a listed loader is nobody's to attach to */
		key = ct_memory_of(target);
	if (mode & PTRACE_MODE_NOAUDIT) /* asks whether it might, as ps does */
		return ct_is_granted(key) ? 0 : ct_deny_silently(CT_HOOK_PTRACE_ACCESS_CHECK);
	return ct_deny_unless(key, CT_HOOK_PTRACE_ACCESS_CHECK, CT_AT(child, tgid));
}
