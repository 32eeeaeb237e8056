/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies opening what shows the memory of a guarded process or of the machine, and writing into a
 * listed loader. A package manager that renames a new file over it is not hindered: the new file
 * is not listed.
 *
 * Called before the file's own open method, so one place covers /proc/PID, task/TID and every
 * other mount of procfs. Not seen: O_PATH (which reads nothing).
 */
#define FMODE_WRITE 0x2

CT_HOOK(file_open, struct file *file)
{
	enum ct_access access = CT_ACCESS_READ;
	struct ct_finding finding;

	if (file->f_mode & FMODE_WRITE)
		access |= CT_ACCESS_WRITE;
	finding = ct_judge_file(file, access);
	if (access & CT_ACCESS_WRITE && ct_is_listed(file->f_inode))
		finding.denied = true;
	return finding.denied ? ct_deny(CT_HOOK_FILE_OPEN, finding.target_tgid) : 0;
}
