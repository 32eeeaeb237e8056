/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The same verdict when a file is mapped: /dev/mem that was opened earlier. */
CT_HOOK(mmap_file, struct file *file)
{
	struct ct_finding finding;

	if (!file)
		return 0;
	finding = ct_judge_file(file, CT_ACCESS_READ | CT_ACCESS_WRITE);
	return finding.denied ? ct_deny(CT_HOOK_MMAP_FILE, finding.target_tgid) : 0;
}
