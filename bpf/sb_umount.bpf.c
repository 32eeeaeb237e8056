/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies unmounting the host's mount of the file system that holds the pins, and every mount that
 * it stands on: a lazy umount takes those on top along without asking for them. The walk starts at
 * our mount, so moving it under another one does not help.
 *
 * Other mounts of the same file system may go: ours keeps it alive. Not seen: the end of a mount
 * namespace, and mounts over ours, which hide the pins and leave them in force.
 */
#define CT_MOST_MOUNTS 32

CT_HOOK(sb_umount, struct vfsmount *mnt)
{
	__u32 offset = bpf_core_field_offset(struct mount, mnt);
	struct mount *mount, *parent;
	__u32 zero = 0;
	__u64 *known;
	int depth;

	known = bpf_map_lookup_elem(&ct_mount, &zero);
	if (!known || !*known || ct_is_agent())
		return 0;
	mount = (void *)(*known - offset);
	for (depth = 0; depth < CT_MOST_MOUNTS; depth++) {
		if ((__u64)mount + offset == (__u64)mnt)
			return ct_deny(CT_HOOK_SB_UMOUNT, 0);
		parent = BPF_CORE_READ(mount, mnt_parent);
		if (parent == mount)
			break;
		mount = parent;
	}
	return 0;
}
