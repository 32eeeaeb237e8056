/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * One verdict, three ways to be asked.
 *
 * CT_HOOK(X, args) { body } emits the body as lsm/X, which runs where `bpf` is among the active
 * LSMs, and as fmod_ret/security_X, which runs before the kernel's own function on every kernel
 * with BPF trampolines. Compiled with CT_PROBE it emits kprobe/security_X, which can refuse
 * nothing and ends whoever asked, with a signal that no process handles. The agent loads one of
 * the three.
 *
 * The verdicts before ours are not read: the trampoline ends its walk at the first denial, so
 * they are always 0 here. That also keeps the bodies independent of how many arguments a hook
 * has on this kernel.
 */
#ifndef CT_HOOK_H
#define CT_HOOK_H

#include <bpf/bpf_tracing.h>

#define SIGKILL 9

/* clang-format off */
#ifdef CT_PROBE
#define CT_HOOK(hook, args...)								\
static __always_inline int ct_##hook(unsigned long long *ctx, ##args);			\
											\
SEC("kprobe/security_" #hook)								\
int probe_##hook(struct pt_regs *regs)							\
{											\
	unsigned long long ctx[] = { regs->di, regs->si, regs->dx, regs->cx };		\
	int verdict;									\
											\
	_Pragma("GCC diagnostic push")							\
	_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")				\
	verdict = ct_##hook(___bpf_ctx_cast(args));					\
	_Pragma("GCC diagnostic pop")							\
	if (verdict)									\
		bpf_send_signal(SIGKILL);						\
	return 0;									\
}											\
											\
static __always_inline int ct_##hook(unsigned long long *ctx, ##args)
#else
#define CT_HOOK(hook, args...)								\
static __always_inline int ct_##hook(unsigned long long *ctx, ##args);			\
											\
SEC("lsm/" #hook)									\
int lsm_##hook(unsigned long long *ctx)							\
{											\
	_Pragma("GCC diagnostic push")							\
	_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")				\
	return ct_##hook(___bpf_ctx_cast(args));					\
	_Pragma("GCC diagnostic pop")							\
}											\
											\
SEC("fmod_ret/security_" #hook)								\
int fmod_##hook(unsigned long long *ctx)						\
{											\
	_Pragma("GCC diagnostic push")							\
	_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")				\
	return ct_##hook(___bpf_ctx_cast(args));					\
	_Pragma("GCC diagnostic pop")							\
}											\
											\
static __always_inline int ct_##hook(unsigned long long *ctx, ##args)
#endif
/* clang-format on */

#endif
