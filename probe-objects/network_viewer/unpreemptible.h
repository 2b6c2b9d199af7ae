/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * For kernels that preempt typed programs, and then skip them for whole time slices: plain tracepoint programs, which perf runs with preemption
 * off. Their sockets are addresses, so these programs read the kernel's memory, which lockdown=confidentiality forbids.
 */
#include "sock_head.h"

/* As READ_PART, of what can only be copied; 0 if that fails. */
#define COPY_PART(object, field)                                                                                             \
	({                                                                                                                   \
		__u32 size = __builtin_preserve_field_info((object)->field, 1);                                              \
		__u64 part = 0;                                                                                              \
		if (bpf_probe_read_kernel(&part, size & 15, (char *)(object) + __builtin_preserve_field_info((object)->field, 0))) \
			part = 0;                                                                                            \
		part <<= __builtin_preserve_field_info((object)->field, 4);                                                  \
		part >> __builtin_preserve_field_info((object)->field, 5);                                                   \
	})

/* Whether a program chose the port of a UDP socket. */
static __always_inline int is_bound_at(struct sock *sk)
{
	return COPY_PART(sk, sk_userlocks) & SOCK_BINDPORT_LOCK;
}

static __always_inline int is_stream_or_datagram(struct sock *sk, __u32 protocol)
{
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

static __always_inline int count_length_of(struct trace_event_raw_sock_msg_length *ctx, int is_received, __u32 protocol)
{
	struct sock *sk = ctx->sk;
	struct transfer transfer = { .result = ctx->ret, .is_received = is_received, .is_look = is_received && is_look(ctx->flags) };
	struct sock_head head;
	struct ends ends;
	struct row *row;
	if (!is_counted(protocol, is_received) || !is_stream_or_datagram(sk, protocol))
		return 0;
	if (is_received && transfer.result == 0 && COPY_PART(sk, sk_shutdown) & RCV_SHUTDOWN)
		transfer.is_look = 1; /* no empty datagram, but none */
	row = current_row();
	if (!count_for_process(row, protocol, &transfer))
		return 0;
	if (bpf_probe_read_kernel(&head, sizeof(head), sk)) {
		count_failed_read();
		return 0;
	}
	read_head_ends(&ends, &head, (__u64)sk, protocol);
	ends.is_bound = protocol == UDP && is_bound_at(sk);
	return count_for_socket(&ends, row, transfer.result, 1, is_received);
}

static __always_inline int count_length(struct trace_event_raw_sock_msg_length *ctx, int is_received)
{
	if (ctx->family != AF_INET && ctx->family != AF_INET6)
		return 0;
	if (ctx->protocol == IPPROTO_TCP)
		return count_length_of(ctx, is_received, TCP);
	return ctx->protocol == IPPROTO_UDP ? count_length_of(ctx, is_received, UDP) : 0;
}

SEC("tracepoint") int tracepoint_sock_sock_send_length(struct trace_event_raw_sock_msg_length *ctx)
{
	return count_length(ctx, 0);
}

SEC("tracepoint") int tracepoint_sock_sock_recv_length(struct trace_event_raw_sock_msg_length *ctx)
{
	return count_length(ctx, 1);
}

SEC("tracepoint") int tracepoint_tcp_state(struct trace_event_raw_inet_sock_set_state *ctx)
{
	const void *sk = ctx->skaddr;
	struct sock_head head;
	struct ends ends;
	__u32 retransmits;
	if (ctx->protocol != IPPROTO_TCP)
		return 0;
	if (bpf_probe_read_kernel(&head, sizeof(head), sk)) {
		count_failed_read();
		return 0;
	}
	read_head_ends(&ends, &head, (__u64)sk, TCP);
	if (!bpf_probe_read_kernel(&retransmits, sizeof(retransmits), &((struct tcp_sock *)sk)->total_retrans))
		ends.retransmits = retransmits + 1;
	return count_state(&ends, ctx->oldstate, ctx->newstate);
}
