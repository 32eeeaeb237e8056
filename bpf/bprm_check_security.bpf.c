/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Recognises programs that are listed by their content, as they are executed: those of images,
 * whose device is another one at each start and whose inode at each update. Only a file of a
 * listed one's size is looked into, so that all others cost one look at a table.
 *
 * The content is IMA's hash of it, which the kernel makes without a policy of IMA's. It is worth
 * something where only this kernel answers for what the file has from then on: on file systems
 * that the agent named (not FUSE, not a loop device that root made), with nobody writing to it,
 * and written by nobody as long as it runs (file_open). Behind an overlay it is the layer's own
 * file that counts. Started under a tracer nothing is what it looks like.
 *
 * Called once for a script and once for its interpreter; the last one is what runs. Executes what
 * is listed as the kernel executes set-user-ID programs (AT_SECURE), so that LD_PRELOAD and its like do not
 * put somebody else's code into it.
 *
 * As a security module only: neither helper is there for fmod_ret. Not seen: which libraries a
 * program is linked with, so that only static ones are worth listing by content.
 */
/* KERNEL: HASH_ALGO_SHA256 of uapi/linux/hash_info.h. */
#define HASH_ALGO_SHA256 4

static __always_inline __u32 ct_look_at(struct file *file, struct ct_image *image)
{
	struct inode *real = ct_behind(file);
	__u32 device = BPF_CORE_READ(real, i_sb, s_dev);

	if (!bpf_map_lookup_elem(&ct_homes, &device))
		return CT_LOOK_ELSEWHERE;
	if (BPF_CORE_READ(real, i_writecount.counter) > 0 || file->f_inode->i_writecount.counter > 0)
		return CT_LOOK_WRITTEN;
	if (ct_this_task()->ptrace)
		return CT_LOOK_TRACED;
	image->inode = (__u64)file->f_inode;
	image->file.inode = BPF_CORE_READ(real, i_ino);
	image->file.device = device;
	return ct_enter_image(bpf_get_current_pid_tgid() >> 32, image) ? CT_LOOK_LISTED : CT_LOOK_FULL;
}

/*
 * A listed file that is executed under a tracer is no loader as long as it runs: whoever traced it
 * may have let go of it by the time that it loads something.
 */
static __always_inline int ct_taint(struct file *file)
{
	struct ct_image image = { .inode = (__u64)file->f_inode };
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	ct_leave_image(tgid);
	if (!ct_this_task()->ptrace)
		return 0;
	return bpf_map_update_elem(&ct_images, &tgid, &image, BPF_ANY) ? -EPERM : 0;
}

SEC("lsm.s/bprm_check_security")
int BPF_PROG(lsm_bprm_check_security, struct linux_binprm *bprm)
{
	struct file *file = bprm->file;
	__u64 size = file->f_inode->i_size;
	struct ct_content content = {};
	struct ct_image image = {};
	__u32 listed, look;
	__u32 *marks;

	listed = ct_marks(file->f_inode);
	if (listed) /* as the interpreter of a script, too */
		bpf_bprm_opts_set(bprm, BPF_F_BPRM_SECUREEXEC);
	if (listed & CT_FILE_LOADER)
		return ct_taint(file);
	if (!bpf_map_lookup_elem(&ct_sizes, &size))
		return 0;
	if (bpf_ima_file_hash(file, &content, sizeof(content)) != HASH_ALGO_SHA256) {
		ct_count_look(CT_LOOK_NO_HASH);
		return 0;
	}
	marks = bpf_map_lookup_elem(&ct_contents, &content);
	if (!marks) {
		ct_count_look(CT_LOOK_OTHER);
		return 0;
	}
	if (*marks & CT_CONTENT_PROOF)
		ct_count_look(CT_LOOK_PROOF);
	if (!(*marks & CT_CONTENT_LOADER))
		return 0;
	ct_leave_image(bpf_get_current_pid_tgid() >> 32);
	look = ct_look_at(file, &image);
	ct_count_look(look);
	if (look == CT_LOOK_LISTED)
		bpf_bprm_opts_set(bprm, BPF_F_BPRM_SECUREEXEC);
	return 0;
}
