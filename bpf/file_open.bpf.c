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

CT_HOOK(file_open, struct file *file)
{
	enum ct_access access = CT_ACCESS_READ | CT_ACCESS_OPEN;
	struct ct_finding finding;

	if (CT_AT(file, f_mode) & FMODE_WRITE)
		access |= CT_ACCESS_WRITE;
	ct_learn_mount(file);
	finding = ct_judge_file(file, access);
	if (access & CT_ACCESS_WRITE &&
	    (ct_marks(CT_AT(file, f_inode)) || ct_is_running(CT_AT(file, f_inode)) ||
	     ct_is_others_code(CT_AT(file, f_inode)))) {
		finding.denied = true;
		finding.grant.kind = CT_GRANT_NONE;
	}
	return ct_answer(finding, CT_HOOK_FILE_OPEN);
}
