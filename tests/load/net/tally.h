/*
 * What was done so far: calls, errors, bytes, and traffic by flow. One table for all threads and all children of this process, so that
 * what was inherited or handed on is counted where it is done. Definitions: probe-objects/network_viewer/module.toml.
 */
#ifndef TALLY_H
#define TALLY_H

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FLOWS_MAX 65536

/* In the order of NAMES. */
enum counter {
	TCP_SEND, TCP_SEND_ERROR, TCP_SENT_BYTES, TCP_RECEIVE, TCP_RECEIVE_ERROR, TCP_RECEIVED_BYTES,
	UDP_SEND, UDP_SEND_ERROR, UDP_SENT_BYTES, UDP_RECEIVE, UDP_RECEIVE_ERROR, UDP_RECEIVED_BYTES,
	TCP_CLOSE_, TCP_CONNECT_V4, TCP_CONNECT_V6, TCP_CONNECT_ERROR, TCP_ACCEPT,
	TCP_SEND_SPREAD, /* further calls that sendfile may have been cut into */
	COUNTERS
};

static const char *const NAMES[COUNTERS] = {
	"tcp_send", "tcp_send_error", "tcp_sent_bytes", "tcp_receive", "tcp_receive_error", "tcp_received_bytes",
	"udp_send", "udp_send_error", "udp_sent_bytes", "udp_receive", "udp_receive_error", "udp_received_bytes",
	"tcp_close", "tcp_connect_v4", "tcp_connect_v6", "tcp_connect_error", "tcp_accept", "tcp_send_spread",
};

/* Addresses as IPv6 has them, IPv4 as ::ffff:a.b.c.d; of inbound traffic nothing but the port. */
struct flow_key {
	uint8_t address[16];
	uint16_t port;
	uint8_t is_inbound;
	uint8_t is_udp;
};

struct flow {
	struct flow_key key;
	uint8_t is_used;
	uint64_t sent_bytes, sent_packets, received_bytes, received_packets;
	uint64_t spread; /* sent packets that may be there beside these: sendfile */
};

struct tally {
	atomic_flag lock;
	uint64_t counters[COUNTERS];
	struct flow flows[FLOWS_MAX];
};

static struct tally *tally;

static void make_tally(void)
{
	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tally == MAP_FAILED)
		abort();
}

static void lock_tally(void)
{
	while (atomic_flag_test_and_set(&tally->lock))
		;
}

static void unlock_tally(void)
{
	atomic_flag_clear(&tally->lock);
}

static void count(enum counter counter, uint64_t by)
{
	lock_tally();
	tally->counters[counter] += by;
	unlock_tally();
}

/* The flow of `key`, made if there is none; under the lock. */
static struct flow *flow_of(const struct flow_key *key)
{
	uint32_t hash = 2166136261u;
	const uint8_t *bytes = (const uint8_t *)key;
	for (size_t i = 0; i < sizeof(*key); i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	for (uint32_t i = 0; i < FLOWS_MAX; i++) {
		struct flow *flow = &tally->flows[(hash + i) % FLOWS_MAX];
		if (flow->is_used && memcmp(&flow->key, key, sizeof(*key)) != 0)
			continue;
		flow->is_used = 1;
		flow->key = *key;
		return flow;
	}
	abort();
}

/* One line for each counter and for each flow; the words are named in tests/src/network/done.rs. */
static void report(void)
{
	char address[INET6_ADDRSTRLEN];
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	for (int i = 0; i < COUNTERS; i++)
		printf("total %s %lu\n", NAMES[i], tally->counters[i]);
	for (int i = 0; i < FLOWS_MAX; i++) {
		const struct flow *flow = &tally->flows[i];
		const uint8_t *bytes = flow->key.address;
		if (!flow->is_used)
			continue;
		if (memcmp(bytes, mapped, sizeof(mapped)) == 0)
			inet_ntop(AF_INET, bytes + 12, address, sizeof(address));
		else
			inet_ntop(AF_INET6, bytes, address, sizeof(address));
		printf("flow %s %s %s %u %lu %lu %lu %lu %lu\n", flow->key.is_inbound ? "inbound" : "outbound",
		       flow->key.is_udp ? "UDP" : "TCP", address, flow->key.port, flow->sent_bytes, flow->sent_packets,
		       flow->received_bytes, flow->received_packets, flow->spread);
	}
	printf("end\n");
	fflush(stdout);
}

#endif
