/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies removing a pin or the agent's file, by whichever name and mount. Not seen: writes to the
 * block device below a file system; a pin has none.
 */
CT_HOOK(inode_unlink, struct inode *dir, struct dentry *dentry)
{
	if (!ct_is_pin(dentry) || ct_is_agent())
		return 0;
	return ct_deny(CT_HOOK_INODE_UNLINK, 0);
}
