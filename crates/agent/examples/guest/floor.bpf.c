/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Programs that do nothing, on the hooks that every open, read and write of a node passes: what they
 * cost is the kernel's own way into a program and back, which no program of ours can be below.
 */
#include "vmlinux.h"

#include <bpf/bpf_helpers.h>

SEC("lsm/file_open")
int lsm_open(void *ctx)
{
	return 0;
}

SEC("lsm/file_permission")
int lsm_permission(void *ctx)
{
	return 0;
}

SEC("fmod_ret/security_file_open")
int fmod_open(void *ctx)
{
	return 0;
}

SEC("fmod_ret/security_file_permission")
int fmod_permission(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
