/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies receiving a sealed file of another tree over a socket. The sender would have to be of the
 * tree that it belongs to: this stops an app that is led to hand its pages out.
 */
CT_HOOK(file_receive, struct file *file)
{
	return ct_is_others_seal(file) ? ct_deny(CT_HOOK_FILE_RECEIVE, 0) : 0;
}
