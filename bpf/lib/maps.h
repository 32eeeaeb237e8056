/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* All maps. Only the agent may have a descriptor of one: see bpf.bpf.c. */
#ifndef CT_MAPS_H
#define CT_MAPS_H

#ifndef CT_PROBE
/* Identity of a task, inherited in task_alloc, kept over exec, freed with the task. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ct_task);
} ct_tasks SEC(".maps");
#endif

/*
 * The same by thread group, for hooks that have a number and no task, and for threads of a
 * process that was marked while it ran.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
#ifndef CT_PROBE /* KERNEL: before 6.1 a probe may not take an entry from the allocator. */
	__uint(map_flags, BPF_F_NO_PREALLOC);
#endif
	__uint(max_entries, 65536); /* pid_max of most nodes is larger; overflow is reported */
	__type(key, __u32);
	__type(value, struct ct_task);
} ct_groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct ct_object);
	__type(value, __u32);
} ct_objects SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct ct_loader);
	__type(value, __u32);
} ct_loaders SEC(".maps");

/* Programs that are listed by their content, as those in images are: enum ct_content_mark, or-ed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct ct_content);
	__type(value, __u32);
} ct_contents SEC(".maps");

/* Their sizes: only files of such a size are looked into. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
} ct_sizes SEC(".maps");

/* File systems of the node, by device, whose content only this kernel answers for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} ct_homes SEC(".maps");

/* Processes whose program was recognised by its content. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct ct_image);
} ct_images SEC(".maps");

/* How many processes run such a file: as long as there is one, nobody writes there. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct ct_loader);
	__type(value, __s64);
} ct_running SEC(".maps");

/* What came of looking at contents: enum ct_look. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CT_LOOK_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} ct_looks SEC(".maps");

/* Inodes of our pins and of their directories. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct ct_loader);
	__type(value, __u32);
} ct_pins SEC(".maps");

/* The host's mount of the file system that holds the pins, as a kernel address; 0 until it is known. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} ct_mount SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ct_control);
} ct_control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ct_stamp);
} ct_stamp SEC(".maps");

/* The attack before anything was attached, as the agent wrote it: the measure for its successors. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 8192);
} ct_proof SEC(".maps");

/* Orders that were taken, by whom and what they open. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct ct_grant_key);
	__type(value, struct ct_grant);
} ct_grants SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ct_authority);
} ct_authority SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ct_room);
} ct_room SEC(".maps");

/* Block devices that are kept, by number: enum ct_device_mark, or-ed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} ct_devices SEC(".maps");

/* Where guarded processes may connect to, where that is limited. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct ct_net);
	__type(value, struct ct_ports);
} ct_egress SEC(".maps");

/*
 * Sealed files, by inode, and the group that mapped them first. A file that falls out, as the
 * longest unused of so many, can be handed on again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __u32);
} ct_sealed SEC(".maps");

/* Files that guarded processes run code of, until the kernel forgets the inode. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
#ifndef CT_PROBE /* KERNEL: as in ct_groups. */
	__uint(map_flags, BPF_F_NO_PREALLOC);
#endif
	__uint(max_entries, 32768);
	__type(key, struct ct_code_file);
	__type(value, struct ct_code);
} ct_code SEC(".maps");

/* Denials per hook. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CT_HOOK_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} ct_denials SEC(".maps");

/* Reports that found no room, in one number. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} ct_lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} ct_events SEC(".maps");

#endif
