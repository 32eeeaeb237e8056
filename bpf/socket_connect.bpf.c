/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Denies guarded processes to connect to what is not listed. */
CT_HOOK(socket_connect, struct socket *sock, struct sockaddr *address, int len)
{
	if (!ct_is_limited() || ct_may_send(address, len, true))
		return 0;
	return ct_deny(CT_HOOK_SOCKET_CONNECT, 0);
}
