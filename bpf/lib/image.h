/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Processes of programs that are known by their content: entered as they are executed. */
#ifndef CT_IMAGE_H
#define CT_IMAGE_H

#include "maps.h"
#include "task.h"

static __always_inline void ct_count_look(__u32 look)
{
	__u64 *count = bpf_map_lookup_elem(&ct_looks, &look);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* Takes a process out again: it ended, or becomes something else. */
static __always_inline void ct_leave_image(__u32 tgid)
{
	struct ct_image *image = bpf_map_lookup_elem(&ct_images, &tgid);
	struct ct_loader file;
	__s64 *count;

	if (!image)
		return;
	file = image->file;
	if (bpf_map_delete_elem(&ct_images, &tgid))
		return;
	count = bpf_map_lookup_elem(&ct_running, &file);
	if (count)
		__sync_fetch_and_add(count, -1);
}

/* Enters it; false where there is no room. */
static __always_inline bool ct_enter_image(__u32 tgid, struct ct_image *image)
{
	__s64 none = 0;
	__s64 *count;

	bpf_map_update_elem(&ct_running, &image->file, &none, BPF_NOEXIST);
	count = bpf_map_lookup_elem(&ct_running, &image->file);
	if (!count)
		return false;
	__sync_fetch_and_add(count, 1);
	if (!bpf_map_update_elem(&ct_images, &tgid, image, BPF_ANY))
		return true;
	__sync_fetch_and_add(count, -1);
	return false;
}

#endif
