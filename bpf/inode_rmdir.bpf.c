/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Denies removing a directory of pins, also an empty one: the agent's next pin goes there. */
CT_HOOK(inode_rmdir, struct inode *dir, struct dentry *dentry)
{
	if (!ct_is_pin(dentry) || ct_is_agent())
		return 0;
	return ct_deny(CT_HOOK_INODE_RMDIR, 0);
}
