/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The `network viewer`: what processes send and receive over TCP and UDP, and with whom.
 *
 * Which program is attached where is decided by module.toml and the worker; programs are named as in ../process/process.bpf.c, and those that
 * count several events KIND_FUNCTION.
 *
 * RETURN: errors are counted. Without it the branches for them are not compiled.
 */
#include "network_viewer_table.h" /* COUNTERS, SLOT_*, EVENT_*: generated from module.toml */

#include "../common/flows.h"

/* A call that sent or received. */
struct transfer {
	long result;      /* bytes, or the error below zero */
	int is_received;
	int is_look;      /* nothing was taken out: MSG_PEEK, or a report of MSG_ERRQUEUE */
};

static __always_inline int is_look(int flags)
{
	return flags & (MSG_PEEK | MSG_ERRQUEUE);
}

static __always_inline void add_call(struct row *row, __u32 calls, __u32 errors, __u32 bytes, const struct transfer *transfer)
{
	add(row, calls, 1);
	if (transfer->result > 0 && !transfer->is_look)
		add(row, bytes, transfer->result);
	else if (RETURN && transfer->result < 0)
		add(row, errors, 1);
}

/* An empty datagram is one, the end of a stream is none. */
static __always_inline int has_moved(const struct transfer *transfer, __u32 protocol)
{
	return !transfer->is_look && (protocol == UDP ? transfer->result >= 0 : transfer->result > 0);
}

static __always_inline void count_call(struct row *row, __u32 protocol, const struct transfer *transfer)
{
	if (protocol == TCP) {
		if (transfer->is_received)
			add_call(row, SLOT_tcp_receive, SLOT_tcp_receive_error, SLOT_tcp_received_bytes, transfer);
		else
			add_call(row, SLOT_tcp_send, SLOT_tcp_send_error, SLOT_tcp_sent_bytes, transfer);
	} else {
		if (transfer->is_received)
			add_call(row, SLOT_udp_receive, SLOT_udp_receive_error, SLOT_udp_received_bytes, transfer);
		else
			add_call(row, SLOT_udp_send, SLOT_udp_send_error, SLOT_udp_sent_bytes, transfer);
	}
}

/* TCP only: who uses a socket, for what happens to it when nobody runs. Part of count_flow where flows are counted. */
static __always_inline void remember_user(const struct ends *ends, const struct row *row)
{
#if APPS
	struct socket_state *state = state_of(ends);
	if (state)
		note_user(&state->user, row);
#endif
}

/* Whether it must be known whose socket moved something: for its flow, or for who uses it. */
static __always_inline int wants_ends(__u32 protocol)
{
	return COUNT_FLOWS || (APPS && protocol == TCP);
}

/* Counts a call for who runs. Returns whether its socket must be known. */
static __always_inline int count_for_process(struct row *row, __u32 protocol, const struct transfer *transfer)
{
	if (row)
		count_call(row, protocol, transfer);
	return has_moved(transfer, protocol) && wants_ends(protocol);
}

/* What a socket moved, into its flow. Arguments as of count_flow. */
static __always_inline int count_for_socket(struct ends *ends, const struct row *row, __u64 bytes, __u64 packets, int is_received)
{
	if (COUNT_FLOWS)
		count_flow(ends, row, bytes, packets, is_received);
	else
		remember_user(ends, row);
	return 0;
}

#if APPS
/* A row for who used a socket last; NULL when nobody is known. */
static __always_inline struct row *row_of_user(const struct socket_user *user)
{
	if (user->owner == 0)
		return NULL;
#if FLAVOUR_ROWS
	struct row *held = held_row(user->owner, first_slot());
	if (held)
		return held;
#endif
	struct row_key key = key_of(user->tgid, user->generation, current_lane());
	struct row *row = bpf_map_lookup_elem(&overflow, &key);
	if (row)
		return row;
	struct row fresh = {
		.owner = user->owner,
		.start_ns = user->start_ns,
		.tgid = user->tgid,
		.parent_tgid = user->parent_tgid,
		.generation = user->generation,
		.flags = user->flags,
	};
#pragma unroll
	for (int i = 0; i < 16; i++)
		fresh.comm[i] = user->comm[i];
	return insert_row(&key, &fresh);
}
#endif

/* Counts segments that a connection sent once more, whoever runs. `state`: of its socket, if it is known. */
static __always_inline void count_segments(struct ends *ends, const struct socket_state *state, __u32 segments)
{
	struct row *row = NULL;
#if APPS
	if (state)
		row = row_of_user(&state->user);
#endif
	if (!row)
		row = ownerless_row();
	if (row)
		add(row, SLOT_tcp_retransmit, segments);
	if (!COUNT_FLOWS)
		return;
	struct flow *flow = flow_of(direction_of(ends, state), TCP, &ends->peer, ends->local_port);
	if (flow)
		__sync_fetch_and_add(&flow->retransmits, segments);
}

/*
 * `segments` of a connection were sent once more. Where the socket's own total is told, what it grew by counts instead: the kernel adds to it what
 * it adds to RetransSegs. Of some segments it tells no program: of those that the host's own queue refuses (before 6.17), and of a few in a
 * thousand on a busy 6.18, which it books as sent once more and for which the program is neither called nor said to be skipped.
 */
static __always_inline int count_retransmit(struct ends *ends, __u32 segments)
{
	struct socket_state *state = state_of(ends);
	if (state && ends->retransmits) {
		/* Less than before is another socket at the same address. */
		if (state->retransmits && ends->retransmits >= state->retransmits)
			segments = ends->retransmits - state->retransmits;
		state->retransmits = ends->retransmits;
	}
	if (segments)
		count_segments(ends, state, segments);
	return 0;
}

/* A connection is over: what nobody told of is counted now. */
static SELDOM void settle_retransmits(struct ends *ends)
{
	struct socket_state *state = bpf_map_lookup_elem(&sockets, &ends->id);
	if (!state || !state->retransmits || ends->retransmits <= state->retransmits)
		return;
	count_segments(ends, state, ends->retransmits - state->retransmits);
	state->retransmits = ends->retransmits;
}

/* A connection that this side began meets the peer's SYN on its way, so it passes TCP_SYN_RECV as those of others do. Returns what was noted. */
static SELDOM int set_simultaneous(__u64 id, __u32 is_simultaneous)
{
	struct socket_state *state = bpf_map_lookup_elem(&sockets, &id);
	__u32 before = state ? state->is_simultaneous : 0;
	if (state && before != is_simultaneous)
		state->is_simultaneous = is_simultaneous;
	return before;
}

/* A socket goes from one state of TCP to another. `ends`: of that socket. */
static __always_inline int count_state(struct ends *ends, __u32 old, __u32 new)
{
	struct socket_state *listener;
	struct row *row;
	if (new == TCP_LISTEN) {
		count_listener(ends->local_port, 1);
		remember_connection(ends->id, INBOUND, 0);
		listener = bpf_map_lookup_elem(&sockets, &ends->id);
		if (listener)
			listener->peer.port = ends->local_port;
#if APPS
		/* SYN+ACKs that are sent again are its owner's. */
		row = current_row();
		nothing_to_count(row);
		remember_user(ends, row);
#endif
		return 0;
	}
	if (old == TCP_LISTEN) {
		/* To TCP_SYN_RECV goes the copy of a listener that becomes a connection; its own end is TCP_CLOSE. */
		if (new != TCP_CLOSE)
			return 0;
		/* A port that the kernel chose has been given back, before the tracepoint. */
		listener = bpf_map_lookup_elem(&sockets, &ends->id);
		count_listener(ends->local_port || !listener ? ends->local_port : listener->peer.port, -1);
		return 0;
	}
	if (new == TCP_CLOSE && ends->retransmits)
		settle_retransmits(ends);
	if (new == TCP_SYN_SENT) {
		remember_connection(ends->id, OUTBOUND, ends->retransmits);
		row = current_row();
		/* Its first send may wait for long. */
		remember_user(ends, row);
		if (row)
			add(row, is_ipv4(&ends->peer) ? SLOT_tcp_connect_v4 : SLOT_tcp_connect_v6, 1);
		return 0;
	}
	if (old == TCP_SYN_SENT && new == TCP_SYN_RECV) {
		set_simultaneous(ends->id, 1);
		return 0;
	}
	if (old == TCP_SYN_RECV && set_simultaneous(ends->id, 0)) {
		if (!RETURN || new != TCP_CLOSE)
			return 0;
		old = TCP_SYN_SENT; /* never established */
	}
	if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED) {
		remember_connection(ends->id, INBOUND, ends->retransmits);
		row = ownerless_row();
		if (row)
			add(row, SLOT_tcp_accept, 1);
		return 0;
	}
#if RETURN
	if (old == TCP_SYN_SENT && new == TCP_CLOSE) {
		row = ownerless_row();
		if (row)
			add(row, SLOT_tcp_connect_error, 1);
		return 0;
	}
#endif
	if ((old == TCP_ESTABLISHED || old == TCP_CLOSE_WAIT) &&
	    (new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK || new == TCP_CLOSE)) {
		row = ownerless_row();
		if (row)
			add(row, SLOT_tcp_close, 1);
	}
	return 0;
}

#if TYPED
#include "typed.h"
#else
#include "legacy.h"
#endif
