/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sealed files (memfd_secret) and whose they are: of the group that mapped them first. The kernel
 * tells no hook of their making, and nobody else has a descriptor of one until it is handed on.
 */
#ifndef CT_SEAL_H
#define CT_SEAL_H

#include "task.h"

#define SECRETMEM_MAGIC 0x5345434d

static __always_inline bool ct_is_others_seal(struct file *file)
{
	struct ct_task *actor;
	__u64 inode;
	__u32 *owner;

	if (CT_AT(file, f_inode, i_sb, s_magic) != SECRETMEM_MAGIC)
		return false;
	inode = CT_AT(file, f_inode, i_ino);
	owner = bpf_map_lookup_elem(&ct_sealed, &inode);
	actor = ct_current();
	if (owner)
		return !actor || actor->group != *owner;
	return false;
}

/* The first guarded process that maps a sealed file owns it. */
static __always_inline void ct_own_seal(struct file *file)
{
	struct ct_task *actor;
	__u64 inode;
	__u32 group;

	if (CT_AT(file, f_inode, i_sb, s_magic) != SECRETMEM_MAGIC)
		return;
	actor = ct_current();
	if (!actor)
		return;
	inode = CT_AT(file, f_inode, i_ino);
	group = actor->group;
	bpf_map_update_elem(&ct_sealed, &inode, &group, BPF_NOEXIST);
}

#endif
