/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Files that are as good as memory: code, and memfds.
 *
 * Code that guarded processes run is pages of files: whoever writes into the file of a
 * program or a library changes what the process does next. The kernel refuses that for the
 * program alone (ETXTBSY), and not where an overlay shows it and the layer's own file is written.
 *
 * Two sides, each of which first says what it does and then looks at the other: who maps enters the
 * file here and then asks whether somebody has it open for writing; who opens it for writing is
 * counted by the kernel before file_open is called, and is then looked for here. So one of the two
 * is refused, however they race.
 *
 * A memfd has no name. Who opens one does so by /proc/PID/fd, where ls and lsof look as well; so a
 * look is free, and opening one that guarded processes use is for their own group.
 */
#ifndef CT_CODE_H
#define CT_CODE_H

#include "task.h"

#define S_IFMT 0170000
#define S_IFREG 0100000
#define PROT_EXEC 0x4
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define TMPFS_MAGIC 0x01021994
#define HUGETLBFS_MAGIC 0x958458f6
/* KERNEL: of s_flags: a file system that is mounted nowhere, as memfd's. */
#define SB_KERNMOUNT (1 << 22)
/* The kernel enters a mapping a moment after it has asked; a machine that is held still needs longer. */
#define CT_CODE_FRESH_NS (60ULL * 1000 * 1000 * 1000)

/* The file that holds the content: an overlay's own keeps it in private_data. */
static __always_inline struct inode *ct_behind(struct file *file)
{
	void *real;

	if (CT_AT(file, f_inode, i_sb, s_magic) != OVERLAYFS_SUPER_MAGIC)
		return BPF_CORE_READ(file, f_inode);
	real = BPF_CORE_READ(file, private_data);
	if (bpf_core_type_exists(struct ovl_file))
		real = BPF_CORE_READ((struct ovl_file *)real, realfile);
	return BPF_CORE_READ((struct file *)real, f_inode);
}

static __always_inline struct ct_code_file ct_code_of(struct inode *inode)
{
	return (struct ct_code_file){
		.inode = BPF_CORE_READ(inode, i_ino),
		.device = BPF_CORE_READ(inode, i_sb, s_dev),
		.generation = BPF_CORE_READ(inode, i_generation),
	};
}

/* Enters what a guarded process is about to run; false where there is no room. */
static __always_inline bool ct_enter_code(struct inode *inode, __u32 group)
{
	struct ct_code_file key = ct_code_of(inode);
	struct ct_code fresh = { .at_ns = bpf_ktime_get_boot_ns(), .group = group };
	struct ct_code *known;

	bpf_map_update_elem(&ct_code, &key, &fresh, BPF_NOEXIST);
	known = bpf_map_lookup_elem(&ct_code, &key);
	if (!known)
		return false;
	if (known->group != group)
		known->group = CT_GROUP_MANY;
	known->at_ns = fresh.at_ns;
	return true;
}

/* Whether a guarded process may map this file to run it. */
static __always_inline bool ct_may_run(struct file *file)
{
	struct ct_task *actor = ct_current();
	struct inode *inode;

	if (!actor)
		return true;
	inode = ct_behind(file);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return true;
	if (!ct_enter_code(inode, actor->group))
		return false;
	/* A memfd is written by who runs it: that is what compilers at run time do. */
	return BPF_CORE_READ(inode, i_writecount.counter) <= 0 ||
	       BPF_CORE_READ(inode, i_sb, s_flags) & SB_KERNMOUNT;
}

/*
 * Whether others run code of this file. An entry stays as long as the kernel knows the inode, so
 * one that nobody maps any more is let go.
 */
static __always_inline bool ct_is_others_code(struct inode *inode)
{
	struct ct_code_file key = ct_code_of(inode);
	struct ct_code *known = bpf_map_lookup_elem(&ct_code, &key);
	struct ct_task *actor;

	if (!known)
		return false;
	actor = ct_current();
	if (actor && actor->group == known->group)
		return false;
	return BPF_CORE_READ(inode, i_mapping, i_mmap.rb_root.rb_node) ||
	       bpf_ktime_get_boot_ns() - known->at_ns < CT_CODE_FRESH_NS;
}

#endif
