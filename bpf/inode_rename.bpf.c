/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies moving a pin, its directory or the agent's file away, and renaming something over it. An
 * exchange is asked for in both directions.
 */
CT_HOOK(inode_rename, struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir,
	struct dentry *new_dentry)
{
	if (!ct_is_pin(old_dentry) && !ct_is_pin(new_dentry))
		return 0;
	if (ct_is_agent())
		return 0;
	return ct_deny(CT_HOOK_INODE_RENAME, 0);
}
