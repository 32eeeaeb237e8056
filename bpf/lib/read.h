/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * How a program follows a pointer of the kernel's: CT_AT(file, f_inode, i_ino) is
 * file->f_inode->i_ino.
 *
 * On a trampoline the verifier knows the types, and pointers are followed one by one, which
 * lockdown allows. A kprobe has numbers in registers, and reads each with a helper.
 */
#ifndef CT_READ_H
#define CT_READ_H

#include <bpf/bpf_core_read.h>

#ifdef CT_PROBE
#define CT_AT(from, fields...) BPF_CORE_READ(from, ##fields)
#define ct_this_task() ((struct task_struct *)bpf_get_current_task())
#else
#define CT_AT(from, fields...) ___arrow(from, ##fields)
#define ct_this_task() bpf_get_current_task_btf()
#endif

#endif
