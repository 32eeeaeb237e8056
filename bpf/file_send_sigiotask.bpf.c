/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies signals to the agent that a file sends (F_SETOWN with F_SETSIG, leases, dnotify): root
 * chooses receiver and signal, SIGKILL and SIGSTOP too, and task_kill is not asked.
 *
 * Nothing is said of who did it: it comes in whatever context the file became ready in.
 */
CT_HOOK(file_send_sigiotask, struct task_struct *task, struct fown_struct *owner, int signal)
{
	struct ct_task *target = ct_target(task);

	if (target && target->role & CT_ROLE_AGENT)
		return ct_deny_silently(CT_HOOK_FILE_SEND_SIGIOTASK);
	return 0;
}
