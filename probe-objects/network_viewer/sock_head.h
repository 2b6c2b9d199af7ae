/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sockets for programs that have no types: the head of struct sock, copied. */
#ifndef SOCK_HEAD_H
#define SOCK_HEAD_H

/*
 * The head of struct sock, the same from 3.14 to 7.2 with network namespaces and IPv6 (include/net/sock.h, struct sock_common: efe4208f47f9 put
 * the IPv6 addresses there); compared with BTF of 5.10 to 7.2.
 */
struct sock_head {
	__u32 daddr;
	__u32 rcv_saddr;
	__u32 hash;
	__u16 dport; /* network order */
	__u16 num;
	__u16 family;
	__u8 state;
	__u8 reuse;
	__u32 bound_dev_if;
	__u64 bind_node[2];
	__u64 prot;
	__u64 net;
	__u32 v6_daddr[4];
};

/* `is_bound` is left to the caller. */
static __always_inline void read_head_ends(struct ends *ends, const struct sock_head *head, __u64 sk, __u32 protocol)
{
	ends->id = sk;
	ends->protocol = protocol;
	ends->local_port = head->num;
	ends->is_connected = protocol == TCP || head->state == TCP_ESTABLISHED;
	ends->is_bound = 0;
	ends->retransmits = 0;
	clear_peer(&ends->peer);
	if (!ends->is_connected)
		return;
	ends->peer.port = __builtin_bswap16(head->dport);
	if (head->family == AF_INET) {
		set_ipv4(&ends->peer, head->daddr);
		return;
	}
	ends->peer.address[0] = head->v6_daddr[0];
	ends->peer.address[1] = head->v6_daddr[1];
	ends->peer.address[2] = head->v6_daddr[2];
	ends->peer.address[3] = head->v6_daddr[3];
}

#endif
