/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies loading BPF programs to everybody but listed loaders, of every type: more than tracing
 * programs may read a process's memory. Denies any handle on our own links by their ids.
 *
 * Attaching and running a program that is loaded already is denied to the same: it may have been
 * loaded before the agent, and handed on. Not seen: what attaches by other calls (a socket's filter,
 * a network device's, an event of perf that is open already).
 *
 * A pinned link is opened by its path, which no hook sees; the handle is good for nothing, since
 * the kernel detaches no link of these types, and detaching and updating are denied on top.
 */
static __always_inline bool ct_starts_program(int cmd)
{
	return cmd == BPF_PROG_LOAD || cmd == BPF_PROG_ATTACH || cmd == BPF_PROG_TEST_RUN ||
	       cmd == BPF_RAW_TRACEPOINT_OPEN || cmd == BPF_LINK_CREATE;
}

CT_HOOK(bpf, int cmd, union bpf_attr *attr)
{
	struct ct_object link = { .kind = CT_KIND_LINK };

	if (ct_starts_program(cmd)) {
		if (ct_is_agent() || ct_is_loader())
			return 0;
		return ct_deny_unless_node(CT_GRANT_TRACING, CT_HOOK_BPF);
	}
	if (cmd == BPF_LINK_UPDATE || cmd == BPF_LINK_DETACH) {
		if (ct_is_agent() || ct_is_loader())
			return 0;
		return ct_deny(CT_HOOK_BPF, 0);
	}
	if (cmd == BPF_LINK_GET_FD_BY_ID) {
		link.id = CT_AT(attr, link_id);
		if (bpf_map_lookup_elem(&ct_objects, &link) && !ct_is_agent())
			return ct_deny(CT_HOOK_BPF, 0);
	}
	return 0;
}
