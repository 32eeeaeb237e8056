/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Identity where there are no trampolines: by thread group alone, in raw tracepoints, which see
 * each fork before the child runs. They can refuse none: a table that is full is reported.
 */
SEC("raw_tp/sched_process_fork")
int ct_probe_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0];
	struct task_struct *child = (void *)ctx->args[1];
	__u32 from = CT_AT(parent, tgid);
	__u32 to = CT_AT(child, tgid);
	struct ct_task *known = bpf_map_lookup_elem(&ct_groups, &from);
	struct ct_task copy;

	if (!known || from == to) /* a thread has its process's entry */
		return 0;
	copy = *known;
	/* SECURITY: as in task_alloc: only threads are the agent. */
	if (copy.role & CT_ROLES_TRUSTED)
		copy.role = CT_ROLE_GUARDED | CT_ROLE_UNTIL_EXEC;
	if (bpf_map_update_elem(&ct_groups, &to, &copy, BPF_ANY))
		ct_report(CT_EVENT_TABLE_FULL, CT_HOOK_TASK_ALLOC, to);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int ct_probe_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	__u32 leaving = CT_ROLE_UNTIL_EXEC | CT_ROLES_TRUSTED;
	__u32 tgid = CT_AT(task, tgid);
	struct ct_task *known = bpf_map_lookup_elem(&ct_groups, &tgid);

	/* Nobody takes over in this tier, so whatever the agent executes is not the agent. */
	if (known && known->role & leaving)
		bpf_map_delete_elem(&ct_groups, &tgid);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int ct_probe_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	__u32 tgid = CT_AT(task, tgid);

	if (CT_AT(task, signal, live.counter) == 0)
		bpf_map_delete_elem(&ct_groups, &tgid);
	return 0;
}

/* See inode_free.bpf.c. */
SEC("kprobe/security_inode_free")
int ct_probe_inode_free(struct pt_regs *regs)
{
	struct ct_code_file key = ct_code_of((struct inode *)regs->di);

	bpf_map_delete_elem(&ct_code, &key);
	return 0;
}
