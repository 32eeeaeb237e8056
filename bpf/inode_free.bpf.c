/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The kernel forgets an inode, by which nobody runs code any more: so does ct_code. */
SEC("fentry/security_inode_free")
int BPF_PROG(ct_inode_free, struct inode *inode)
{
	struct super_block *sb = CT_AT(inode, i_sb);
	struct ct_code_file key = {
		.inode = CT_AT(inode, i_ino),
		.generation = CT_AT(inode, i_generation),
	};

	/* Not ct_code_of: lockdown forbids what that reads by, and every set has this program. */
	if (!sb)
		return 0;
	key.device = CT_AT(sb, s_dev);
	bpf_map_delete_elem(&ct_code, &key);
	return 0;
}
