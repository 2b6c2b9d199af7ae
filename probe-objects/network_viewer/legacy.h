/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Programs for kernels without BTF, from 4.14: kprobe, kretprobe, raw tracepoints.
 *
 * Calls and received bytes are counted at the entry of functions; what a call returned, so sent bytes and errors, by kretprobes, which lose
 * returns when many threads wait inside.
 */
#include "../common/task_legacy.h"
#include "sock_head.h"

/* The head of the kernel's struct msghdr; since 3.19, when it got an iov_iter behind it. */
struct message_head {
	__u64 name;
	__u32 name_length;
};

/* A call of a thread, from the entry of a function to its return. */
struct call {
	__u64 sk;
	__u64 message; /* that is received into */
	__u32 family;
	__u32 look;    /* nothing is taken out of the socket */
	__u64 counted; /* of what tcp_cleanup_rbuf tells, bytes that are counted already */
};

/* Key: thread, for sends and receives apart. Value: its call. 96 B each, 393 kB a table; the least recently used go. */
DEFINE_MAP(sends, BPF_MAP_TYPE_LRU_HASH, __u64, struct call, 4096, 0);
DEFINE_MAP(receives, BPF_MAP_TYPE_LRU_HASH, __u64, struct call, 4096, 0);

static __always_inline void count_failed_read(void)
{
	struct row *row = current_row();
	if (row)
		add(row, SLOT_FAILED_READ, 1);
}

SEC("kprobe") int kprobe_sample_task(void *ctx)
{
	return sample_current_task();
}

SEC("raw_tracepoint") int raw_tp_sample_task(void *ctx)
{
	return sample_current_task();
}

/* False for a socket that is neither of IPv4 nor of IPv6, or cannot be read. */
static __always_inline int read_head(struct sock_head *head, __u64 sk)
{
	if (bpf_probe_read(head, sizeof(*head), (void *)sk)) {
		count_failed_read();
		return 0;
	}
	return head->family == AF_INET || head->family == AF_INET6;
}

/* What a socket moved, into the row of who runs and into its flow. */
static __always_inline int count_moved(__u64 sk, __u32 protocol, __u64 bytes, __u64 packets, int is_received)
{
	struct sock_head head = {};
	struct ends ends;
	struct row *row = current_row();
	if (!read_head(&head, sk))
		return 0;
	if (row && protocol == TCP)
		add(row, is_received ? SLOT_tcp_received_bytes : SLOT_tcp_sent_bytes, bytes);
	else if (row)
		add(row, is_received ? SLOT_udp_received_bytes : SLOT_udp_sent_bytes, bytes);
	if (!wants_ends(protocol))
		return 0;
	read_head_ends(&ends, &head, sk, protocol);
	return count_for_socket(&ends, row, bytes, packets, is_received);
}

static __always_inline int count_slot(__u32 slot)
{
	struct row *row = current_row();
	if (row)
		add(row, slot, 1);
	return 0;
}

/* -------------------------------------------------------------------------------------------------------------- sending */

static __always_inline int enter_send(__u64 sk, __u32 calls)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct sock_head head = {};
	struct call call = { .sk = sk };
	read_head(&head, sk);
	call.family = head.family;
	bpf_map_update_elem(&sends, &thread, &call, 0);
	return count_slot(calls);
}

static __always_inline int leave_send(struct kprobe_regs *ctx, __u32 protocol, __u32 errors)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&sends, &thread);
	long result = (__s32)ctx->ax;
	__u64 sk = call ? call->sk : 0;
	if (!sk)
		return 0;
	call->sk = 0;
	if (result > 0 || (protocol == UDP && result == 0))
		return count_moved(sk, protocol, result, 1, 0);
	return RETURN && result < 0 ? count_slot(errors) : 0;
}

SEC("kprobe") int kprobe_tcp_send(struct kprobe_regs *ctx)
{
	return enter_send(ctx->di, SLOT_tcp_send);
}

SEC("kretprobe") int kretprobe_tcp_send(struct kprobe_regs *ctx)
{
	return leave_send(ctx, TCP, SLOT_tcp_send_error);
}

/* udpv6_sendmsg hands datagrams to IPv4 addresses to udp_sendmsg, which is then no call of its own. */
SEC("kprobe") int kprobe_udp_send_udp_sendmsg(struct kprobe_regs *ctx)
{
	struct sock_head head = {};
	if (!read_head(&head, ctx->di) || head.family != AF_INET)
		return 0;
	return enter_send(ctx->di, SLOT_udp_send);
}

SEC("kretprobe") int kretprobe_udp_send_udp_sendmsg(struct kprobe_regs *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&sends, &thread);
	if (!call || call->family != AF_INET)
		return 0;
	return leave_send(ctx, UDP, SLOT_udp_send_error);
}

SEC("kprobe") int kprobe_udp_send_udpv6_sendmsg(struct kprobe_regs *ctx)
{
	return enter_send(ctx->di, SLOT_udp_send);
}

SEC("kretprobe") int kretprobe_udp_send_udpv6_sendmsg(struct kprobe_regs *ctx)
{
	return leave_send(ctx, UDP, SLOT_udp_send_error);
}

/* The address of a message, which is in kernel memory; 0 if it has none. */
static __always_inline int read_message_address(struct peer *peer, __u64 message)
{
	struct message_head head = {};
	struct socket_address address = {};
	clear_peer(peer);
	if (bpf_probe_read(&head, sizeof(head), (void *)message) || !head.name)
		return 0;
	if (bpf_probe_read(&address, sizeof(address), (void *)head.name))
		return 0;
	set_address(peer, &address);
	return 1;
}

/* (socket, message, size) */
SEC("kprobe") int kprobe_udp_peer(struct kprobe_regs *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct peer peer;
	if (read_message_address(&peer, ctx->si))
		bpf_map_update_elem(&datagram_peers, &thread, &peer, 0);
	return 0;
}

/* ------------------------------------------------------------------------------------------------------------ receiving */

/* (socket, message, size, flags), the same since 4.1; the functions behind it have their flags in different places. */
SEC("kprobe") int kprobe_receive_flags(struct kprobe_regs *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct call call = { .message = ctx->si, .look = is_look(ctx->cx) };
	bpf_map_update_elem(&receives, &thread, &call, 0);
	return 0;
}

SEC("kprobe") int kprobe_tcp_receive(struct kprobe_regs *ctx)
{
	return count_slot(SLOT_tcp_receive);
}

/* (socket, copied): while a call waits for more it tells what it has so far, and again in the end. */
SEC("kprobe") int kprobe_tcp_taken(struct kprobe_regs *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&receives, &thread);
	long copied = (__s32)ctx->si;
	if (copied <= 0 || (call && call->look))
		return 0;
	if (!call)
		return count_moved(ctx->di, TCP, copied, 1, 1);
	if (copied <= call->counted)
		return 0;
	copied -= call->counted;
	call->counted += copied;
	return count_moved(ctx->di, TCP, copied, copied == call->counted, 1);
}

/* splice and the kernel's own readers take from the socket without inet_recvmsg: what they tell begins anew. gcc inlines tcp_read_sock into splice. */
SEC("kprobe") int kprobe_tcp_read(struct kprobe_regs *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	bpf_map_delete_elem(&receives, &thread);
	return 0;
}

SEC("kprobe") int kprobe_udp_receive(struct kprobe_regs *ctx)
{
	return count_slot(SLOT_udp_receive);
}

/* (socket, datagram, length): of a look the length is below zero. The message has its sender already, if the program asks for it. */
SEC("kprobe") int kprobe_udp_taken(struct kprobe_regs *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid(), key = thread | RECEIVED;
	struct call *call = bpf_map_lookup_elem(&receives, &thread);
	long length = (__s32)ctx->dx;
	struct peer peer;
	/* Of a look at an empty datagram the length is 0. */
	if (length < 0 || (call && call->look))
		return 0;
	if (COUNT_FLOWS && call) {
		read_message_address(&peer, call->message);
		bpf_map_update_elem(&datagram_peers, &key, &peer, 0);
	}
	return count_moved(ctx->di, UDP, length, 1, 1);
}

#if RETURN
static __always_inline int leave_receive(struct kprobe_regs *ctx, __u32 errors)
{
	return (__s32)ctx->ax < 0 ? count_slot(errors) : 0;
}

SEC("kretprobe") int kretprobe_tcp_receive(struct kprobe_regs *ctx)
{
	return leave_receive(ctx, SLOT_tcp_receive_error);
}

SEC("kretprobe") int kretprobe_udp_receive(struct kprobe_regs *ctx)
{
	return leave_receive(ctx, SLOT_udp_receive_error);
}
#endif

/* ---------------------------------------------------------------------------------------------------------- connections */

/* (socket, state): the old one is still in the socket. */
SEC("kprobe") int kprobe_tcp_state(struct kprobe_regs *ctx)
{
	struct sock_head head = {};
	struct ends ends;
	if (!read_head(&head, ctx->di))
		return 0;
	read_head_ends(&ends, &head, ctx->di, TCP);
	return count_state(&ends, head.state, ctx->si);
}

/* The state of listening is not set by tcp_set_state. The port is known: a socket that was not bound gets one later and is found by its clients. */
SEC("kprobe") int kprobe_tcp_state_inet_csk_listen_start(struct kprobe_regs *ctx)
{
	struct sock_head head = {};
	if (read_head(&head, ctx->di) && head.num)
		count_listener(head.num, 1);
	return 0;
}

/* (socket, port, …): 0 is a port that the kernel chooses, for a client. */
SEC("kprobe") int kprobe_udp_bind(struct kprobe_regs *ctx)
{
	remember_connection(ctx->di, (__u16)ctx->si ? INBOUND : OUTBOUND, 0);
	return 0;
}

/* tcp_gso_segs stands in the segment's cb, which begins at 40 (struct sk_buff, 4.14 to 7.2), behind two sequence numbers. */
enum { SEGMENTS = 40 + 8 };

static __always_inline int count_retransmit_of(__u64 sk, __u64 skb)
{
	struct sock_head head = {};
	struct ends ends;
	__u16 segments = 0;
	if (!read_head(&head, sk))
		return 0;
	bpf_probe_read(&segments, sizeof(segments), (void *)(skb + SEGMENTS));
	read_head_ends(&ends, &head, sk, TCP);
	return count_retransmit(&ends, segments ?: 1);
}

SEC("kprobe") int kprobe_tcp_retransmit(struct kprobe_regs *ctx)
{
	return count_retransmit_of(ctx->di, ctx->si);
}

SEC("raw_tracepoint") int raw_tp_tcp_retransmit_skb(unsigned long long *ctx)
{
	return count_retransmit_of(ctx[0], ctx[1]);
}

SEC("raw_tracepoint") int raw_tp_tcp_retransmit_synack(unsigned long long *ctx)
{
	struct sock_head head = {};
	struct ends ends;
	if (!read_head(&head, ctx[0]))
		return 0;
	read_head_ends(&ends, &head, ctx[0], TCP);
	return count_retransmit(&ends, 1);
}

SEC("kprobe") int kprobe_exec(void *ctx)
{
	begin_generation();
	return 0;
}

SEC("raw_tracepoint") int raw_tp_sched_process_exec(void *ctx)
{
	begin_generation();
	return 0;
}

SEC("tracepoint") int tracepoint_exec(void *ctx)
{
	begin_generation();
	return 0;
}
