/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies guarded processes the kinds of sockets whose addresses are not judged: packets, raw ones,
 * virtual machines' own, SCTP, MPTCP, and whatever comes next.
 */
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_KINDS 0xf
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58

static __always_inline bool ct_is_judged(int family, int kind, int protocol)
{
	if (family == AF_UNIX || family == AF_NETLINK)
		return true;
	if (family != AF_INET && family != AF_INET6)
		return false;
	if (kind != SOCK_STREAM && kind != SOCK_DGRAM)
		return false;
	return !protocol || protocol == IPPROTO_TCP || protocol == IPPROTO_UDP ||
	       protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

CT_HOOK(socket_create, int family, int type, int protocol, int kern)
{
	if (kern || !ct_is_limited() || ct_is_judged(family, type & SOCK_KINDS, protocol))
		return 0;
	return ct_deny(CT_HOOK_SOCKET_CREATE, 0);
}
