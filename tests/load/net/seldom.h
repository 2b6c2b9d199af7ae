/*
 * Operations that few programs do, but that the kernel answers by ways of its own. Each function is both halves of one operation.
 */
#ifndef NET_SELDOM_H
#define NET_SELDOM_H

#include <linux/io_uring.h>
#include <poll.h>
#include <sys/syscall.h>

#include "tcp.h"
#include "udp.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { MANY = 64 };

/* What waits for a server's half; nothing more comes for a while. */
static void wait_readable(int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };
	CHECK(poll(&entry, 1, 10000) == 1);
}

/*
 * COUNT calls of sendmmsg with 64 messages each of a connected client; of the last call the 50th is too long, so 49 are sent. The server takes them
 * by recvmmsg of 64 and answers likewise.
 */
static void op_udp_many(long times, long bytes, char family)
{
	struct end end = is_server ? udp_server(family, port) : udp_client(family, port);
	struct sockaddr_storage from[MANY];
	struct mmsghdr messages[MANY];
	struct iovec pieces[MANY];
	if (!is_server)
		connect_udp(&end);
	meet();
	for (long i = 0; i < times; i++) {
		int wanted = i + 1 == times ? 49 : MANY;
		for (int half = 0; half < 2; half++) {
			memset(messages, 0, sizeof(messages));
			for (int n = 0; n < MANY; n++) {
				pieces[n] = (struct iovec){ buffer, bytes + n };
				messages[n].msg_hdr.msg_iov = &pieces[n];
				messages[n].msg_hdr.msg_iovlen = 1;
				if (is_server) {
					messages[n].msg_hdr.msg_name = &from[n];
					messages[n].msg_hdr.msg_namelen = half ? length_of(&from[0]) : sizeof(from[n]);
					if (half)
						from[n] = from[0];
				}
			}
			if (is_server == half) {
				if (wanted < MANY)
					pieces[wanted].iov_len = 70000;
				CHECK(sendmmsg(end.fd, messages, MANY, 0) == wanted);
				for (int n = 0; n < wanted; n++)
					sent(&end, messages[n].msg_len);
				if (wanted < MANY)
					sent(&end, -1);
				meet();
				continue;
			}
			meet();
			for (int n = 0; n < MANY; n++)
				pieces[n].iov_len = BUFFER_BYTES / MANY;
			CHECK(recvmmsg(end.fd, messages, MANY, MSG_DONTWAIT, NULL) == wanted);
			for (int n = 0; n < wanted; n++)
				CHECK(received(&end, messages[n].msg_len, 0) == bytes + n);
			if (wanted < MANY)
				received(&end, -1, 0);
		}
	}
	meet();
	close(end.fd);
}

/* COUNT calls of sendmmsg with 64 messages to three peers in turn, which answer; the client takes all by recvmmsg of 64. */
static void op_udp_many_peers(long times, long bytes, char family)
{
	struct sockaddr_storage peers[MANY];
	struct end servers[3], client;
	struct mmsghdr messages[MANY];
	struct iovec pieces[MANY];
	open_ends(servers, &client, family);
	for (long i = 0; i < times; i++) {
		memset(messages, 0, sizeof(messages));
		for (int n = 0; n < MANY; n++) {
			peers[n] = address_of(family, port + n % 3);
			pieces[n] = (struct iovec){ buffer, bytes + n };
			messages[n].msg_hdr.msg_name = &peers[n];
			messages[n].msg_hdr.msg_namelen = length_of(&peers[n]);
			messages[n].msg_hdr.msg_iov = &pieces[n];
			messages[n].msg_hdr.msg_iovlen = 1;
		}
		if (is_server) {
			meet();
			for (int n = 0; n < MANY; n++)
				answer_datagrams(&servers[n % 3], PLAIN, bytes + n);
			meet();
			continue;
		}
		CHECK(sendmmsg(client.fd, messages, MANY, 0) == MANY);
		for (int n = 0; n < MANY; n++)
			sent_to(&client, &peers[n], messages[n].msg_len);
		meet();
		meet();
		for (int n = 0; n < MANY; n++)
			messages[n].msg_hdr.msg_namelen = sizeof(peers[n]);
		CHECK(recvmmsg(client.fd, messages, MANY, MSG_DONTWAIT, NULL) == MANY);
		for (int n = 0; n < MANY; n++)
			CHECK(received_from(&client, &peers[n], messages[n].msg_len, 0) == bytes + n);
	}
	close_ends(servers, &client);
}

/* COUNT datagrams of a connected client that four calls make up each, by MSG_MORE and by UDP_CORK. */
static void op_udp_corked(long times, long bytes, char family)
{
	struct end end = is_server ? udp_server(family, port) : udp_client(family, port);
	if (!is_server)
		connect_udp(&end);
	meet();
	for (long i = 0; i < times; i++) {
		int on = i % 2;
		if (is_server) {
			CHECK(receive_by(&end, WITH_ADDRESS, BUFFER_BYTES, 0, 1, &end.peer) == 4 * bytes);
			continue;
		}
		if (i % 2)
			CHECK(setsockopt(end.fd, IPPROTO_UDP, UDP_CORK, &on, sizeof(on)) == 0);
		for (int n = 0; n < 4; n++)
			CHECK(send_by(&end, n % 2 ? MESSAGE : PLAIN, bytes, i % 2 || n == 3 ? 0 : MSG_MORE) == bytes);
		on = 0;
		if (i % 2)
			CHECK(setsockopt(end.fd, IPPROTO_UDP, UDP_CORK, &on, sizeof(on)) == 0);
	}
	meet();
	close(end.fd);
}

/* Books one send that may have no known peer, of a datagram; but not that of `wrong`, which may have `spread` packets, and no bytes. */
static void sent_to_unknown(const struct end *end, const struct sockaddr_storage *wrong, long result, long spread)
{
	struct flow_key key = key_of(end, wrong);
	count(UDP_SEND, 1);
	count(UDP_SENT_BYTES, result);
	lock_tally();
	flow_of(&key)->spread += spread;
	unlock_tally();
}

/* COUNT times, unconnected: UDP_CORK, whose empty datagram setsockopt sends, then MSG_MORE from another socket to another peer. */
static void op_udp_corked_peers(long times, long bytes, char family)
{
	struct end servers[3], client, other;
	open_ends(servers, &client, family);
	if (!is_server)
		other = udp_client(family, port);
	for (long i = 0; i < times; i++) {
		struct sockaddr_storage peers[2] = { address_of(family, port), address_of(family, port + 1) };
		int on = 1, off = 0;
		if (is_server) {
			CHECK(receive_by(&servers[0], PLAIN, BUFFER_BYTES, 0, 1, NULL) == 0);
			CHECK(receive_by(&servers[1], PLAIN, BUFFER_BYTES, 0, 1, NULL) == 4 * bytes);
			continue;
		}
		CHECK(setsockopt(client.fd, IPPROTO_UDP, UDP_CORK, &on, sizeof(on)) == 0);
		CHECK(sendto(client.fd, buffer, 0, 0, (void *)&peers[0], length_of(&peers[0])) == 0);
		sent_to_unknown(&client, &peers[0], 0, 1);
		CHECK(setsockopt(client.fd, IPPROTO_UDP, UDP_CORK, &off, sizeof(off)) == 0);
		for (int n = 0; n < 4; n++) {
			CHECK(sendto(other.fd, buffer, bytes, n == 3 ? 0 : MSG_MORE, (void *)&peers[1], length_of(&peers[1])) == bytes);
			sent_to_unknown(&other, &peers[0], bytes, 0);
		}
	}
	if (!is_server)
		close(other.fd);
	close_ends(servers, &client);
}

/* COUNT calls that send ten datagrams each (UDP_SEGMENT); every second one is received as a whole (UDP_GRO). */
static void op_udp_segments(long times, long bytes, char family)
{
	struct end end = is_server ? udp_server(family, port) : udp_client(family, port);
	int size = bytes;
	if (!is_server)
		connect_udp(&end);
	if (!is_server)
		CHECK(setsockopt(end.fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)) == 0);
	for (long i = 0; i < times; i++) {
		int on = i % 2;
		if (is_server)
			CHECK(setsockopt(end.fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) == 0);
		meet();
		if (!is_server) {
			CHECK(send_by(&end, i % 2 ? MESSAGE : PLAIN, 10 * bytes, 0) == 10 * bytes);
			meet();
			continue;
		}
		meet();
		for (long taken = 0; taken < 10 * bytes;) {
			long done = receive_by(&end, MESSAGE, BUFFER_BYTES, MSG_DONTWAIT, 1, &end.peer);
			CHECK(done > 0);
			taken += done;
		}
		CHECK(receive_by(&end, PLAIN, BUFFER_BYTES, MSG_DONTWAIT, 1, NULL) == -1);
	}
	meet();
	close(end.fd);
}

/* COUNT looks at an empty datagram, then it is taken. */
static void op_udp_empty_looks(long times, long bytes, char family)
{
	struct end end = is_server ? udp_server(family, port) : udp_client(family, port);
	(void)bytes;
	if (!is_server)
		connect_udp(&end);
	meet();
	for (long i = 0; i < times; i++) {
		if (!is_server) {
			CHECK(send_by(&end, PLAIN, 0, 0) == 0);
			continue;
		}
		wait_readable(end.fd);
		CHECK(receive_by(&end, PLAIN, 10, MSG_PEEK, 1, NULL) == 0);
		CHECK(receive_by(&end, MESSAGE, 0, MSG_PEEK, 1, NULL) == 0);
		CHECK(receive_by(&end, PLAIN, 10, 0, 1, NULL) == 0);
	}
	meet();
	close(end.fd);
}

/* COUNT receives of a socket that is shut down for receiving: they return 0 at once, and took nothing. */
static void op_udp_shut(long times, long bytes, char family)
{
	struct end end = is_server ? udp_server(family, port) : udp_client(family, port);
	if (!is_server)
		connect_udp(&end);
	meet();
	if (!is_server) {
		CHECK(send_by(&end, PLAIN, bytes, 0) == bytes);
		CHECK(shutdown(end.fd, SHUT_RD) == 0);
		for (long i = 0; i < times; i++) {
			CHECK(recv(end.fd, buffer, 10, 0) == 0);
			count(UDP_RECEIVE, 1);
		}
	} else {
		CHECK(receive_by(&end, PLAIN, BUFFER_BYTES, 0, 1, NULL) == bytes);
	}
	meet();
	close(end.fd);
}

/* One ring of io_uring with one place, driven by hand. */
struct ring {
	int fd;
	unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

/* False where this kernel or its settings have no io_uring. */
static int open_ring(struct ring *ring)
{
	struct io_uring_params params = { 0 };
	ring->fd = syscall(SYS_io_uring_setup, 4, &params);
	if (ring->fd < 0)
		return 0;
	char *sq = mmap(NULL, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
	char *cq = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_CQ_RING);
	ring->sqes = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQES);
	CHECK(sq != MAP_FAILED && cq != MAP_FAILED && (void *)ring->sqes != MAP_FAILED);
	ring->sq_tail = (unsigned *)(sq + params.sq_off.tail);
	ring->sq_mask = (unsigned *)(sq + params.sq_off.ring_mask);
	ring->sq_array = (unsigned *)(sq + params.sq_off.array);
	ring->cq_head = (unsigned *)(cq + params.cq_off.head);
	ring->cq_mask = (unsigned *)(cq + params.cq_off.ring_mask);
	ring->cqes = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	return 1;
}

/* Submits one operation and returns its result. */
static long by_ring(struct ring *ring, int operation, int fd, void *address, unsigned length, int flags)
{
	unsigned tail = *ring->sq_tail, index = tail & *ring->sq_mask;
	struct io_uring_sqe *sqe = &ring->sqes[index];
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = operation;
	sqe->fd = fd;
	sqe->addr = (uintptr_t)address;
	sqe->len = length;
	sqe->msg_flags = flags;
	ring->sq_array[index] = index;
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
	CHECK(syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
	unsigned head = *ring->cq_head;
	long result = ring->cqes[head & *ring->cq_mask].res;
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	if (result < 0) {
		errno = -result;
		return -1;
	}
	return result;
}

/* COUNT exchanges over TCP by io_uring; what is received is there already, so that each is one call. */
static void op_ring(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 1) : -1;
	struct ring ring;
	int has_ring = open_ring(&ring);
	meet();
	struct end end = is_server ? accept_end(fd, port) : connected_end(family, port);
	for (long i = 0; i < times && has_ring; i++) {
		if (is_server) {
			wait_readable(end.fd);
			CHECK(received(&end, by_ring(&ring, IORING_OP_RECV, end.fd, buffer, bytes, 0), 0) == bytes);
			CHECK(sent(&end, by_ring(&ring, IORING_OP_SEND, end.fd, buffer, bytes, 0)) == bytes);
		} else {
			CHECK(sent(&end, by_ring(&ring, IORING_OP_SEND, end.fd, buffer, bytes, 0)) == bytes);
			wait_readable(end.fd);
			CHECK(received(&end, by_ring(&ring, IORING_OP_RECV, end.fd, buffer, bytes, 0), 0) == bytes);
		}
	}
	meet();
	close_end(&end);
	if (is_server)
		close(fd);
}

/* COUNT datagrams by io_uring of a client that is not connected, whose thread has sent just before, from a socket that serves, to another peer. */
static void op_udp_ring(long times, long bytes, char family)
{
	struct end servers[3], client, serving;
	struct ring ring;
	int has_ring = open_ring(&ring);
	open_ends(servers, &client, family);
	if (!is_server)
		serving = udp_server(family, port + 3);
	for (long i = 0; i < times && has_ring; i++) {
		struct sockaddr_storage peers[2] = { address_of(family, port), address_of(family, port + 1) };
		struct iovec piece = { buffer, bytes + 1 };
		struct msghdr message = { .msg_name = &peers[1], .msg_namelen = length_of(&peers[1]), .msg_iov = &piece, .msg_iovlen = 1 };
		if (is_server) {
			CHECK(receive_by(&servers[0], PLAIN, BUFFER_BYTES, 0, 1, NULL) == bytes);
			CHECK(receive_by(&servers[1], PLAIN, BUFFER_BYTES, 0, 1, NULL) == bytes + 1);
			continue;
		}
		serving.peer = peers[0];
		CHECK(send_by(&serving, WITH_ADDRESS, bytes, 0) == bytes);
		CHECK(by_ring(&ring, IORING_OP_SENDMSG, client.fd, &message, 1, 0) == bytes + 1);
		sent_to_unknown(&client, &peers[0], bytes + 1, 0);
	}
	if (!is_server)
		close(serving.fd);
	close_ends(servers, &client);
}

/* COUNT pieces through pipes: a splice into the client's socket, out of the server's. */
static void op_spliced(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 1) : -1, pipes[2];
	meet();
	struct end end = is_server ? accept_end(fd, port) : connected_end(family, port);
	CHECK(pipe(pipes) == 0);
	for (long i = 0; i < times; i++) {
		if (is_server) {
			for (long taken = 0; taken < bytes;) {
				long done = splice(end.fd, NULL, pipes[1], NULL, bytes - taken, 0);
				CHECK(received(&end, done, 0) > 0);
				CHECK(read(pipes[0], buffer, done) == done);
				taken += done;
			}
			tell();
		} else {
			CHECK(write(pipes[1], buffer, bytes) == bytes);
			long done = splice(pipes[0], NULL, end.fd, NULL, bytes, 0);
			CHECK(sent(&end, done) == bytes);
			struct flow_key key = key_of(&end, &end.peer);
			lock_tally();
			flow_of(&key)->spread += 2 * (bytes / 4096 + 1);
			tally->counters[TCP_SEND_SPREAD] += 2 * (bytes / 4096 + 1);
			unlock_tally();
			hear();
		}
	}
	meet();
	close_end(&end);
	if (is_server)
		close(fd);
}

/* COUNT datagrams from a file by sendfile of a connected client. */
static void op_udp_sendfile(long times, long bytes, char family)
{
	struct end end = is_server ? udp_server(family, port) : udp_client(family, port);
	int file = memfd_create("file", 0);
	CHECK(file >= 0 && ftruncate(file, bytes) == 0);
	if (!is_server)
		connect_udp(&end);
	meet();
	for (long i = 0; i < times; i++) {
		if (is_server) {
			CHECK(receive_by(&end, PLAIN, BUFFER_BYTES, 0, 1, NULL) == bytes);
			continue;
		}
		off_t start = 0;
		CHECK(sent(&end, sendfile(end.fd, file, &start, bytes)) == bytes);
	}
	meet();
	close(end.fd);
	close(file);
}

/* Sends without a copy, and takes the reports of it. */
static void op_zerocopy(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 1) : -1, one = 1;
	meet();
	struct end end = is_server ? accept_end(fd, port) : connected_end(family, port);
	if (is_server) {
		CHECK(receive_to_end(&end) == (uint64_t)(times * bytes));
	} else {
		char space[256];
		CHECK(setsockopt(end.fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) == 0);
		for (long i = 0; i < times; i++) {
			struct pollfd entry = { .fd = end.fd };
			struct msghdr report = { .msg_control = space, .msg_controllen = sizeof(space) };
			CHECK(send_by(&end, i % 2 ? MESSAGE : PLAIN, bytes, 0x4000000) == bytes);
			CHECK(poll(&entry, 1, 10000) == 1);
			CHECK(received(&end, recvmsg(end.fd, &report, MSG_ERRQUEUE), 1) >= 0);
		}
	}
	close_end(&end);
	if (is_server)
		close(fd);
	meet();
}

/* One byte beside the stream. */
static void op_urgent(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 1) : -1;
	meet();
	struct end end = is_server ? accept_end(fd, port) : connected_end(family, port);
	for (long i = 0; i < times; i++) {
		if (is_server) {
			receive_all(&end, PLAIN, bytes);
			hear();
			sleep_ms(20);
			CHECK(receive_by(&end, PLAIN, 1, MSG_OOB, 1, NULL) == 1);
			tell();
		} else {
			send_all(&end, PLAIN, bytes);
			CHECK(send_by(&end, PLAIN, 1, MSG_OOB) == 1);
			tell();
			hear();
		}
	}
	close_end(&end);
	if (is_server)
		close(fd);
	meet();
}

/* COUNT sockets that connect to themselves, which is a simultaneous open. */
static void op_self_connected(long times, long bytes, char family)
{
	for (long i = 0; !is_server && i < times; i++) {
		struct end end = { .fd = bound_socket(family, SOCK_STREAM, port), .peer = address_of(family, port) };
		CHECK(connect_end(&end) == 0);
		send_all(&end, PLAIN, bytes);
		receive_all(&end, PLAIN, bytes);
		linger_not(&end);
		close_end(&end);
	}
}

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* A socket of MPTCP, for its server or client; -1 where this kernel has none. */
static int mptcp_socket(char family)
{
	int one = 1;
	int fd = socket(family == '4' ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
	if (fd >= 0)
		CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
	return fd;
}

/* A socket of MPTCP, which listens if this is the server; below zero where the kernel has none. */
static int mptcp_listener(char family)
{
	struct sockaddr_storage here = address_of(family, port);
	int fd = mptcp_socket(family);
	if (is_server && fd >= 0)
		CHECK(bind(fd, (struct sockaddr *)&here, length_of(&here)) == 0 && listen(fd, 64) == 0);
	return fd;
}

/* A listener of MPTCP, as those of Go are: a client of TCP has a connection of TCP with it. */
static void op_mptcp_listener(long times, long bytes, char family)
{
	int fd = mptcp_listener(family), is_there = fd >= 0;
	meet();
	for (long i = 0; i < times && is_there; i++) {
		struct end end = is_server ? accept_end(fd, port) : connected_end(family, port);
		(is_server ? answer : ask)(&end, i % HOWS, bytes);
	}
	meet();
	if (is_there)
		close(fd);
}

/* MPTCP at both ends: its bytes and calls are not counted, but its subflow is a connection of TCP. */
static void op_mptcp(long times, long bytes, char family)
{
	struct sockaddr_storage here = address_of(family, port);
	int fd = mptcp_listener(family), is_there = fd >= 0;
	meet();
	for (long i = 0; i < times && is_there; i++) {
		int one = is_server ? accept4(fd, NULL, NULL, SOCK_CLOEXEC) : mptcp_socket(family);
		CHECK(one >= 0);
		if (!is_server)
			CHECK(connect(one, (struct sockaddr *)&here, length_of(&here)) == 0);
		if (!is_server)
			CHECK(send(one, buffer, bytes, 0) == bytes);
		for (long taken = 0; is_server && taken < bytes;) {
			long done = recv(one, buffer, bytes, 0);
			CHECK(done > 0);
			taken += done;
		}
		CHECK(close(one) == 0);
		count(is_server ? TCP_ACCEPT : is_ipv4(&here) ? TCP_CONNECT_V4 : TCP_CONNECT_V6, 1);
		count(TCP_CLOSE_, 1);
	}
	meet();
	if (is_there)
		close(fd);
}

/* COUNT threads of a client that is not connected, which take what three servers answer, several at once, by recvmmsg on the same socket. */
struct taking {
	struct end *end;
	long wanted;
};

static void *take_many(void *argument)
{
	struct taking *self = argument;
	while (self->wanted > 0) {
		struct sockaddr_storage from[4];
		struct iovec pieces[4];
		struct mmsghdr messages[4];
		memset(messages, 0, sizeof(messages));
		int most = self->wanted < 4 ? self->wanted : 4;
		for (int n = 0; n < 4; n++) {
			pieces[n] = (struct iovec){ buffer, 1000 };
			messages[n].msg_hdr = (struct msghdr){ .msg_name = &from[n], .msg_namelen = sizeof(from[n]), .msg_iov = &pieces[n], .msg_iovlen = 1 };
		}
		int done = recvmmsg(self->end->fd, messages, most, 0, NULL);
		CHECK(done == most);
		for (int n = 0; n < done; n++)
			received_from(self->end, &from[n], messages[n].msg_len, 0);
		self->wanted -= done;
	}
	return NULL;
}

static void op_udp_takers(long times, long bytes, char family)
{
	enum { EACH = 30 };
	static struct taking takers[THREADS_MAX];
	static pthread_t ids[THREADS_MAX];
	struct end servers[3], client;
	open_ends(servers, &client, family);
	for (long i = 0; !is_server && i < times; i++) {
		takers[i] = (struct taking){ &client, EACH };
		CHECK(pthread_create(&ids[i], NULL, take_many, &takers[i]) == 0);
	}
	for (long i = 0; i < times * EACH; i++) {
		if (is_server) {
			CHECK(receive_by(&servers[i % 3], WITH_ADDRESS, BUFFER_BYTES, 0, 1, &servers[i % 3].peer) == bytes + i % 3);
			CHECK(send_by(&servers[i % 3], WITH_ADDRESS, bytes + i % 3, 0) == bytes + i % 3);
			continue;
		}
		client.peer = address_of(family, port + i % 3);
		CHECK(send_by(&client, WITH_ADDRESS, bytes + i % 3, 0) == bytes + i % 3);
	}
	for (long i = 0; !is_server && i < times; i++)
		CHECK(pthread_join(ids[i], NULL) == 0);
	close_ends(servers, &client);
}

static struct end older_ends[16];
static int older_count, older_listener = -1;
static uint16_t older_port;

/* Before the pause: COUNT connections that nothing moves over yet, not counted. */
static void op_older(long times, long bytes, char family)
{
	(void)bytes;
	CHECK(times <= 16);
	older_port = port;
	older_count = times;
	if (is_server)
		older_listener = listener(family, port, 64);
	meet();
	for (long i = 0; i < times; i++) {
		struct end *end = &older_ends[i];
		if (is_server) {
			*end = (struct end){ .is_inbound = 1, .is_open = 1, .local_port = port, .is_connected = 1 };
			end->fd = accept4(older_listener, NULL, NULL, SOCK_CLOEXEC);
			CHECK(end->fd >= 0);
			continue;
		}
		*end = tcp_client(family, port);
		CHECK(connect(end->fd, (struct sockaddr *)&end->peer, length_of(&end->peer)) == 0);
		end->is_open = end->is_connected = 1;
	}
	meet();
}

/* Behind it: COUNT new connections to the same port, then traffic over the older ones. */
static void op_older_used(long times, long bytes, char family)
{
	for (long i = 0; i < times; i++) {
		uint16_t port_ = older_port;
		struct end end = is_server ? accept_end(older_listener, port_) : connected_end(family, port_);
		(is_server ? answer : ask)(&end, PLAIN, bytes);
		meet();
	}
	for (int i = 0; i < older_count; i++)
		(is_server ? answer : ask)(&older_ends[i], PLAIN, bytes);
	meet();
	if (is_server)
		close(older_listener);
}

struct sharing {
	struct end *end;
	struct sockaddr_storage peer;
	long bytes, times;
};

static void *share(void *argument)
{
	struct sharing *self = argument;
	for (long i = 0; i < self->times; i++) {
		if (is_server) {
			struct sockaddr_storage from;
			socklen_t length = sizeof(from);
			long done = received_from(self->end, &from, recvfrom(self->end->fd, buffer, BUFFER_BYTES, 0, (void *)&from, &length), 0);
			CHECK(done > 0);
			CHECK(sent_to(self->end, &from, sendto(self->end->fd, buffer, done, 0, (void *)&from, length)) == done);
			continue;
		}
		struct sockaddr_storage from;
		socklen_t length = sizeof(from);
		sent_to(self->end, &self->peer, sendto(self->end->fd, buffer, self->bytes, 0, (void *)&self->peer, length_of(&self->peer)));
		CHECK(received_from(self->end, &from, recvfrom(self->end->fd, buffer, BUFFER_BYTES, 0, (void *)&from, &length), 0) > 0);
	}
	return NULL;
}

/* COUNT threads that share one client's socket, which is not connected, and ask three servers, each shared by as many threads. */
static void op_udp_shared(long times, long bytes, char family)
{
	static struct sharing sharers[THREADS_MAX];
	static pthread_t ids[THREADS_MAX];
	struct end servers[3], client;
	CHECK(times * 3 <= THREADS_MAX);
	open_ends(servers, &client, family);
	for (long i = 0; i < 3 * times; i++) {
		sharers[i] = (struct sharing){ .end = is_server ? &servers[i % 3] : &client, .peer = address_of(family, port + i % 3), .bytes = bytes + i % 3, .times = 20 };
		CHECK(pthread_create(&ids[i], NULL, share, &sharers[i]) == 0);
	}
	for (long i = 0; i < 3 * times; i++)
		CHECK(pthread_join(ids[i], NULL) == 0);
	close_ends(servers, &client);
}

/* One socket that is connected to one peer, then to another, then to none. */
static void op_udp_reconnected(long times, long bytes, char family)
{
	struct end servers[3], client;
	open_ends(servers, &client, family);
	for (long i = 0; i < times; i++) {
		struct sockaddr_storage none = { .ss_family = AF_UNSPEC };
		for (int n = 0; n < 3; n++) {
			if (is_server) {
				answer_datagrams(&servers[n], PLAIN, bytes + n);
				continue;
			}
			client.peer = address_of(family, port + n);
			if (n == 2) {
				CHECK(connect(client.fd, (struct sockaddr *)&none, sizeof(none)) == 0);
				client.is_connected = 0;
			} else {
				connect_udp(&client);
			}
			ask_datagrams(&client, WITH_ADDRESS, i % 2 ? PLAIN : FILE_CALL, bytes + n);
		}
	}
	close_ends(servers, &client);
}

/* COUNT datagrams to an address of many: 127.255.255.255. IPv4 only. */
static void op_udp_broadcast(long times, long bytes, char family)
{
	struct end end = is_server ? udp_server(family, port) : udp_client(family, port);
	int one = 1;
	CHECK(family == '4');
	CHECK(setsockopt(end.fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one)) == 0);
	meet();
	for (long i = 0; i < times; i++) {
		if (is_server) {
			CHECK(receive_by(&end, PLAIN, BUFFER_BYTES, 0, 1, NULL) == bytes);
			continue;
		}
		((struct sockaddr_in *)&end.peer)->sin_addr.s_addr = htonl(0x7fffffff);
		CHECK(send_by(&end, WITH_ADDRESS, bytes, 0) == bytes);
	}
	meet();
	close(end.fd);
}

/* A connected client that names another destination all the same. */
static void op_udp_elsewhere(long times, long bytes, char family)
{
	struct end servers[3], client;
	open_ends(servers, &client, family);
	if (!is_server) {
		client.peer = address_of(family, port);
		connect_udp(&client);
	}
	for (long i = 0; i < times; i++) {
		struct sockaddr_storage to = address_of(family, port + 1);
		if (is_server)
			CHECK(receive_by(&servers[1], PLAIN, BUFFER_BYTES, 0, 1, NULL) == bytes);
		else
			CHECK(sent(&client, sendto(client.fd, buffer, bytes, 0, (void *)&to, length_of(&to))) == bytes);
	}
	close_ends(servers, &client);
}

#endif
