/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The same verdict at each read and write, for files that were opened before the agent started or
 * before the process was marked. Not seen: mappings that were made earlier.
 */
#define MAY_WRITE 0x2

CT_HOOK(file_permission, struct file *file, int mask)
{
	enum ct_access access = mask & MAY_WRITE ? CT_ACCESS_WRITE : CT_ACCESS_READ;

	return ct_answer(ct_judge_file(file, access), CT_HOOK_FILE_PERMISSION);
}
