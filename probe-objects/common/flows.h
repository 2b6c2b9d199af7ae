/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Flows: traffic by peer, and by port that this host serves on.
 *
 * Added up in the kernel after direction is known: what a program of this host began is one row for each peer and port of the peer; what others
 * began is one row for each local port, however many they are. A row belongs to one CPU in one epoch, as those of rows.h do.
 *
 * Direction: of TCP, who sent the SYN; of sockets that are older than the programs, or that the table of sockets has forgotten, whether somebody
 * listens on the local port. Of UDP: a socket that was bound to a port and is not connected serves; every other one is a client, of the peer that
 * it is connected to, or that each datagram goes to or comes from. Of a datagram whose sender the program does not ask for, its last destination.
 */
#ifndef FLOWS_H
#define FLOWS_H

#include "task.h"

enum { INBOUND, OUTBOUND, DIRECTIONS };
enum { TCP, UDP, PROTOCOLS };

/* An address as IPv6 has it, IPv4 as ::ffff:a.b.c.d, in network order; a port in host order, 0 where none is known. */
struct peer {
	__u32 address[4];
	__u32 port;
};

/* Shared with user space, no padding: workers/src/flows.rs. */
struct flow_key {
	__u32 address[4];
	__u16 port;
	__u8 direction;
	__u8 protocol;
	__u32 lane;
};

struct flow {
	__u64 sent_bytes;
	__u64 received_bytes;
	__u64 sent_packets;     /* calls that sent something; of UDP: datagrams */
	__u64 received_packets;
	__u64 retransmits;
	__u64 without_room;     /* only in unknown_flows: transfers with a known peer that found the table full */
};

/*
 * Value: traffic of one peer or port. Written here, read and deleted by user space in the other epoch. 120 B each, allocated at the start,
 * because allocation inside a probe may fail; max_entries is set by the loader. When full, `unknown_flows` counts.
 */
DEFINE_MAP(flows, BPF_MAP_TYPE_HASH, struct flow_key, struct flow, 65536, 0);

#if FLAVOUR_ROWS
/* Whether a slot has its key. */
enum { FLOW_SLOT_FREE, FLOW_SLOT_HELD, FLOW_SLOT_CLAIMED };

struct flow_slot {
	__u64 owner; /* FLOW_SLOT_* */
	struct flow_key key;
	struct flow flow;
};

enum { FLOW_SLOTS = 256 }; /* per CPU and epoch; a power of two */

/*
 * Key: lane × 256 + a hash of the flow. Value: the first flow of the epoch that came there; others go to `flows`. Claimed as rows are, read and
 * cleared by user space in the other epoch. max_entries is set by the loader: possible CPUs × 512, 80 B each, so 41 kB per CPU.
 */
DEFINE_MAP(flow_slots, BPF_MAP_TYPE_ARRAY, __u32, struct flow_slot, 1, BPF_F_MMAPABLE);
#endif

/*
 * Key: lane × 4 + direction × 2 + protocol. Value: traffic with a peer that is not known. Written here, cleared by user space in the other
 * epoch. max_entries is set by the loader: possible CPUs × 8, 48 B each.
 */
DEFINE_MAP(unknown_flows, BPF_MAP_TYPE_ARRAY, __u32, struct flow, 1, 0);

/* Who used a socket last; as the head of `struct row`. */
struct socket_user {
	__u64 owner;
	__u64 start_ns;
	__u32 tgid;
	__u32 parent_tgid;
	__u32 generation;
	__u32 flags;
	char comm[16];
};

/* What is remembered of a socket. */
struct socket_state {
	struct socket_user user;
	struct peer peer;  /* of an unconnected UDP socket: where it sent to last; of a listener: its own port */
	__u32 direction;
	__u32 retransmits; /* as in `struct ends`, when they were counted last */
	__u32 is_simultaneous; /* of TCP: both ends sent a SYN, and it is not established yet */
};

/*
 * Key: address of the kernel's socket. Written here only; what an address was used for before is overwritten when a connection begins. The least
 * recently used go when it is full: then direction is found out anew. 144 B each, 4.7 MB.
 */
DEFINE_MAP(sockets, BPF_MAP_TYPE_LRU_HASH, __u64, struct socket_state, 32768, 0);

/*
 * Key: port; TCP, then UDP. Value: sockets that listen on it, in all network namespaces; for UDP, whether one was bound to it before the start
 * (no BTF only). Filled by user space at the start, then by state changes. 1 MB.
 */
enum { PORTS = 65536 };
DEFINE_MAP(listening, BPF_MAP_TYPE_ARRAY, __u32, __u32, PROTOCOLS * PORTS, 0);

/*
 * Key: thread, and RECEIVED where it receives. Value: where the datagram that it is sending goes to, or where the one that it receives came from;
 * port 0 where that is not asked for, or was told. 96 B each, 393 kB; the least recently used go.
 */
enum : __u64 { RECEIVED = 1ULL << 63 };
DEFINE_MAP(datagram_peers, BPF_MAP_TYPE_LRU_HASH, __u64, struct peer, 4096, 0);

#if TYPED
/* Whether flows are counted; set by the loader. */
const volatile __u32 count_flows = 1;
#define COUNT_FLOWS count_flows
#else
#define COUNT_FLOWS control_word(CONTROL_FLOWS)
#endif

/* What a socket says of itself. */
struct ends {
	__u64 id;             /* its address in the kernel */
	__u32 protocol;       /* TCP, UDP */
	__u32 local_port;
	__u32 is_connected;
	__u32 is_bound;       /* UDP: a program chose its port */
	struct peer peer;     /* of a connected socket */
	__u32 retransmits;    /* TCP: segments that it sent again, plus one; 0 where that was not asked for, or is not told */
};

static __always_inline void clear_peer(struct peer *peer)
{
	peer->address[0] = peer->address[1] = peer->address[2] = peer->address[3] = 0;
	peer->port = 0;
}

static __always_inline void set_ipv4(struct peer *peer, __u32 address)
{
	peer->address[0] = 0;
	peer->address[1] = 0;
	peer->address[2] = __builtin_bswap32(0xffff);
	peer->address[3] = address;
}

/* A struct sockaddr_in or sockaddr_in6 (include/uapi/linux/in.h, in6.h). */
struct socket_address {
	__u16 family;
	__u16 port; /* network order */
	__u32 ipv4; /* AF_INET6: flow label */
	__u32 ipv6[4];
};

static __always_inline void set_address(struct peer *peer, const struct socket_address *address)
{
	peer->port = __builtin_bswap16(address->port);
	if (address->family == AF_INET) {
		set_ipv4(peer, address->ipv4);
		return;
	}
	peer->address[0] = address->ipv6[0];
	peer->address[1] = address->ipv6[1];
	peer->address[2] = address->ipv6[2];
	peer->address[3] = address->ipv6[3];
}

static __always_inline int is_ipv4(const struct peer *peer)
{
	return !peer->address[0] && !peer->address[1] && peer->address[2] == __builtin_bswap32(0xffff);
}

static __always_inline int is_same_peer(const struct peer *one, const struct peer *other)
{
	return one->address[0] == other->address[0] && one->address[1] == other->address[1] &&
	       one->address[2] == other->address[2] && one->address[3] == other->address[3] && one->port == other->port;
}

static __always_inline int listens(__u32 protocol, __u32 port)
{
	__u32 index = protocol * PORTS + (port & (PORTS - 1));
	__u32 *count = bpf_map_lookup_elem(&listening, &index);
	return count && *count > 0;
}

static __always_inline void count_listener(__u32 port, __s32 change)
{
	__u32 index = port & (PORTS - 1);
	__u32 *count = bpf_map_lookup_elem(&listening, &index);
	if (!count || (change < 0 && *count == 0))
		return;
	__sync_fetch_and_add(count, change);
}

#if FLAVOUR_ROWS
static __always_inline struct flow_slot *slot_of_flow(const struct flow_key *key)
{
	__u32 hash = key->address[0] ^ key->address[1] ^ key->address[3] ^ (__u32)key->port << 16;
	__u32 index;
	/* The upper bits of a product depend on all bits of what was multiplied. */
	hash = (hash * 0x9e3779b1U) >> 24 ^ key->direction ^ key->protocol << 1;
	index = key->lane * FLOW_SLOTS + (hash & (FLOW_SLOTS - 1));
	return bpf_map_lookup_elem(&flow_slots, &index);
}

/* The lane is that of the slot. */
static __always_inline int is_same_flow(const struct flow_key *one, const struct flow_key *other)
{
	return one->address[3] == other->address[3] && one->port == other->port && one->direction == other->direction &&
	       one->protocol == other->protocol && one->address[2] == other->address[2] && one->address[1] == other->address[1] &&
	       one->address[0] == other->address[0];
}
#endif

static __always_inline struct flow *unknown_flow(__u32 direction, __u32 protocol)
{
	__u32 index = current_lane() * DIRECTIONS * PROTOCOLS + direction * PROTOCOLS + protocol;
	return bpf_map_lookup_elem(&unknown_flows, &index);
}

/* Where calls are known to be accepted (refused before 4.16), a function of its own: few calls need it, and it has a stack of its own. */
#if FLAVOUR_ROWS
#define SELDOM __attribute__((noinline))
#else
#define SELDOM __always_inline
#endif

/* The row of a flow in the hash, made if there is none. */
static SELDOM struct flow *hashed_flow(const struct flow_key *key)
{
	struct flow none = {};
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	if (flow)
		return flow;
	bpf_map_update_elem(&flows, key, &none, BPF_NOEXIST);
	flow = bpf_map_lookup_elem(&flows, key);
	if (flow)
		return flow;
	flow = unknown_flow(key->direction & 1, key->protocol & 1);
	if (flow)
		__sync_fetch_and_add(&flow->without_room, 1);
	return flow;
}

/* The row of a flow in this epoch, made if there is none. */
static __always_inline struct flow *flow_of(__u32 direction, __u32 protocol, const struct peer *peer, __u32 local_port)
{
	struct flow_key key = { .direction = direction, .protocol = protocol, .lane = current_lane() };
	if (direction == INBOUND) {
		key.port = local_port;
	} else {
		key.port = peer->port;
		key.address[0] = peer->address[0];
		key.address[1] = peer->address[1];
		key.address[2] = peer->address[2];
		key.address[3] = peer->address[3];
	}
	if (key.port == 0)
		return unknown_flow(direction, protocol);
#if FLAVOUR_ROWS
	struct flow_slot *slot = slot_of_flow(&key);
	if (slot && slot->owner == FLOW_SLOT_HELD && is_same_flow(&slot->key, &key))
		return &slot->flow;
	if (slot && slot->owner == FLOW_SLOT_FREE &&
	    __sync_val_compare_and_swap(&slot->owner, FLOW_SLOT_FREE, FLOW_SLOT_CLAIMED) == FLOW_SLOT_FREE) {
		slot->key = key;
		KEEP_APART();
		*(volatile __u64 *)&slot->owner = FLOW_SLOT_HELD;
		return &slot->flow;
	}
#endif
	return hashed_flow(&key);
}

/* Remembers a connection that begins, whatever its address was used for before. */
static SELDOM void remember_connection(__u64 id, __u32 direction, __u32 retransmits)
{
	struct socket_state state = { .direction = direction, .retransmits = retransmits };
	bpf_map_update_elem(&sockets, &id, &state, 0);
}

/* Notes in `user` whose row this is, unless it is known. */
static __always_inline void note_user(struct socket_user *user, const struct row *row)
{
#if APPS
	if (!row || row->owner == 0)
		return;
	if (user->owner == row->owner && user->tgid == row->tgid && user->generation == row->generation)
		return;
	user->owner = row->owner;
	user->start_ns = row->start_ns;
	user->tgid = row->tgid;
	user->parent_tgid = row->parent_tgid;
	user->generation = row->generation;
	user->flags = row->flags & ROW_COMM_OF_THREAD;
#pragma unroll
	for (int i = 0; i < 16; i++)
		user->comm[i] = row->comm[i];
#endif
}

/* For a socket that nothing is known of. NULL when it cannot be kept. */
static SELDOM struct socket_state *new_state(const struct ends *ends)
{
	struct socket_state fresh = {};
	fresh.direction = listens(ends->protocol, ends->local_port) ? INBOUND : OUTBOUND;
	bpf_map_update_elem(&sockets, &ends->id, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&sockets, &ends->id);
}

/* What is known of a socket; made if there is nothing. NULL when that fails: what would be remembered is found out anew then. */
static __always_inline struct socket_state *state_of(const struct ends *ends)
{
	return bpf_map_lookup_elem(&sockets, &ends->id) ?: new_state(ends);
}

static __always_inline __u32 direction_of(const struct ends *ends, const struct socket_state *state)
{
	if (ends->protocol == UDP) {
		if (ends->is_connected)
			return OUTBOUND;
		if (ends->is_bound)
			return INBOUND;
#if TYPED
		return OUTBOUND;
#endif
	}
	return state ? state->direction : OUTBOUND;
}

/* `flow`: NULL where there is no room for it. */
static __always_inline void count_in_flow(struct flow *flow, __u64 bytes, __u64 packets, int is_received)
{
	if (!flow)
		return;
	if (is_received) {
		__sync_fetch_and_add(&flow->received_bytes, bytes);
		__sync_fetch_and_add(&flow->received_packets, packets);
	} else {
		__sync_fetch_and_add(&flow->sent_bytes, bytes);
		__sync_fetch_and_add(&flow->sent_packets, packets);
	}
}

#include "kept_datagrams.h"

/* Whom an unconnected client sends to, or hears from. */
static __always_inline void find_udp_peer(struct peer *peer, struct socket_state *state, int is_received)
{
	__u64 key = bpf_get_current_pid_tgid() | (is_received ? RECEIVED : 0);
	struct peer *known = bpf_map_lookup_elem(&datagram_peers, &key);
	if (is_received) {
		if (known && known->port) {
			*peer = *known;
			known->port = 0;
		} else if (state) {
			*peer = state->peer;
		}
		return;
	}
	if (!known || !known->port || !is_told_destination())
		return;
	*peer = *known;
	if (state && !is_same_peer(&state->peer, known))
		state->peer = *known;
	/* Should nothing be told of the next one, its destination is not known. */
	known->port = 0;
}

/* Adds to its flow what was moved; `row`: of the process that moved it; `packets`: 0 for more of a call that is counted already. */
static __always_inline void count_flow(struct ends *ends, const struct row *row, __u64 bytes, __u64 packets, int is_received)
{
	/* Nothing needs be remembered of UDP sockets that are connected, or serve. */
	int is_plain = ends->protocol == UDP && (ends->is_connected || ends->is_bound);
	struct socket_state *state = is_plain ? NULL : state_of(ends);
	__u32 direction = direction_of(ends, state);
	if (state && ends->protocol == TCP)
		note_user(&state->user, row);
	if (ends->protocol == UDP && direction == OUTBOUND && !ends->is_connected) {
		find_udp_peer(&ends->peer, state, is_received);
		if (keep_datagram(ends, bytes, is_received))
			return;
	}
	count_in_flow(flow_of(direction, ends->protocol, &ends->peer, ends->local_port), bytes, packets, is_received);
}

#endif
