// A load of known traffic: two processes, server and client, that run the same words and count each call as it happens.
//
//     netload server|client CONTROL ADDRESS4 ADDRESS6 PORT WORD...
//
// WORD is NAME=COUNT:BYTES:FAMILY; FAMILY is 4, 6, or m (IPv4 through a socket of IPv6). The two meet at CONTROL, a socket of AF_UNIX that the
// server makes. The word at place i (from 0) uses the ports from PORT + 10 i on. `early=1:0:4` makes the server listen for the next `stream`
// at once, on its port; `older` connects before the pause, for `older_used` behind it; `pause` says `paused` and waits for one byte on stdin. What was done comes on stdout at the end: lines `total NAME VALUE` and
// `flow ...` (net/tally.h), then `end`. An operation that did not do what it should ends its process with status 1 and a message.
//
// Which operation does what stands beside it in net/tcp.h, net/udp.h and net/seldom.h.

#define _GNU_SOURCE
#include <signal.h>
#include <sys/resource.h>

#include "net/seldom.h"

struct operation {
	const char *name;
	void (*run)(long times, long bytes, char family);
};

#define OP(name) { #name, op_##name }
static const struct operation operations[] = {
	OP(stream), OP(nonblocking), OP(sendfile), OP(threads), OP(short), OP(many), OP(half_closed), OP(reset), OP(refused),
	OP(unconnected), OP(looks), OP(unaccepted), OP(handed_over), OP(inherited), OP(reused), OP(fast_open), OP(dropped_syn),
	OP(udp_connected), OP(udp_unconnected), OP(udp_mixed), OP(udp_answers), OP(udp_clients), OP(udp_peers), OP(udp_empty), OP(udp_looks),
	OP(udp_refused), OP(udp_bound_client), OP(udp_handed_over), OP(noise), OP(udp_lite),
	OP(udp_many), OP(udp_many_peers), OP(udp_corked), OP(udp_corked_peers), OP(udp_segments), OP(udp_empty_looks), OP(udp_shut), OP(ring),
	OP(udp_ring), OP(spliced), OP(udp_sendfile), OP(zerocopy), OP(urgent), OP(self_connected), OP(older), OP(older_used), OP(mptcp_listener), OP(mptcp), OP(udp_takers), OP(udp_shared),
	OP(udp_reconnected), OP(udp_broadcast), OP(udp_elsewhere),
};
#undef OP

// Runs one word, which uses the ports from `port` on.
static void run(const char *text)
{
	char name[32], family = '4';
	long times = 1, bytes = 0;
	word = text;
	if (strcmp(text, "pause") == 0) {
		printf("paused\n");
		fflush(stdout);
		(void)!read(STDIN_FILENO, name, 1);
		return;
	}
	CHECK(sscanf(text, "%31[a-z_]=%ld:%ld:%c", name, &times, &bytes, &family) >= 2);
	CHECK(bytes >= 0 && strchr("46m", family));
	if (strcmp(name, "early") == 0) {
		// Of the next word behind the pause.
		if (is_server)
			early_listener = listener(family, port + 2 * PORTS_OF_A_WORD, 64);
		return;
	}
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		if (strcmp(operations[i].name, name) == 0) {
			operations[i].run(times, bytes, family);
			return;
		}
	}
	fprintf(stderr, "no such operation: %s\n", text);
	exit(1);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };
	if (argc < 6) {
		fprintf(stderr, "usage: netload server|client CONTROL ADDRESS4 ADDRESS6 PORT WORD...\n");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	alarm(240); // whatever hangs
	setrlimit(RLIMIT_NOFILE, &files);
	make_tally();
	is_server = strcmp(argv[1], "server") == 0;
	CHECK(inet_pton(AF_INET, argv[3], &address_v4) == 1 && inet_pton(AF_INET6, argv[4], &address_v6) == 1);
	open_control(argv[2]);
	for (int i = 6; i < argc; i++) {
		port = atoi(argv[5]) + PORTS_OF_A_WORD * (i - 6);
		run(argv[i]);
	}
	report();
	return 0;
}
