/*
 * Operations on UDP, and on what is neither TCP nor UDP. Each function is both halves of one operation.
 */
#ifndef NET_UDP_H
#define NET_UDP_H

#include <netinet/ip_icmp.h>
#include <poll.h>

#include "setup.h"

/* Datagrams that one send of this kind makes. */
static int datagrams(enum how how)
{
	return how == MESSAGES ? 2 : 1;
}

/* Takes what one send of kind `how` has made, and answers datagram by datagram. */
static void answer_datagrams(struct end *server, enum how how, long bytes)
{
	for (int n = 0; n < datagrams(how); n++) {
		CHECK(receive_by(server, n ? MESSAGE : WITH_ADDRESS, BUFFER_BYTES, 0, 1, &server->peer) == bytes);
		CHECK(send_by(server, n ? MESSAGE : WITH_ADDRESS, bytes, 0) == bytes);
	}
}

/* Sends, and takes the answers, by every kind of call in turn. */
static void ask_datagrams(struct end *client, enum how how, enum how receive, long bytes)
{
	CHECK(send_by(client, how, bytes, 0) == datagrams(how) * bytes);
	if (receive == MESSAGES) {
		CHECK(receive_by(client, MESSAGES, BUFFER_BYTES, 0, datagrams(how), NULL) == datagrams(how) * bytes);
		return;
	}
	for (int n = 0; n < datagrams(how); n++)
		CHECK(receive_by(client, receive, BUFFER_BYTES, 0, 1, NULL) == bytes);
}

/* COUNT sends of a connected client, answered. */
static void op_udp_connected(long times, long bytes, char family)
{
	struct end end = is_server ? udp_server(family, port) : udp_client(family, port);
	if (!is_server)
		connect_udp(&end);
	meet();
	for (long i = 0; i < times; i++) {
		/* writev of nothing never comes to the socket. */
		enum how how = i % HOWS == VECTOR && bytes == 0 ? PLAIN : i % HOWS;
		if (is_server)
			answer_datagrams(&end, how, bytes);
		else
			ask_datagrams(&end, how, (i + 1) % HOWS, bytes);
	}
	meet();
	close(end.fd);
}

/* Kinds of calls that name a destination. */
static enum how naming(long i)
{
	static const enum how kinds[] = { WITH_ADDRESS, MESSAGE, MESSAGES };
	return kinds[i % 3];
}

/* Three servers in the one role, a client that is not connected in the other. */
static void open_ends(struct end servers[3], struct end *client, char family)
{
	for (int n = 0; n < 3 && is_server; n++)
		servers[n] = udp_server(family, port + n);
	if (!is_server)
		*client = udp_client(family, port);
	meet();
}

static void close_ends(struct end servers[3], struct end *client)
{
	meet();
	for (int n = 0; n < 3 && is_server; n++)
		close(servers[n].fd);
	if (!is_server)
		close(client->fd);
}

/* COUNT sends of a client that is not connected, to three peers in turn; each answers before the next is asked. */
static void op_udp_unconnected(long times, long bytes, char family)
{
	struct end servers[3], client;
	open_ends(servers, &client, family);
	for (long i = 0; i < times; i++) {
		if (is_server) {
			answer_datagrams(&servers[i % 3], naming(i / 3), bytes);
			continue;
		}
		client.peer = address_of(family, port + i % 3);
		ask_datagrams(&client, naming(i / 3), (i + 1) % HOWS, bytes);
	}
	close_ends(servers, &client);
}

/* COUNT calls of sendmmsg with three destinations each, not answered. */
static void op_udp_mixed(long times, long bytes, char family)
{
	struct end servers[3], client;
	open_ends(servers, &client, family);
	for (long i = 0; i < times; i++) {
		struct sockaddr_storage peers[3];
		struct mmsghdr messages[3];
		struct iovec piece = { buffer, bytes };
		memset(messages, 0, sizeof(messages));
		for (int n = 0; n < 3; n++) {
			if (is_server) {
				CHECK(receive_by(&servers[n], PLAIN, BUFFER_BYTES, 0, 1, NULL) == bytes);
				continue;
			}
			peers[n] = address_of(family, port + n);
			messages[n].msg_hdr.msg_name = &peers[n];
			messages[n].msg_hdr.msg_namelen = length_of(&peers[n]);
			messages[n].msg_hdr.msg_iov = &piece;
			messages[n].msg_hdr.msg_iovlen = 1;
		}
		if (is_server) {
			tell();
			continue;
		}
		CHECK(sendmmsg(client.fd, messages, 3, 0) == 3);
		for (int n = 0; n < 3; n++)
			sent_to(&client, &peers[n], messages[n].msg_len);
		hear();
	}
	close_ends(servers, &client);
}

/* Takes an answer of three servers, by one of the calls that tell who sent it, or by one that does not: that is booked with whom was asked last. */
static void take_answers(struct end *client, long i)
{
	struct sockaddr_storage from[3];
	struct mmsghdr messages[3];
	struct iovec piece = { buffer, BUFFER_BYTES };
	memset(messages, 0, sizeof(messages));
	for (int n = 0; n < 3; n++)
		messages[n].msg_hdr = (struct msghdr){ .msg_name = &from[n], .msg_namelen = sizeof(from[n]), .msg_iov = &piece, .msg_iovlen = 1 };
	if (naming(i) == MESSAGES) {
		CHECK(recvmmsg(client->fd, messages, 3, 0, NULL) == 3);
		for (int n = 0; n < 3; n++)
			received_from(client, &from[n], messages[n].msg_len, 0);
		return;
	}
	for (int n = 0; n < 3; n++) {
		socklen_t length = sizeof(from[n]);
		if (i % 4 == 3)
			CHECK(receive_by(client, n % 2 ? PLAIN : FILE_CALL, BUFFER_BYTES, 0, 1, NULL) > 0);
		else if (naming(i) == MESSAGE)
			received_from(client, &from[n], recvmsg(client->fd, &messages[n].msg_hdr, 0), 0);
		else
			received_from(client, &from[n], recvfrom(client->fd, buffer, BUFFER_BYTES, 0, (void *)&from[n], &length), 0);
	}
}

/* COUNT rounds: a client that is not connected asks three peers, and only then takes what they answer, which is of different sizes. */
static void op_udp_answers(long times, long bytes, char family)
{
	struct end servers[3], client;
	open_ends(servers, &client, family);
	for (long i = 0; i < times; i++) {
		for (int n = 0; n < 3; n++) {
			if (is_server) {
				CHECK(receive_by(&servers[n], WITH_ADDRESS, BUFFER_BYTES, 0, 1, &servers[n].peer) == bytes);
				CHECK(send_by(&servers[n], WITH_ADDRESS, bytes + 10 * n, 0) == bytes + 10 * n);
				continue;
			}
			client.peer = address_of(family, port + n);
			CHECK(send_by(&client, naming(i + n) == MESSAGE ? MESSAGE : WITH_ADDRESS, bytes, 0) == bytes);
		}
		meet();
		if (!is_server)
			take_answers(&client, i);
	}
	close_ends(servers, &client);
}

/* COUNT clients, a datagram each: one port of the server. */
static void op_udp_clients(long times, long bytes, char family)
{
	struct end server;
	if (is_server)
		server = udp_server(family, port);
	meet();
	for (long i = 0; i < times; i++) {
		if (is_server) {
			answer_datagrams(&server, PLAIN, bytes);
			continue;
		}
		struct end client = udp_client(family, port);
		ask_datagrams(&client, WITH_ADDRESS, PLAIN, bytes);
		close(client.fd);
	}
	meet();
	if (is_server)
		close(server.fd);
}

/* One client, COUNT peers: addresses of the loopback device, 127.1.0.0 and on. Sizes differ, so that no two peers agree by luck. */
static void op_udp_peers(long times, long bytes, char family)
{
	enum { AT_ONCE = 64 };
	struct end end = is_server ? udp_server(family, port) : udp_client(family, port);
	meet();
	for (long i = 0; i < times; i++) {
		long size = bytes + i % 97;
		if (is_server) {
			CHECK(receive_by(&end, PLAIN, BUFFER_BYTES, 0, 1, NULL) == size);
		} else {
			((struct sockaddr_in *)&end.peer)->sin_addr.s_addr = htonl(0x7f010000 + i);
			CHECK(send_by(&end, WITH_ADDRESS, size, 0) == size);
		}
		if (i % AT_ONCE == AT_ONCE - 1)
			meet();
	}
	meet();
	close(end.fd);
}

/* Datagrams of no bytes, one way and back. */
static void op_udp_empty(long times, long bytes, char family)
{
	(void)bytes;
	op_udp_connected(times, 0, family);
}

/* Looks, cut datagrams, several at once, and receives that find nothing. */
static void op_udp_looks(long times, long bytes, char family)
{
	enum { WAITING = 3, ASKED_FOR = 5 };
	struct end end = is_server ? udp_server(family, port) : udp_client(family, port);
	meet();
	for (long i = 0; i < times; i++) {
		if (!is_server) {
			meet();
			for (int n = 0; n < WAITING + 2; n++)
				CHECK(send_by(&end, WITH_ADDRESS, bytes, 0) == bytes);
			meet();
			meet();
			continue;
		}
		CHECK(receive_by(&end, PLAIN, 1, MSG_DONTWAIT, 1, NULL) == -1 && errno == EAGAIN);
		meet();
		meet();
		CHECK(receive_by(&end, PLAIN, bytes, MSG_PEEK, 1, NULL) == bytes);
		CHECK(receive_by(&end, MESSAGE, bytes, MSG_PEEK, 1, NULL) == bytes);
		/* Cut: the rest of it is gone. With MSG_TRUNC the call returns the whole length. */
		CHECK(receive_by(&end, PLAIN, bytes / 2, 0, 1, NULL) == bytes / 2);
		CHECK(receive_by(&end, PLAIN, bytes / 2, MSG_TRUNC, 1, NULL) == bytes);
		CHECK(receive_by(&end, MESSAGES, bytes, MSG_DONTWAIT, ASKED_FOR, NULL) == WAITING * bytes);
		CHECK(receive_by(&end, MESSAGE, bytes, MSG_DONTWAIT, 1, NULL) == -1 && errno == EAGAIN);
		meet();
	}
	meet();
	close(end.fd);
}

/* Waits for the answer that nobody is there. */
static void await_error(const struct end *end)
{
	struct pollfd entry = { .fd = end->fd };
	CHECK(poll(&entry, 1, 10000) == 1);
}

/* Too long, and to a port that nobody has: the second send tells of the first. A look at what failed takes nothing. */
static void op_udp_refused(long times, long bytes, char family)
{
	int one = 1;
	for (long i = 0; !is_server && i < times; i++) {
		struct end end = udp_client(family, port);
		CHECK(send_by(&end, WITH_ADDRESS, 70000, 0) == -1 && errno == EMSGSIZE);
		connect_udp(&end);
		CHECK(send_by(&end, PLAIN, bytes, 0) == bytes);
		await_error(&end);
		CHECK(send_by(&end, PLAIN, bytes, 0) == -1 && errno == ECONNREFUSED);
		CHECK(send_by(&end, PLAIN, bytes, 0) == bytes);
		await_error(&end);
		CHECK(receive_by(&end, PLAIN, bytes, 0, 1, NULL) == -1 && errno == ECONNREFUSED);
		if (family == '4') {
			CHECK(setsockopt(end.fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one)) == 0);
			CHECK(send_by(&end, PLAIN, bytes, 0) == bytes);
			await_error(&end);
			CHECK(receive_by(&end, MESSAGE, BUFFER_BYTES, MSG_ERRQUEUE, 1, NULL) >= 0);
		}
		close(end.fd);
	}
}

/* A client that chose its own port: bound, but connected, so a client. */
static void op_udp_bound_client(long times, long bytes, char family)
{
	struct end end = { .is_udp = 1, .peer = address_of(family, port) };
	if (is_server)
		end = udp_server(family, port);
	else
		end.fd = bound_socket(family, SOCK_DGRAM, port + 1);
	if (!is_server)
		connect_udp(&end);
	meet();
	for (long i = 0; i < times; i++) {
		if (is_server)
			answer_datagrams(&end, PLAIN, bytes);
		else
			ask_datagrams(&end, FILE_CALL, VECTOR, bytes);
	}
	meet();
	close(end.fd);
}

/* A socket of UDP from the client to the server, which goes on with it, and to a child. */
static void op_udp_handed_over(long times, long bytes, char family)
{
	struct end server;
	if (is_server)
		server = udp_server(family, port);
	meet();
	for (long i = 0; i < times; i++) {
		struct end client = { .is_udp = 1, .is_connected = 1, .peer = address_of(family, port) };
		if (is_server) {
			answer_datagrams(&server, PLAIN, bytes);
			client.fd = take_over();
			CHECK(send_by(&client, PLAIN, bytes, 0) == bytes);
			CHECK(receive_by(&server, PLAIN, bytes, 0, 1, NULL) == bytes);
			CHECK(receive_by(&server, PLAIN, bytes, 0, 1, NULL) == bytes);
			close(client.fd);
			tell();
			continue;
		}
		client = udp_client(family, port);
		connect_udp(&client);
		ask_datagrams(&client, FILE_CALL, FILE_CALL, bytes);
		hand_over(client.fd);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			CHECK(send_by(&client, PLAIN, bytes, 0) == bytes);
			_exit(0);
		}
		CHECK(waitpid(child, &(int){ 0 }, 0) == child);
		close(client.fd);
		/* Or the next socket's question could come before what this one still sends, and the answer go to this one. */
		hear();
	}
	meet();
	if (is_server)
		close(server.fd);
}

/* Sends and receives on a socket that must not be counted; a kind that the kernel lacks is left out. */
static void use_uncounted(int domain, int type, int protocol, long times, long bytes)
{
	struct sockaddr_storage to = address_of(domain == AF_INET ? '4' : '6', type == SOCK_RAW ? 0 : port);
	int fd = socket(domain, type, protocol);
	if (fd < 0)
		return;
	memset(buffer, 0, bytes);
	((struct icmphdr *)buffer)->type = ICMP_ECHO;
	for (long i = 0; i < times; i++) {
		(void)!sendto(fd, buffer, bytes, 0, (struct sockaddr *)&to, length_of(&to));
		(void)!recv(fd, buffer, bytes, MSG_DONTWAIT);
	}
	CHECK(close(fd) == 0);
}

/* Neither TCP nor UDP: sockets of this host only, raw ones of all kinds, and of ICMP. */
static void op_noise(long times, long bytes, char family)
{
	static const int protocols[] = { IPPROTO_ICMP, IPPROTO_UDP, IPPROTO_TCP };
	int pair[2];
	(void)family;
	for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
		CHECK(socketpair(AF_UNIX, type, 0, pair) == 0);
		for (long i = 0; i < times; i++) {
			CHECK(send(pair[0], buffer, bytes, 0) == bytes && recv(pair[1], buffer, bytes, 0) == bytes);
			CHECK(write(pair[1], buffer, bytes) == bytes && read(pair[0], buffer, bytes) == bytes);
		}
		CHECK(close(pair[0]) == 0 && close(pair[1]) == 0);
	}
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		use_uncounted(AF_INET, SOCK_RAW, protocols[i], times, bytes);
	use_uncounted(AF_INET, SOCK_DGRAM, IPPROTO_ICMP, times, bytes);
	use_uncounted(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6, times, bytes);
}

/* UDP-Lite is not UDP, though the same functions of the kernel serve both. */
static void op_udp_lite(long times, long bytes, char family)
{
	use_uncounted(family == '4' ? AF_INET : AF_INET6, SOCK_DGRAM, 136, times, bytes);
}

#endif
