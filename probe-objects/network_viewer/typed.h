/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Programs for kernels with BTF: fentry, fexit, tp_btf. Typed access only, no bpf_probe_read*, but in function_udp_source; user memory is read by
 * plain tracepoint programs beside them.
 */

/* The peer that a socket is connected to. */
static __always_inline void read_peer(struct peer *peer, struct sock *sk)
{
	struct sock_common *common = &sk->__sk_common;
	peer->port = __builtin_bswap16(common->skc_dport);
	if (common->skc_family == AF_INET) {
		set_ipv4(peer, common->skc_daddr);
		return;
	}
	peer->address[0] = common->skc_v6_daddr.in6_u.u6_addr32[0];
	peer->address[1] = common->skc_v6_daddr.in6_u.u6_addr32[1];
	peer->address[2] = common->skc_v6_daddr.in6_u.u6_addr32[2];
	peer->address[3] = common->skc_v6_daddr.in6_u.u6_addr32[3];
}

static __always_inline int is_unconnected(struct sock *sk)
{
	return sk->__sk_common.skc_state != TCP_ESTABLISHED;
}

static __always_inline int is_bound(struct sock *sk)
{
	return READ_PART(sk, sk_userlocks) & SOCK_BINDPORT_LOCK;
}

static __always_inline void read_ends(struct ends *ends, struct sock *sk, __u32 protocol)
{
	ends->id = (__u64)sk;
	ends->protocol = protocol;
	ends->local_port = sk->__sk_common.skc_num;
	ends->is_connected = protocol == TCP || !is_unconnected(sk);
	ends->is_bound = !ends->is_connected && is_bound(sk);
	ends->retransmits = 0;
	if (ends->is_connected)
		read_peer(&ends->peer, sk);
	else
		clear_peer(&ends->peer);
}

#if FLAVOUR_ROWS
#define PROTOCOL_OF(sk) ((sk)->sk_protocol)
#define TYPE_OF(sk) ((sk)->sk_type)
#else
#define PROTOCOL_OF(sk) READ_PART(sk, sk_protocol)
#define TYPE_OF(sk) READ_PART(sk, sk_type)
#endif

static __always_inline int is_counted(__u32 protocol, int is_received)
{
	if (protocol == TCP)
		return is_received ? IS_SHARED(EVENT_tcp_receive) : IS_SHARED(EVENT_tcp_send);
	return is_received ? IS_SHARED(EVENT_udp_receive) : IS_SHARED(EVENT_udp_send);
}

/* `protocol` is a constant, so that each protocol has its own short way. */
static __always_inline int count_transfer_of(struct sock *sk, const struct transfer *transfer, __u32 protocol)
{
	struct ends ends;
	struct row *row;
	if (!is_counted(protocol, transfer->is_received))
		return 0;
	row = current_row();
	if (!count_for_process(row, protocol, transfer))
		return 0;
	read_ends(&ends, sk, protocol);
	return count_for_socket(&ends, row, transfer->result, 1, transfer->is_received);
}

/* Other sockets are not counted, raw ones of these protocols included. */
static __always_inline int count_transfer(struct sock *sk, const struct transfer *transfer)
{
	__u16 family = sk->__sk_common.skc_family;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	if (PROTOCOL_OF(sk) == IPPROTO_TCP)
		return TYPE_OF(sk) == SOCK_STREAM ? count_transfer_of(sk, transfer, TCP) : 0;
	if (PROTOCOL_OF(sk) == IPPROTO_UDP)
		return TYPE_OF(sk) == SOCK_DGRAM ? count_transfer_of(sk, transfer, UDP) : 0;
	return 0;
}

static __always_inline int count_sent(struct sock *sk, int result)
{
	struct transfer transfer = { .result = result };
	return count_transfer(sk, &transfer);
}

/* `result` 0 of a UDP socket that is shut down for receiving is no empty datagram, but none. */
static __always_inline int count_received(struct sock *sk, int result, int flags)
{
	int has_none = result == 0 && READ_PART(sk, sk_shutdown) & RCV_SHUTDOWN;
	struct transfer transfer = { .result = result, .is_received = 1, .is_look = is_look(flags) || has_none };
	return count_transfer(sk, &transfer);
}

/* (socket, message, size) and (socket, message, size, flags); one of them for each family since 5.3 (164c51fe82be). */
#define SEND(function)                                                                                                       \
	SEC("fexit") int function_##function(unsigned long long *ctx)                                                        \
	{                                                                                                                    \
		struct sock *sk = ((struct socket *)ctx[0])->sk;                                                             \
		return sk ? count_sent(sk, ctx[3]) : 0;                                                                      \
	}
SEND(inet_sendmsg)
SEND(inet6_sendmsg)

#define RECEIVE(function)                                                                                                    \
	SEC("fexit") int function_##function(unsigned long long *ctx)                                                        \
	{                                                                                                                    \
		struct sock *sk = ((struct socket *)ctx[0])->sk;                                                             \
		return sk ? count_received(sk, ctx[4], ctx[3]) : 0;                                                          \
	}
RECEIVE(inet_recvmsg)
RECEIVE(inet6_recvmsg)

/* sendfile before 6.5 (dc97391e6610): (socket, page, offset, size, flags). */
SEC("fexit") int function_inet_sendpage(unsigned long long *ctx)
{
	struct sock *sk = ((struct socket *)ctx[0])->sk;
	return sk ? count_sent(sk, ctx[5]) : 0;
}

/* splice from a socket: (socket, position, pipe, size, flags). */
SEC("fexit") int function_tcp_splice_read(unsigned long long *ctx)
{
	struct sock *sk = ((struct socket *)ctx[0])->sk;
	return sk ? count_received(sk, ctx[5], 0) : 0;
}

/* Both since 6.5 (6e6eda44b939). */
SEC("tp_btf/sock_send_length") int tp_btf_sock_send_length(unsigned long long *ctx)
{
	return count_sent((struct sock *)ctx[0], ctx[1]);
}

SEC("tp_btf/sock_recv_length") int tp_btf_sock_recv_length(unsigned long long *ctx)
{
	return count_received((struct sock *)ctx[0], ctx[1], ctx[2]);
}

/* ------------------------------------------------------------------------------------------------------- connections */

/* As in `struct ends`. The helper is there since 5.9 (478cfbdf5f13), so in all kernels that FLAVOUR_ROWS is for. */
static __always_inline __u32 retransmits_of(struct sock *sk)
{
#if FLAVOUR_ROWS
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	return tcp ? tcp->total_retrans + 1 : 0;
#else
	return 0;
#endif
}

static __always_inline int count_state_of(struct sock *sk, __u32 old, __u32 new)
{
	struct ends ends;
	read_ends(&ends, sk, TCP);
	ends.retransmits = retransmits_of(sk);
	return count_state(&ends, old, new);
}

SEC("tp_btf/inet_sock_set_state") int tp_btf_inet_sock_set_state(unsigned long long *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	return PROTOCOL_OF(sk) == IPPROTO_TCP ? count_state_of(sk, ctx[1], ctx[2]) : 0;
}

SEC("fentry") int function_tcp_state_0(unsigned long long *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	return count_state_of(sk, sk->__sk_common.skc_state, ctx[1]);
}

static __always_inline int count_retransmit_of(struct sock *sk, struct sk_buff *skb, int error)
{
	struct ends ends;
	__u32 place = __builtin_preserve_field_info(((struct tcp_skb_cb *)0)->tcp_gso_segs, 0);
	__u32 segments = *(__u16 *)(skb->cb + place);
	read_ends(&ends, sk, TCP);
	ends.retransmits = retransmits_of(sk);
	return count_retransmit(&ends, error ? 0 : segments ?: 1);
}

SEC("tp_btf/tcp_retransmit_skb") int tp_btf_tcp_retransmit_skb(unsigned long long *ctx)
{
	return count_retransmit_of((struct sock *)ctx[0], (struct sk_buff *)ctx[1], 0);
}

/* A SYN+ACK, of a connection that has no socket yet: the listener's. */
SEC("tp_btf/tcp_retransmit_synack") int tp_btf_tcp_retransmit_synack(unsigned long long *ctx)
{
	struct ends ends;
	read_ends(&ends, (struct sock *)ctx[0], TCP);
	return count_retransmit(&ends, 1);
}

SEC("fexit") int function_tcp_retransmit_0(unsigned long long *ctx)
{
	return count_retransmit_of((struct sock *)ctx[0], (struct sk_buff *)ctx[1], ctx[3]);
}

/* ------------------------------------------------------------------------------------------ where datagrams are sent to */

static __always_inline void store_destination(const struct peer *peer)
{
	__u64 thread = bpf_get_current_pid_tgid();
	bpf_map_update_elem(&datagram_peers, &thread, peer, 0);
}

/* Whether somebody will ask for the other end: not of a connected socket, nor of a server's. */
static __always_inline int is_client_of_many(struct sock *sk)
{
	return sk && is_unconnected(sk) && !is_bound(sk);
}

/*
 * Whether several calls have made up the datagram, whose flow the socket keeps then, instead of the stack. The last of them may be setsockopt or
 * sendfile, which would leave the destination to a datagram of another peer: so it is told of none.
 */
static __always_inline int is_corked(struct sock *sk, const void *flow)
{
	enum { SOCKET_BYTES_MAX = 4096 }; /* struct udpv6_sock has less than 2000 */
	return (__u64)flow - (__u64)sk < SOCKET_BYTES_MAX;
}

SEC("fentry") int function_udp_send_skb(unsigned long long *ctx)
{
	struct sock *sk = ((struct sk_buff *)ctx[0])->sk;
	struct flowi4 *flow = (struct flowi4 *)ctx[1];
	struct peer peer;
	if (!is_client_of_many(sk) || is_corked(sk, flow))
		return 0;
	set_ipv4(&peer, flow->daddr);
	peer.port = __builtin_bswap16(flow->uli.ports.dport);
	store_destination(&peer);
	return 0;
}

SEC("fentry") int function_udp_v6_send_skb(unsigned long long *ctx)
{
	struct sock *sk = ((struct sk_buff *)ctx[0])->sk;
	struct flowi6 *flow = (struct flowi6 *)ctx[1];
	struct peer peer;
	if (!is_client_of_many(sk) || is_corked(sk, flow))
		return 0;
	peer.address[0] = flow->daddr.in6_u.u6_addr32[0];
	peer.address[1] = flow->daddr.in6_u.u6_addr32[1];
	peer.address[2] = flow->daddr.in6_u.u6_addr32[2];
	peer.address[3] = flow->daddr.in6_u.u6_addr32[3];
	peer.port = __builtin_bswap16(flow->uli.ports.dport);
	store_destination(&peer);
	return 0;
}

/*
 * (socket, message, …) at the return: the sender's address is in the message, if the program asked for it. The one typed program that reads memory
 * without types, as the kernel gives the address none; lockdown=confidentiality refuses it, and nothing else.
 */
static __always_inline int store_sender(struct sock *sk, struct msghdr *message)
{
	__u64 key = bpf_get_current_pid_tgid() | RECEIVED;
	struct socket_address address;
	struct peer peer;
	if (!is_client_of_many(sk))
		return 0;
	if (!message->msg_name || bpf_probe_read_kernel(&address, sizeof(address), message->msg_name))
		clear_peer(&peer);
	else
		set_address(&peer, &address);
	bpf_map_update_elem(&datagram_peers, &key, &peer, 0);
	return 0;
}

#define SENDER(number)                                                                                                       \
	SEC("fexit") int function_udp_source_##number(unsigned long long *ctx)                                               \
	{                                                                                                                    \
		return store_sender((struct sock *)ctx[0], (struct msghdr *)ctx[1]);                                         \
	}
SENDER(0)
SENDER(1)

#if FLAVOUR_ROWS
#include "addresses.h"
#include "unpreemptible.h"
#endif

SEC("tp_btf/sched_process_exec") int tp_btf_sched_process_exec(void *ctx)
{
	begin_generation();
	return 0;
}
