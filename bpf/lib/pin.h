/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The pins that keep the programs attached when the agent is gone: who may take them away. Known
 * by inode and superblock. The agent's own file is one of them, since without it nobody can take
 * over, and since its inode number must not become another file's.
 */
#ifndef CT_PIN_H
#define CT_PIN_H

#include "report.h"
#include "task.h"

static __always_inline bool ct_is_pin(struct dentry *dentry)
{
	struct ct_loader key = {};
	__u32 *marks;

	if (!ct_key(dentry->d_inode, &key))
		return false; /* a name that is free */
	if (bpf_map_lookup_elem(&ct_pins, &key))
		return true;
	marks = bpf_map_lookup_elem(&ct_loaders, &key);
	return marks && *marks & CT_FILE_AGENT;
}

#endif
