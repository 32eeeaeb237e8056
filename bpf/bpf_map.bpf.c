/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies a descriptor of one of our maps: without one, nobody reads, updates or deletes.
 *
 * The hook sits where the kernel makes the descriptor, so it covers GET_FD_BY_ID and OBJ_GET.
 */
CT_HOOK(bpf_map, struct bpf_map *map)
{
	struct ct_object object = { .kind = CT_KIND_MAP, .id = CT_AT(map, id) };

	if (!bpf_map_lookup_elem(&ct_objects, &object) || ct_is_agent())
		return 0;
	return ct_deny(CT_HOOK_BPF_MAP, 0);
}
