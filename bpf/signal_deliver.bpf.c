/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Ends a guarded process that is about to dump core, by a signal that dumps none: where a core goes,
 * and to which program, is for root to say, and so is many a fault (a file that is mapped and cut
 * short, a terminal's ^\, a signal of a file, a page that is called broken).
 *
 * KERNEL: the tracepoint comes with the process's lock held, so the signal is sent as soon as the
 * lock is let go, before the kernel begins to dump: it then finds a process that ends, and writes
 * nothing. With real-time preemption it may come later, and cuts the dump short.
 */
#define CT_DUMPABLE 3 /* KERNEL: of mm->flags: who may dump, 0 for nobody */

static __always_inline bool ct_is_dumpable(struct task_struct *task)
{
	struct mm_struct *mm = CT_AT(task, mm);

	if (!mm)
		return false;
	if (!bpf_core_field_exists(mm->flags))
		return true;
	return CT_AT(mm, flags) & CT_DUMPABLE;
}

static __always_inline int ct_keep_core(int signal, void *handler)
{
	struct ct_task *known;
	__u32 tgid;

	if (handler || !ct_is_core_signal(signal)) /* SIG_DFL is no handler */
		return 0;
	known = ct_current();
	if (!known || !ct_is_dumpable(ct_this_task()))
		return 0;
	tgid = bpf_get_current_pid_tgid() >> 32;
	if (ct_in_force(ct_memory_of(known))) {
		ct_report(CT_EVENT_GRANTED, CT_HOOK_SIGNAL_DELIVER, tgid);
		return 0;
	}
	bpf_send_signal(SIGKILL);
	ct_deny(CT_HOOK_SIGNAL_DELIVER, tgid);
	return 0;
}

#ifdef CT_PROBE
SEC("raw_tp/signal_deliver")
int ct_probe_signal_deliver(struct bpf_raw_tracepoint_args *ctx)
{
	return ct_keep_core(ctx->args[0], CT_AT((struct k_sigaction *)ctx->args[2], sa.sa_handler));
}
#else
SEC("tp_btf/signal_deliver")
int BPF_PROG(ct_signal_deliver, int signal, struct kernel_siginfo *info, struct k_sigaction *action)
{
	return ct_keep_core(signal, action->sa.sa_handler);
}
#endif
