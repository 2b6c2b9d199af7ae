/*
 * System calls on TCP and UDP sockets, each counted as it happens: calls, errors, bytes and flows.
 */
#ifndef CALLS_H
#define CALLS_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tally.h"

#define BUFFER_BYTES (1 << 20)

static const char *word = "start"; /* that runs, for messages */

#define CHECK(holds)                                                                                                     \
	do {                                                                                                             \
		if (!(holds)) {                                                                                          \
			fprintf(stderr, "%s: line %d: not so: %s (errno %d, %s)\n", word, __LINE__, #holds, errno, strerror(errno)); \
			exit(1);                                                                                         \
		}                                                                                                        \
	} while (0)

/* One end of traffic: a socket with what is known of it. */
struct end {
	int fd;
	int is_udp;
	int is_inbound;
	int is_open;                  /* TCP: established, and not ended for this side */
	uint16_t local_port;          /* of what is inbound */
	struct sockaddr_storage peer; /* connected to, sent to last; family 0 where there is none */
	int is_connected;
};

static __thread char buffer[BUFFER_BYTES];

static socklen_t length_of(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static uint16_t port_of(const struct sockaddr_storage *address)
{
	return ntohs(address->ss_family == AF_INET ? ((const struct sockaddr_in *)address)->sin_port
						   : ((const struct sockaddr_in6 *)address)->sin6_port);
}

static int is_ipv4(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static struct flow_key key_of(const struct end *end, const struct sockaddr_storage *peer)
{
	struct flow_key key;
	memset(&key, 0, sizeof(key));
	key.is_udp = end->is_udp;
	key.is_inbound = end->is_inbound;
	if (end->is_inbound) {
		key.port = end->local_port;
		return key;
	}
	key.port = port_of(peer);
	if (peer->ss_family == AF_INET6) {
		memcpy(key.address, &((const struct sockaddr_in6 *)peer)->sin6_addr, 16);
	} else {
		key.address[10] = key.address[11] = 0xff;
		memcpy(key.address + 12, &((const struct sockaddr_in *)peer)->sin_addr, 4);
	}
	return key;
}

/* An empty datagram is one, the end of a stream is none. */
static int has_moved(const struct end *end, long result)
{
	return end->is_udp ? result >= 0 : result > 0;
}

/* Books one call that sent to `peer`. */
static long sent_to(const struct end *end, const struct sockaddr_storage *peer, long result)
{
	int error = errno;
	count(end->is_udp ? UDP_SEND : TCP_SEND, 1);
	if (result < 0)
		count(end->is_udp ? UDP_SEND_ERROR : TCP_SEND_ERROR, 1);
	else
		count(end->is_udp ? UDP_SENT_BYTES : TCP_SENT_BYTES, result);
	if (has_moved(end, result)) {
		struct flow_key key = key_of(end, peer);
		lock_tally();
		struct flow *flow = flow_of(&key);
		flow->sent_bytes += result;
		flow->sent_packets++;
		unlock_tally();
	}
	errno = error;
	return result;
}

static long sent(const struct end *end, long result)
{
	return sent_to(end, &end->peer, result);
}

/* Books one call that received from `peer`; a look takes nothing. */
static long received_from(const struct end *end, const struct sockaddr_storage *peer, long result, int is_look)
{
	int error = errno;
	count(end->is_udp ? UDP_RECEIVE : TCP_RECEIVE, 1);
	if (result < 0) {
		count(end->is_udp ? UDP_RECEIVE_ERROR : TCP_RECEIVE_ERROR, 1);
	} else if (!is_look) {
		count(end->is_udp ? UDP_RECEIVED_BYTES : TCP_RECEIVED_BYTES, result);
		if (has_moved(end, result)) {
			struct flow_key key = key_of(end, peer);
			lock_tally();
			struct flow *flow = flow_of(&key);
			flow->received_bytes += result;
			flow->received_packets++;
			unlock_tally();
		}
	}
	errno = error;
	return result;
}

static long received(const struct end *end, long result, int is_look)
{
	return received_from(end, &end->peer, result, is_look);
}

/* Ways to send and to receive; the operations take one after the other. */
enum how { PLAIN, FILE_CALL, VECTOR, WITH_ADDRESS, MESSAGE, MESSAGES, HOWS };

/* Where to: nowhere for sockets that are connected or of TCP. */
static struct sockaddr *name_of(struct end *end)
{
	return end->is_udp && !end->is_connected ? (struct sockaddr *)&end->peer : NULL;
}

/* Fills `message` with two pieces of `bytes` in all. */
static void fill_message(struct msghdr *message, struct iovec pieces[2], struct end *end, size_t bytes)
{
	memset(message, 0, sizeof(*message));
	pieces[0] = (struct iovec){ buffer, bytes / 3 };
	pieces[1] = (struct iovec){ buffer + bytes / 3, bytes - bytes / 3 };
	message->msg_iov = pieces;
	message->msg_iovlen = 2;
	message->msg_name = name_of(end);
	message->msg_namelen = message->msg_name ? length_of(&end->peer) : 0;
}

/* sendmmsg of two messages of `bytes` each to the same peer; returns bytes sent. */
static long send_messages(struct end *end, size_t bytes, int flags)
{
	struct mmsghdr messages[2];
	struct iovec pieces[2][2];
	long total = 0;
	memset(messages, 0, sizeof(messages));
	for (int i = 0; i < 2; i++)
		fill_message(&messages[i].msg_hdr, pieces[i], end, bytes);
	int done = sendmmsg(end->fd, messages, 2, flags);
	if (done < 0)
		return sent(end, -1);
	for (int i = 0; i < done; i++)
		total += sent(end, messages[i].msg_len);
	/* The call that failed behind the first is not told, but was made; it is not where the first was cut short. */
	if (done < 2 && messages[0].msg_len == bytes)
		sent(end, -1);
	return total;
}

/* Sends `bytes` at most (twice as many with MESSAGES), of an unconnected UDP socket to its peer. Returns what was sent, -1 for a failure. */
static long send_by(struct end *end, enum how how, size_t bytes, int flags)
{
	struct iovec pieces[2];
	struct msghdr message;
	fill_message(&message, pieces, end, bytes);
	switch (how) {
	case FILE_CALL: return sent(end, write(end->fd, buffer, bytes));
	case VECTOR: return sent(end, writev(end->fd, pieces, 2));
	case WITH_ADDRESS: return sent(end, sendto(end->fd, buffer, bytes, flags, message.msg_name, message.msg_namelen));
	case MESSAGE: return sent(end, sendmsg(end->fd, &message, flags));
	case MESSAGES: return send_messages(end, bytes, flags);
	default: return sent(end, send(end->fd, buffer, bytes, flags));
	}
}

/* recvmmsg of `wanted` messages at most; returns bytes, -1 if there was none. */
static long receive_messages(struct end *end, size_t bytes, int wanted, int flags, struct sockaddr_storage *from)
{
	struct mmsghdr messages[8];
	struct iovec pieces[8];
	long total = 0;
	memset(messages, 0, sizeof(messages));
	for (int i = 0; i < wanted; i++) {
		pieces[i] = (struct iovec){ buffer, bytes };
		messages[i].msg_hdr.msg_iov = &pieces[i];
		messages[i].msg_hdr.msg_iovlen = 1;
		messages[i].msg_hdr.msg_name = from;
		messages[i].msg_hdr.msg_namelen = from ? sizeof(*from) : 0;
	}
	int done = recvmmsg(end->fd, messages, wanted, flags, NULL);
	if (done < 0)
		return received(end, -1, 0);
	for (int i = 0; i < done; i++)
		total += received(end, messages[i].msg_len, flags & MSG_PEEK);
	/* What ended it is not told, but was a call that failed. */
	if (done < wanted)
		received(end, -1, 0);
	return total;
}

/* Receives `bytes` at most, `messages` of them with MESSAGES; `from`: who sent it, or NULL. Returns as recv does. */
static long receive_by(struct end *end, enum how how, size_t bytes, int flags, int messages, struct sockaddr_storage *from)
{
	struct iovec pieces[2] = { { buffer, bytes / 3 }, { buffer + bytes / 3, bytes - bytes / 3 } };
	struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 2, .msg_name = from, .msg_namelen = from ? sizeof(*from) : 0 };
	socklen_t length = sizeof(*from);
	int is_look = flags & (MSG_PEEK | MSG_ERRQUEUE);
	switch (how) {
	case FILE_CALL: return received(end, read(end->fd, buffer, bytes), 0);
	case VECTOR: return received(end, readv(end->fd, pieces, 2), 0);
	case WITH_ADDRESS:
		return received(end, recvfrom(end->fd, buffer, bytes, flags, (struct sockaddr *)from, from ? &length : NULL), is_look);
	case MESSAGE: return received(end, recvmsg(end->fd, &message, flags), is_look);
	case MESSAGES: return receive_messages(end, bytes, messages, flags, from);
	default: return received(end, recv(end->fd, buffer, bytes, flags), is_look);
	}
}

/* Sends all of `bytes`, by as many calls as it takes. */
static void send_all(struct end *end, enum how how, uint64_t bytes)
{
	while (bytes > 0) {
		size_t piece = bytes < BUFFER_BYTES ? bytes : BUFFER_BYTES;
		/* An odd byte is not divided between two messages. */
		enum how now = how == MESSAGES && piece < 2 ? PLAIN : how;
		long done = send_by(end, now, now == MESSAGES ? piece / 2 : piece, 0);
		CHECK(done > 0);
		bytes -= done;
	}
}

/* Receives all of `bytes`. */
static void receive_all(struct end *end, enum how how, uint64_t bytes)
{
	while (bytes > 0) {
		size_t piece = bytes < BUFFER_BYTES ? bytes : BUFFER_BYTES;
		long done = receive_by(end, how, piece, how == MESSAGES ? MSG_WAITFORONE : 0, 1, NULL);
		CHECK(done > 0);
		bytes -= done;
	}
}

/* Receives until the peer has ended; returns how much. */
static uint64_t receive_to_end(struct end *end)
{
	uint64_t total = 0;
	for (;;) {
		long done = receive_by(end, PLAIN, BUFFER_BYTES, 0, 1, NULL);
		CHECK(done >= 0);
		if (done == 0)
			return total;
		total += done;
	}
}

/* sendfile: bytes are exact, the number of calls inside the kernel is its own affair, from one to one for each page and piece. */
static void send_file(struct end *end, int file, uint64_t bytes)
{
	while (bytes > 0) {
		long done = sendfile(end->fd, file, NULL, bytes);
		CHECK(done > 0);
		sent(end, done);
		struct flow_key key = key_of(end, &end->peer);
		lock_tally();
		flow_of(&key)->spread += 2 * (done / 4096 + 1);
		tally->counters[TCP_SEND_SPREAD] += 2 * (done / 4096 + 1);
		unlock_tally();
		bytes -= done;
	}
}

/* This side's connection is over, whoever ended it. */
static void end_connection(struct end *end)
{
	if (end->is_open)
		count(TCP_CLOSE_, 1);
	end->is_open = 0;
}

static void close_end(struct end *end)
{
	end_connection(end);
	CHECK(close(end->fd) == 0);
}

static void shut_down(struct end *end)
{
	CHECK(shutdown(end->fd, SHUT_WR) == 0);
	end_connection(end);
}

/* The next close is a reset. */
static void linger_not(struct end *end)
{
	struct linger linger = { 1, 0 };
	CHECK(setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
}

#endif
