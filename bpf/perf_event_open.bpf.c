/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies perf events to everybody but listed loaders: a sampler copies stacks, and a uprobe on a
 * file runs in every process that executes it, whichever process was named.
 *
 * KERNEL: 6.1 calls this with (attr, type), 6.12 with (type); no argument is read.
 */
CT_HOOK(perf_event_open)
{
	if (ct_is_agent() || ct_is_loader())
		return 0;
	return ct_deny_unless_node(CT_GRANT_TRACING, CT_HOOK_PERF_EVENT_OPEN);
}
