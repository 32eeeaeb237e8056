/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What an operator's order lets through. It is looked at only where the answer would be no, so it
 * costs nothing elsewhere.
 *
 * For root in the first PID namespace, and for nobody who is guarded: a container's root gets
 * nothing by it, nor does the agent's own attacker.
 */
#ifndef CT_GRANT_H
#define CT_GRANT_H

#include "report.h"
#include "task.h"

/* The grant, whoever may use it; 0 where there is none, or its time is over. */
static __always_inline struct ct_grant *ct_in_force(struct ct_grant_key key)
{
	struct ct_grant *grant;

	if (key.kind == CT_GRANT_NONE)
		return 0;
	grant = bpf_map_lookup_elem(&ct_grants, &key);
	return grant && grant->until_ns > bpf_ktime_get_boot_ns() ? grant : 0;
}

static __always_inline bool ct_is_granted(struct ct_grant_key key)
{
	struct ct_grant *grant = ct_in_force(key);
	struct pid *pid;

	if (!grant)
		return false;
	pid = CT_AT(ct_this_task(), thread_pid);
	if ((__u32)bpf_get_current_uid_gid() || !pid || CT_AT(pid, level) || ct_current())
		return false;
	__sync_fetch_and_add(&grant->uses, 1);
	return true;
}

static __always_inline int ct_deny_unless(struct ct_grant_key key, __u32 hook, __u32 target_tgid)
{
	if (!ct_is_granted(key))
		return ct_deny(hook, target_tgid);
	ct_report(CT_EVENT_GRANTED, hook, target_tgid);
	return 0;
}

/* The order that would open the memory of a guarded process. */
static __always_inline struct ct_grant_key ct_memory_of(struct ct_task *target)
{
	return (struct ct_grant_key){ .group = target->group, .kind = CT_GRANT_MEMORY };
}

/* The same for what an order opens on the whole node. */
static __always_inline int ct_deny_unless_node(__u32 kind, __u32 hook)
{
	return ct_deny_unless((struct ct_grant_key){ .kind = kind }, hook, 0);
}

#endif
