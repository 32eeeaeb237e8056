/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where guarded processes may send to, where that is limited: what ct_egress lists, and this host's
 * own loopback. The programs that ask are loaded only with such a list.
 */
#ifndef CT_EGRESS_H
#define CT_EGRESS_H

#include "report.h"
#include "task.h"

#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16

/* sockaddr_in6, whose head is that of all others. */
struct ct_address {
	__u16 family;
	__be16 port;
	__u32 first; /* sockaddr_in: the address */
	__u8 six[16];
};

/* The agent itself talks to whom it was told to. */
static __always_inline bool ct_is_limited(void)
{
	struct ct_task *actor = ct_current();

	return actor && !(actor->role & CT_ROLES_TRUSTED);
}

static __always_inline bool ct_is_listed(const struct ct_net *net, __u16 port)
{
	struct ct_ports *ports = bpf_map_lookup_elem(&ct_egress, net);
	int i;

	if (!ports)
		return false;
	for (i = 0; i < CT_PORT_RANGES; i++)
		if (ports->ranges[i].high && port >= ports->ranges[i].low && port <= ports->ranges[i].high)
			return true;
	return false;
}

/* No address and 127.0.0.0/8, which is where none leads to as well. */
static __always_inline bool ct_is_own_4(__u32 address)
{
	return !address || (address & 0xff) == 127;
}

static __always_inline bool ct_may_send_4(__u32 address, __u16 port)
{
	struct ct_net net = { .bits = 128, .address = { [10] = 0xff, [11] = 0xff } };

	__builtin_memcpy(&net.address[12], &address, sizeof(address));
	return ct_is_own_4(address) || ct_is_listed(&net, port);
}

/* :: and ::1, and mapped addresses by what they map. */
static __always_inline bool ct_may_send_6(const __u8 *address, __u16 port)
{
	struct ct_net net = { .bits = 128 };
	__u64 words[2];

	__builtin_memcpy(words, address, sizeof(words));
	__builtin_memcpy(net.address, address, sizeof(net.address));
	if (!words[0] && (!words[1] || words[1] == bpf_cpu_to_be64(1)))
		return true;
	if (!words[0] && (words[1] & 0xffffffff) == 0xffff0000 &&
	    ct_is_own_4(words[1] >> 32))
		return true;
	return ct_is_listed(&net, port);
}

/* An address that the kernel has copied from the caller; shorter ones it refuses by itself. */
static __always_inline bool ct_may_send(const void *name, int len, bool connects)
{
	struct ct_address to = {};

	if (len < 2)
		return true;
	if (bpf_probe_read_kernel(&to, 8, name))
		return false;
	if (to.family == AF_UNIX || to.family == AF_NETLINK || (connects && to.family == AF_UNSPEC))
		return true;
	/* KERNEL: UDP takes AF_UNSPEC for AF_INET when it sends. */
	if (to.family == AF_INET || to.family == AF_UNSPEC)
		return len >= 16 && ct_may_send_4(to.first, bpf_ntohs(to.port));
	if (to.family != AF_INET6 || len < 24 || bpf_probe_read_kernel(&to, 24, name))
		return false;
	return ct_may_send_6(to.six, bpf_ntohs(to.port));
}

#endif
