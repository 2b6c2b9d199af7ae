/*
 * Operations on TCP. Each function is both halves of one operation: the server's and the client's.
 */
#ifndef NET_TCP_H
#define NET_TCP_H

#include <pthread.h>
#include <sys/wait.h>

#include "setup.h"

#define THREADS_MAX 64

/* The server's half of most: takes `bytes`, sends as many back, waits for the peer's end. */
static void answer(struct end *end, enum how how, uint64_t bytes)
{
	receive_all(end, how, bytes);
	send_all(end, how, bytes);
	CHECK(receive_to_end(end) == 0);
	close_end(end);
}

static void ask(struct end *end, enum how how, uint64_t bytes)
{
	send_all(end, how, bytes);
	receive_all(end, (how + 1) % HOWS, bytes);
	close_end(end);
}

static int early_listener = -1;

/* COUNT connections one after the other, BYTES to the server and back, by every way to send and to receive. */
static void op_stream(long times, long bytes, char family)
{
	int fd = early_listener >= 0 ? early_listener : is_server ? listener(family, port, 64) : -1;
	early_listener = -1;
	meet();
	for (long i = 0; i < times; i++) {
		struct end end = is_server ? accept_end(fd, port) : connected_end(family, port);
		(is_server ? answer : ask)(&end, i % HOWS, bytes);
	}
	meet();
	if (is_server)
		close(fd);
}

/* The same from one client: connected by a call that does not wait. */
static void op_nonblocking(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 64) : -1;
	meet();
	for (long i = 0; i < times; i++) {
		struct end end;
		if (is_server) {
			end = accept_end(fd, port);
		} else {
			int error = 0, off = 0;
			socklen_t length = sizeof(error);
			end = tcp_client(family, port);
			off = fcntl(end.fd, F_GETFL);
			CHECK(fcntl(end.fd, F_SETFL, off | O_NONBLOCK) == 0);
			CHECK(connect_end(&end) == 0 || errno == EINPROGRESS);
			for (int tries = 0; getpeername(end.fd, (struct sockaddr *)&(struct sockaddr_storage){}, &(socklen_t){ sizeof(struct sockaddr_storage) }) != 0; tries++) {
				CHECK(tries < 5000);
				sleep_ms(1);
			}
			CHECK(getsockopt(end.fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0);
			end.is_open = end.is_connected = 1;
			CHECK(fcntl(end.fd, F_SETFL, off) == 0);
		}
		(is_server ? answer : ask)(&end, PLAIN, bytes);
	}
	meet();
	if (is_server)
		close(fd);
}

/* BYTES from a file to the server, COUNT times, over one connection. */
static void op_sendfile(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 1) : -1;
	meet();
	if (is_server) {
		struct end end = accept_end(fd, port);
		CHECK(receive_to_end(&end) == (uint64_t)(times * bytes));
		close_end(&end);
		close(fd);
	} else {
		int file = memfd_create("file", 0);
		struct end end = connected_end(family, port);
		CHECK(file >= 0 && ftruncate(file, bytes) == 0);
		for (long i = 0; i < times; i++) {
			CHECK(lseek(file, 0, SEEK_SET) == 0);
			send_file(&end, file, bytes);
		}
		close_end(&end);
		close(file);
	}
	meet();
}

struct thread {
	struct end end;
	long bytes;
	char family;
	uint16_t port;
};

static void *thread_main(void *argument)
{
	struct thread *self = argument;
	if (!is_server)
		self->end = connected_end(self->family, self->port);
	(is_server ? answer : ask)(&self->end, VECTOR, self->bytes);
	return NULL;
}

/* COUNT threads at once, a connection each. */
static void op_threads(long times, long bytes, char family)
{
	static struct thread threads[THREADS_MAX];
	static pthread_t ids[THREADS_MAX];
	int fd = is_server ? listener(family, port, THREADS_MAX) : -1;
	CHECK(times <= THREADS_MAX);
	meet();
	for (long i = 0; i < times; i++) {
		threads[i] = (struct thread){ .bytes = bytes, .family = family, .port = port };
		if (is_server)
			threads[i].end = accept_end(fd, port);
		CHECK(pthread_create(&ids[i], NULL, thread_main, &threads[i]) == 0);
	}
	for (long i = 0; i < times; i++)
		CHECK(pthread_join(ids[i], NULL) == 0);
	meet();
	if (is_server)
		close(fd);
}

/* COUNT short connections, one after the other, from many addresses: one source has too few ports. IPv4 on loopback only. */
static void op_short(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 64) : -1, one = 1;
	meet();
	for (long i = 0; i < times; i++) {
		if (is_server) {
			struct end end = accept_end(fd, port);
			receive_all(&end, PLAIN, bytes);
			send_all(&end, PLAIN, bytes);
			close_end(&end);
			continue;
		}
		struct end end = tcp_client(family, port);
		struct sockaddr_in source = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f020001 + i / 10000) };
		if (times > 10000) {
			CHECK(setsockopt(end.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) == 0);
			CHECK(bind(end.fd, (struct sockaddr *)&source, sizeof(source)) == 0);
		}
		CHECK(connect_end(&end) == 0);
		send_all(&end, PLAIN, bytes);
		receive_all(&end, PLAIN, bytes);
		close_end(&end);
	}
	meet();
	if (is_server)
		close(fd);
}

/* COUNT clients of one server at the same time. */
static void op_many(long times, long bytes, char family)
{
	struct end *ends = calloc(times, sizeof(*ends));
	int fd = is_server ? listener(family, port, 4096) : -1;
	CHECK(ends);
	meet();
	for (long i = 0; i < times; i++)
		ends[i] = is_server ? accept_end(fd, port) : connected_end(family, port);
	meet();
	for (long i = 0; i < times; i++)
		(is_server ? answer : ask)(&ends[i], PLAIN, bytes);
	meet();
	if (is_server)
		close(fd);
	free(ends);
}

/* The client has said all and listens on; the server still talks. Then a send that must fail. */
static void op_half_closed(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 64) : -1;
	meet();
	for (long i = 0; i < times; i++) {
		struct end end = is_server ? accept_end(fd, port) : connected_end(family, port);
		if (is_server) {
			CHECK(receive_to_end(&end) == (uint64_t)bytes);
			send_all(&end, MESSAGE, 2 * bytes);
		} else {
			send_all(&end, MESSAGE, bytes);
			shut_down(&end);
			CHECK(send_by(&end, MESSAGE, bytes, MSG_NOSIGNAL) == -1 && errno == EPIPE);
			CHECK(receive_to_end(&end) == (uint64_t)(2 * bytes));
		}
		close_end(&end);
	}
	meet();
	if (is_server)
		close(fd);
}

/* The client resets; the server's receive fails, and its send. */
static void op_reset(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 64) : -1;
	meet();
	for (long i = 0; i < times; i++) {
		struct end end = is_server ? accept_end(fd, port) : connected_end(family, port);
		if (is_server) {
			receive_all(&end, FILE_CALL, bytes);
			tell();
			hear();
			CHECK(receive_by(&end, PLAIN, 1, 0, 1, NULL) == -1 && errno == ECONNRESET);
			CHECK(send_by(&end, PLAIN, 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
			close_end(&end);
		} else {
			send_all(&end, FILE_CALL, bytes);
			hear();
			linger_not(&end);
			close_end(&end);
			tell();
		}
	}
	meet();
	if (is_server)
		close(fd);
}

/* Nobody listens. */
static void op_refused(long times, long bytes, char family)
{
	(void)bytes;
	for (long i = 0; !is_server && i < times; i++) {
		struct end end = tcp_client(family, port);
		CHECK(connect_end(&end) == -1 && errno == ECONNREFUSED);
		count(TCP_CONNECT_ERROR, 1);
		close_end(&end);
	}
}

/* Sockets that were never connected: their calls fail. */
static void op_unconnected(long times, long bytes, char family)
{
	for (long i = 0; !is_server && i < times; i++) {
		struct end end = tcp_client(family, port);
		CHECK(send_by(&end, PLAIN, bytes, MSG_NOSIGNAL) == -1 && errno == EPIPE);
		CHECK(receive_by(&end, PLAIN, bytes, 0, 1, NULL) == -1 && errno == ENOTCONN);
		close_end(&end);
	}
}

/* Looks that take nothing, bytes thrown away unseen, and receives that find nothing yet. */
static void op_looks(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 1) : -1;
	meet();
	struct end end = is_server ? accept_end(fd, port) : connected_end(family, port);
	if (is_server) {
		for (long i = 0; i < times; i++)
			CHECK(receive_by(&end, i % 2 ? MESSAGE : PLAIN, bytes, MSG_DONTWAIT, 1, NULL) == -1 && errno == EAGAIN);
		tell();
		hear();
		for (long i = 0; i < times; i++)
			CHECK(receive_by(&end, WITH_ADDRESS, bytes, MSG_PEEK, 1, NULL) == bytes);
		CHECK(received(&end, recv(end.fd, NULL, bytes / 2, MSG_TRUNC), 0) == bytes / 2);
		receive_all(&end, PLAIN, bytes - bytes / 2);
		CHECK(receive_to_end(&end) == 0);
		close(fd);
	} else {
		hear();
		send_all(&end, PLAIN, bytes);
		tell();
	}
	close_end(&end);
	meet();
}

/* Connections that wait for a server that never accepts them, and go with its listener. */
static void op_unaccepted(long times, long bytes, char family)
{
	struct end ends[32];
	int fd = is_server ? listener(family, port, 64) : -1;
	CHECK(times <= 32);
	meet();
	for (long i = 0; !is_server && i < times; i++) {
		ends[i] = connected_end(family, port);
		send_all(&ends[i], PLAIN, bytes);
	}
	meet();
	if (is_server) {
		CHECK(close(fd) == 0);
		count(TCP_ACCEPT, times);
		count(TCP_CLOSE_, times);
	}
	meet();
	for (long i = 0; !is_server && i < times; i++) {
		CHECK(receive_by(&ends[i], PLAIN, 1, 0, 1, NULL) == -1 && errno == ECONNRESET);
		close_end(&ends[i]);
	}
}

/* The client connects and hands its socket to the server, which goes on with it: another process, the same flow. */
static void op_handed_over(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 64) : -1;
	meet();
	for (long i = 0; i < times; i++) {
		struct end client = is_server ? (struct end){ .peer = address_of(family, port) } : connected_end(family, port);
		if (!is_server) {
			send_all(&client, PLAIN, bytes);
			hand_over(client.fd);
			CHECK(close(client.fd) == 0); /* not the end: the server has it */
			hear();
			continue;
		}
		struct end end = accept_end(fd, port);
		client.fd = take_over();
		client.is_open = 1;
		send_all(&client, FILE_CALL, 2 * bytes);
		receive_all(&end, PLAIN, 3 * bytes);
		send_all(&end, PLAIN, bytes);
		receive_all(&client, FILE_CALL, bytes);
		close_end(&client);
		CHECK(receive_to_end(&end) == 0);
		close_end(&end);
		tell();
	}
	meet();
	if (is_server)
		close(fd);
}

/* A child inherits the connection; both send; it is over when the last of them has closed it. */
static void op_inherited(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 64) : -1;
	meet();
	for (long i = 0; i < times; i++) {
		struct end end = is_server ? accept_end(fd, port) : connected_end(family, port);
		if (is_server) {
			CHECK(receive_to_end(&end) == (uint64_t)(3 * bytes));
			close_end(&end);
			continue;
		}
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			send_all(&end, VECTOR, 2 * bytes);
			_exit(0);
		}
		int status = -1;
		send_all(&end, PLAIN, bytes);
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		close_end(&end);
	}
	meet();
	if (is_server)
		close(fd);
}

/* One socket, two connections: connect to nobody ends the first. */
static void op_reused(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 64) : -1;
	struct end client;
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	meet();
	if (!is_server)
		client = tcp_client(family, port);
	for (long i = 0; i < times; i++) {
		if (is_server) {
			struct end end = accept_end(fd, port);
			receive_all(&end, PLAIN, bytes);
			tell();
			CHECK(receive_by(&end, PLAIN, 1, 0, 1, NULL) == -1 && errno == ECONNRESET);
			close_end(&end);
			continue;
		}
		CHECK(connect_end(&client) == 0);
		send_all(&client, PLAIN, bytes);
		hear();
		CHECK(connect(client.fd, &nobody, sizeof(nobody)) == 0);
		end_connection(&client);
	}
	if (!is_server)
		close_end(&client);
	meet();
	if (is_server)
		close(fd);
}

/* sendto that connects. */
static void op_fast_open(long times, long bytes, char family)
{
	int fd = is_server ? listener(family, port, 64) : -1;
	meet();
	for (long i = 0; i < times; i++) {
		if (is_server) {
			struct end end = accept_end(fd, port);
			receive_all(&end, PLAIN, bytes);
			CHECK(receive_to_end(&end) == 0);
			close_end(&end);
			continue;
		}
		struct end end = tcp_client(family, port);
		long done = sent(&end, sendto(end.fd, buffer, bytes, MSG_FASTOPEN, (struct sockaddr *)&end.peer, length_of(&end.peer)));
		CHECK(done > 0);
		count(is_ipv4(&end.peer) ? TCP_CONNECT_V4 : TCP_CONNECT_V6, 1);
		end.is_open = 1;
		send_all(&end, PLAIN, bytes - done);
		close_end(&end);
	}
	meet();
	if (is_server)
		close(fd);
}

/*
 * More clients than the listener has room for: the kernel drops their SYN, which the clients send again, at least once a second. COUNT of them
 * are one too many each. What is sent again is the kernel's affair: /proc/net/snmp tells, RetransSegs.
 */
static void op_dropped_syn(long times, long bytes, char family)
{
	struct end ends[16];
	int fd = is_server ? listener(family, port, 0) : -1;
	CHECK(times == 1); /* of more, some wait longer than a test does */
	meet();
	if (is_server) {
		hear();
		sleep_ms(1500);
		/* All of them first: they come in any order, and the clients' bytes in one. */
		for (long i = 0; i <= times; i++)
			ends[i] = accept_end(fd, port);
		for (long i = 0; i <= times; i++) {
			receive_all(&ends[i], PLAIN, bytes);
			CHECK(receive_to_end(&ends[i]) == 0);
			close_end(&ends[i]);
		}
		close(fd);
	} else {
		for (long i = 0; i <= times; i++) {
			ends[i] = tcp_client(family, port);
			int flags = fcntl(ends[i].fd, F_GETFL);
			CHECK(fcntl(ends[i].fd, F_SETFL, flags | O_NONBLOCK) == 0);
			CHECK(connect_end(&ends[i]) == 0 || errno == EINPROGRESS);
			CHECK(fcntl(ends[i].fd, F_SETFL, flags) == 0);
		}
		tell();
		for (long i = 0; i <= times; i++) {
			ends[i].is_open = 1;
			/* Waits for the connection; its call is one. */
			send_all(&ends[i], PLAIN, bytes);
			close_end(&ends[i]);
		}
	}
	meet();
}

#endif
