/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies signals from outside to the agent, and those that would make a guarded process dump core.
 *
 * A signal that the process handles or blocks dumps nothing, so SIGQUIT still asks a web server to
 * stop and a JVM for its threads. Signals of the kernel itself (a fault, a terminal's ^C) do not
 * come here: signal_deliver sees what they would dump. Not seen: cgroup.kill and the OOM killer, which
 * do not ask.
 */

/*
 * What the process does with the signal. The place is worked out by hand: CO-RE moves fields, and
 * does not stretch an array to the size that its elements have in this kernel.
 */
static __always_inline __u64 ct_handler(struct task_struct *task, int signal)
{
	__u64 at = (__u64)BPF_CORE_READ(task, sighand) + bpf_core_field_offset(struct sighand_struct, action) +
		   (signal - 1) * bpf_core_type_size(struct k_sigaction) +
		   bpf_core_field_offset(struct k_sigaction, sa.sa_handler);
	__u64 handler = 0; /* stays so where it cannot be read, and the signal is denied */

	bpf_probe_read_kernel(&handler, sizeof(handler), (void *)at);
	return handler;
}

/*
 * Whether every thread holds the signal back, or waits for it by sigwait. One that does not gets it,
 * whichever thread was named, and dumps all of them. More threads than are looked at: no.
 */
#define CT_MOST_THREADS 4096

struct ct_walk {
	struct list_head *head, *node;
	__u64 bit;
	bool free; /* a thread does not hold it back */
};

static long ct_next_thread(__u32 number, struct ct_walk *walk)
{
	/* Apart, or CO-RE looks for struct ct_walk in the kernel. */
	struct list_head *node = walk->node;
	struct task_struct *thread;
	__u64 held;

	if (!node || node == walk->head)
		return 1;
	thread = (void *)node - bpf_core_field_offset(struct task_struct, thread_node);
	held = BPF_CORE_READ(thread, blocked.sig[0]) | BPF_CORE_READ(thread, real_blocked.sig[0]);
	walk->free = !(held & walk->bit);
	walk->node = BPF_CORE_READ(node, next);
	return walk->free;
}

static __always_inline bool ct_all_block(struct task_struct *task, int signal)
{
	struct list_head *head =
		(void *)CT_AT(task, signal) + bpf_core_field_offset(struct signal_struct, thread_head);
	struct ct_walk walk = { .head = head, .bit = 1ul << (signal - 1) };

	walk.node = BPF_CORE_READ(head, next);
	bpf_loop(CT_MOST_THREADS, ct_next_thread, &walk, 0);
	return !walk.free && walk.node == head;
}

static __always_inline bool ct_would_dump(struct task_struct *task, int signal)
{
	if (!ct_is_core_signal(signal))
		return false;
	if (ct_handler(task, signal)) /* not SIG_DFL */
		return false;
	return !ct_all_block(task, signal);
}

CT_HOOK(task_kill, struct task_struct *task, struct kernel_siginfo *info, int signal)
{
	struct ct_task *target = ct_target(task);

	if (!target || signal == 0 || signal == SIGCONT || ct_may_reach(target))
		return 0;
	if (target->role & CT_ROLE_AGENT) {
		/*
		 * runc and systemd may ask it to go, or a pod of the agent's that is deleted stays for ever,
		 * and its successor never comes. Whoever may run those may write to cgroup.kill.
		 */
		if (signal == SIGTERM && ct_is_loader())
			return 0;
		return ct_deny(CT_HOOK_TASK_KILL, CT_AT(task, tgid));
	}
	if (ct_would_dump(task, signal))
		return ct_deny_unless(ct_memory_of(target), CT_HOOK_TASK_KILL, CT_AT(task, tgid));
	return 0;
}
