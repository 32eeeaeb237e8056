/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies opening what shows the memory of a guarded process or of the machine, and writing into a
 * listed loader, the agent's file, or what guarded processes run. A package manager that renames a
 * new file over it is not hindered: the new file is another one. An overlay opens the layer's file
 * by itself, and comes here a second time with it.
 *
 * Called before the file's own open method, so one place covers /proc/PID, task/TID and every
 * other mount of procfs. Not seen: O_PATH (which reads nothing).
 */
/*
 * The agent opens a directory of its pins by the host's mount, once: sb_umount then knows what to
 * keep. Never again, since whoever may take over runs in whatever mounts its starter chose.
 */
static __always_inline void ct_learn_mount(struct file *file)
{
	struct ct_loader key = {};
	struct ct_task *actor;
	__u32 zero = 0;
	__u64 *known;

	/* First what nearly no file is: every open of the node comes here. */
	if (CT_AT(file, f_inode, i_sb, s_magic) != BPF_FS_MAGIC)
		return;
	if ((CT_AT(file, f_inode, i_mode) & S_IFMT) != S_IFDIR ||
	    !ct_key(CT_AT(file, f_inode), &key))
		return;
	actor = ct_current();
	if (!actor || !(actor->role & CT_ROLE_AGENT))
		return;
	known = bpf_map_lookup_elem(&ct_mount, &zero);
	if (known && !*known && bpf_map_lookup_elem(&ct_pins, &key))
		*known = (__u64)BPF_CORE_READ(file, f_path.mnt);
}

/*
 * KERNEL: swapon passes no hook but that of opening what it is given. A caller under a tracer cannot
 * be called something else here: nothing between its entry and this stops for a tracer.
 */
#define CT_SWAPON 167
#define CT_SWAPON_32 87 /* of 64 bits: unlink, which opens nothing */
#define CT_X32 0x40000000

static __always_inline bool ct_is_swapon(void)
{
#ifdef CT_PROBE
	return false; /* before Linux 5.15 nothing says which call it is */
#else
	struct pt_regs *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	__u32 call = regs->orig_ax & ~CT_X32;

	return call == CT_SWAPON || call == CT_SWAPON_32;
#endif
}

/* Whether memory would be written to somewhere new, where other names lead to as well. */
static __always_inline bool ct_is_more_swap(void)
{
	__u32 all = 0;
	__u32 *marks;

	if (!ct_is_swapon())
		return false;
	marks = bpf_map_lookup_elem(&ct_devices, &all);
	return marks && *marks & CT_DEVICE_FOLLOWED;
}

CT_HOOK(file_open, struct file *file)
{
	enum ct_access access = CT_ACCESS_READ | CT_ACCESS_OPEN;
	struct ct_finding finding;

	if (CT_AT(file, f_mode) & FMODE_WRITE)
		access |= CT_ACCESS_WRITE;
	ct_learn_mount(file);
	finding = ct_judge_file(file, access);
	if (access & CT_ACCESS_WRITE && !finding.denied && ct_is_more_swap()) {
		finding.denied = true;
		finding.grant.kind = CT_GRANT_DEVICES;
	}
	if (access & CT_ACCESS_WRITE &&
	    (ct_marks(CT_AT(file, f_inode)) || ct_is_running(CT_AT(file, f_inode)) ||
	     ct_is_others_code(CT_AT(file, f_inode)))) {
		finding.denied = true;
		finding.grant.kind = CT_GRANT_NONE;
	}
	return ct_answer(finding, CT_HOOK_FILE_OPEN);
}
