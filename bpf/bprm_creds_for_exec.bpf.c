/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Executes listed loaders and the agent as the kernel executes set-user-ID programs (AT_SECURE), so that
 * LD_PRELOAD and its like do not put somebody else's code into them.
 *
 * As a security module only: bpf_bprm_opts_set is not there for fmod_ret. The agent names that
 * among its doubts when loaders are listed.
 */
SEC("lsm/bprm_creds_for_exec")
int BPF_PROG(lsm_bprm_creds_for_exec, struct linux_binprm *bprm)
{
	if (ct_marks(bprm->file->f_inode))
		bpf_bprm_opts_set(bprm, BPF_F_BPRM_SECUREEXEC);
	return 0;
}
