/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Another product on hooks that the agent uses too: refuses programs to open what is called
 * `forbidden`, and counts who attaches to whom; in both ways to be asked. And tracers that copy what
 * processes write, or the string that a function of theirs is given, as policies of Tetragon with a
 * buffer or a string for an argument do; one of them is reached by a table of tail calls alone, as
 * all of Tetragon's are.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

#define COPIED 64

/* What the process of this number wrote last. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, char[COPIED]);
} copied SEC(".maps");

static __always_inline int second_file(struct file *file)
{
	char name[16] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(file, f_path.dentry, d_name.name));
	return bpf_strncmp(name, 10, "forbidden") == 0 ? -1 : 0;
}

static __always_inline int second_count(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&seen, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(second_file_open, struct file *file)
{
	return second_file(file);
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(second_ptrace, struct task_struct *child, unsigned int mode)
{
	return second_count();
}

SEC("fmod_ret/security_file_open")
int BPF_PROG(second_front_file, struct file *file)
{
	return second_file(file);
}

SEC("fmod_ret/security_ptrace_access_check")
int BPF_PROG(second_front_ptrace, struct task_struct *child, unsigned int mode)
{
	return second_count();
}

static __always_inline int second_copy(const void *from)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	char text[COPIED] = {};

	bpf_probe_read_user(text, sizeof(text), from);
	bpf_map_update_elem(&copied, &tgid, text, BPF_ANY);
	return 0;
}

/* struct trace_event_raw_sys_enter: the arguments begin at 16; the second one is the buffer. */
SEC("tracepoint/syscalls/sys_enter_write")
int second_tracer(unsigned long *context)
{
	return second_copy((const void *)context[3]);
}

SEC("uprobe")
int second_uprobe(struct pt_regs *regs)
{
	return second_copy((const void *)regs->di);
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} landings SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_write")
int second_jump(unsigned long *context)
{
	bpf_tail_call(context, &landings, 0);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_write")
int second_landing(unsigned long *context)
{
	return second_copy((const void *)context[3]);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
