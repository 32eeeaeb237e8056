/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Denies a descriptor of one of our programs: without one, nobody replaces or extends it. */
CT_HOOK(bpf_prog, struct bpf_prog *prog)
{
	struct ct_object object = { .kind = CT_KIND_PROG, .id = CT_AT(prog, aux, id) };

	if (!bpf_map_lookup_elem(&ct_objects, &object) || ct_is_agent())
		return 0;
	return ct_deny(CT_HOOK_BPF_PROG, 0);
}
