/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Numbers of signals, and those that dump core where nobody handles them. */
#ifndef CT_SIGNAL_H
#define CT_SIGNAL_H

#define SIGQUIT 3
#define SIGILL 4
#define SIGTRAP 5
#define SIGABRT 6
#define SIGBUS 7
#define SIGFPE 8
#define SIGSEGV 11
#define SIGTERM 15
#define SIGCONT 18
#define SIGXCPU 24
#define SIGXFSZ 25
#define SIGSYS 31

static const __u32 ct_core_signals = 1u << SIGQUIT | 1u << SIGILL | 1u << SIGTRAP | 1u << SIGABRT |
				     1u << SIGBUS | 1u << SIGFPE | 1u << SIGSEGV | 1u << SIGXCPU |
				     1u << SIGXFSZ | 1u << SIGSYS;

static __always_inline bool ct_is_core_signal(int signal)
{
	return signal >= SIGQUIT && signal <= SIGSYS && ct_core_signals & 1u << signal;
}

#endif
