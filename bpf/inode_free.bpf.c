/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The kernel forgets an inode, by which nobody runs code any more: so does ct_code. */
SEC("fentry/security_inode_free")
int BPF_PROG(ct_inode_free, struct inode *inode)
{
	struct ct_code_file key = ct_code_of(inode);

	bpf_map_delete_elem(&ct_code, &key);
	return 0;
}
