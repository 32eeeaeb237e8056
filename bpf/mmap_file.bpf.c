/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The same verdict when a file is mapped: /dev/mem that was opened earlier, a sealed file of another
 * tree, and code for a guarded process that somebody can write at this moment.
 *
 * Not seen: code that is mapped as data first (mprotect), which loaders do not do.
 */
CT_HOOK(mmap_file, struct file *file, unsigned long prot)
{
	enum ct_access access = CT_ACCESS_READ;

	if (!file)
		return 0;
	if (ct_is_others_seal(file))
		return ct_deny(CT_HOOK_MMAP_FILE, 0);
	ct_own_seal(file);
	if (prot & PROT_EXEC && !ct_may_run(file))
		return ct_deny(CT_HOOK_MMAP_FILE, 0);
	if (CT_AT(file, f_mode) & FMODE_WRITE) /* a mapping can be made writable later */
		access |= CT_ACCESS_WRITE;
	return ct_answer(ct_judge_file(file, access), CT_HOOK_MMAP_FILE);
}
