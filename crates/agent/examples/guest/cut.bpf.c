/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Ends a process in the middle of what it does: at the last of so many removals of pins. The kernel
 * does not ask anybody whether it may send a signal itself, so this ends an agent too.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define SIGKILL 9
#define BPF_FS_MAGIC 0xcafe4a11

struct cut {
	__u32 tgid;
	__u32 left; /* 0: not at all */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cut);
} cuts SEC(".maps");

SEC("kprobe/security_inode_unlink")
int cut_unlink(struct pt_regs *regs)
{
	struct inode *folder = (void *)regs->di;
	__u32 zero = 0;
	struct cut *cut = bpf_map_lookup_elem(&cuts, &zero);

	if (BPF_CORE_READ(folder, i_sb, s_magic) != BPF_FS_MAGIC)
		return 0;
	if (!cut || !cut->left || cut->tgid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	cut->left -= 1;
	if (!cut->left)
		bpf_send_signal(SIGKILL);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
