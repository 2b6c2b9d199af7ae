/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * For kernels that preempt typed programs, and then skip them for whole time slices: plain tracepoint programs, which perf runs with preemption
 * off. Their sockets are addresses, so these programs read the kernel's memory, which lockdown=confidentiality forbids.
 */
#include "sock_head.h"

/* Contexts of sock/sock_send_length, sock/sock_recv_length and sock/inet_sock_set_state (include/trace/events/sock.h). */
struct sock_length_context {
	__u64 common;
	__u64 sk;
	__u16 family;
	__u16 protocol;
	__s32 result;
	__s32 flags;
};

struct set_state_context {
	__u64 common;
	__u64 sk;
	__s32 old;
	__s32 new;
	__u16 sport;
	__u16 dport;
	__u16 family;
	__u16 protocol;
};

/* Whether a program chose the port of a UDP socket. */
static __always_inline int is_bound_at(__u64 address)
{
	struct sock *sk = (struct sock *)address;
	__u32 size = __builtin_preserve_field_info(sk->sk_userlocks, 1);
	__u64 part = 0;
	if (bpf_probe_read_kernel(&part, size & 15, (char *)sk + __builtin_preserve_field_info(sk->sk_userlocks, 0)))
		return 0;
	part <<= __builtin_preserve_field_info(sk->sk_userlocks, 4);
	part >>= __builtin_preserve_field_info(sk->sk_userlocks, 5);
	return part & SOCK_BINDPORT_LOCK;
}

static __always_inline int is_stream_or_datagram(__u64 address, __u32 protocol)
{
	struct sock *sk = (struct sock *)address;
	__u16 type = 0;
	if (bpf_probe_read_kernel(&type, sizeof(type), &sk->sk_type))
		return 0;
	return type == (protocol == TCP ? SOCK_STREAM : SOCK_DGRAM);
}

static __always_inline void count_failed_read(void)
{
	struct row *row = current_row();
	if (row)
		add(row, SLOT_FAILED_READ, 1);
}

static __always_inline int count_length_of(struct sock_length_context *ctx, int is_received, __u32 protocol)
{
	struct transfer transfer = { .result = ctx->result, .is_received = is_received, .is_look = is_received && is_look(ctx->flags) };
	struct sock_head head;
	struct ends ends;
	struct row *row;
	if (!is_counted(protocol, is_received) || !is_stream_or_datagram(ctx->sk, protocol))
		return 0;
	row = current_row();
	if (!count_for_process(row, protocol, &transfer))
		return 0;
	if (bpf_probe_read_kernel(&head, sizeof(head), (void *)ctx->sk)) {
		count_failed_read();
		return 0;
	}
	read_head_ends(&ends, &head, ctx->sk, protocol);
	ends.is_bound = protocol == UDP && is_bound_at(ctx->sk);
	return count_for_socket(&ends, row, transfer.result, 1, is_received);
}

static __always_inline int count_length(struct sock_length_context *ctx, int is_received)
{
	if (ctx->family != AF_INET && ctx->family != AF_INET6)
		return 0;
	if (ctx->protocol == IPPROTO_TCP)
		return count_length_of(ctx, is_received, TCP);
	return ctx->protocol == IPPROTO_UDP ? count_length_of(ctx, is_received, UDP) : 0;
}

SEC("tracepoint") int tracepoint_sock_sock_send_length(struct sock_length_context *ctx)
{
	return count_length(ctx, 0);
}

SEC("tracepoint") int tracepoint_sock_sock_recv_length(struct sock_length_context *ctx)
{
	return count_length(ctx, 1);
}

SEC("tracepoint") int tracepoint_tcp_state(struct set_state_context *ctx)
{
	struct sock_head head;
	struct ends ends;
	__u32 retransmits;
	if (ctx->protocol != IPPROTO_TCP)
		return 0;
	if (bpf_probe_read_kernel(&head, sizeof(head), (void *)ctx->sk)) {
		count_failed_read();
		return 0;
	}
	read_head_ends(&ends, &head, ctx->sk, TCP);
	if (!bpf_probe_read_kernel(&retransmits, sizeof(retransmits), &((struct tcp_sock *)ctx->sk)->total_retrans))
		ends.retransmits = retransmits + 1;
	return count_state(&ends, ctx->old, ctx->new);
}
