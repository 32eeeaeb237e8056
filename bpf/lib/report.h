/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Telling the agent. A full buffer loses the report, which is counted, and never the verdict. */
#ifndef CT_REPORT_H
#define CT_REPORT_H

#include "maps.h"
#include "read.h"

#define EPERM 1
#define EAGAIN 11
#define ENOMEM 12

static __always_inline void ct_report(__u32 kind, __u32 hook, __u32 target_tgid)
{
	struct ct_event *event = bpf_ringbuf_reserve(&ct_events, sizeof(*event), 0);
	__u32 zero = 0;
	__u64 *lost;

	if (!event) {
		lost = bpf_map_lookup_elem(&ct_lost, &zero);
		if (lost)
			*lost += 1;
		return;
	}
	event->at_ns = bpf_ktime_get_boot_ns();
	event->kind = kind;
	event->hook = hook;
	event->actor_tgid = bpf_get_current_pid_tgid() >> 32;
	event->actor_uid = (__u32)bpf_get_current_uid_gid();
	event->target_tgid = target_tgid;
	event->actor_parent = CT_AT(ct_this_task(), real_parent, tgid);
	bpf_get_current_comm(event->actor_comm, sizeof(event->actor_comm));
	event->actor_cgroup = bpf_get_current_cgroup_id();
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void ct_count_denial(__u32 hook)
{
	__u64 *count = bpf_map_lookup_elem(&ct_denials, &hook);

	if (count)
		*count += 1;
}

/* Without a report: for callers that ask often, expect a no, and would not use a yes. */
static __always_inline int ct_deny_silently(__u32 hook)
{
#ifdef CT_PROBE
	return 0; /* the only no of this tier is a kill */
#else
	ct_count_denial(hook);
	return -EPERM;
#endif
}

static __always_inline int ct_deny(__u32 hook, __u32 target_tgid)
{
	ct_report(CT_EVENT_DENIED, hook, target_tgid);
	ct_count_denial(hook);
	return -EPERM;
}

#endif
