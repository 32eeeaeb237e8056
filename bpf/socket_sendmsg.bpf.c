/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The same for a packet that names where it goes, and for TCP that connects as it sends. What is
 * sent is not looked at.
 */
CT_HOOK(socket_sendmsg, struct socket *sock, struct msghdr *msg)
{
	if (!ct_is_limited() || !msg->msg_name || ct_may_send(msg->msg_name, msg->msg_namelen, false))
		return 0;
	return ct_deny(CT_HOOK_SOCKET_SENDMSG, 0);
}
