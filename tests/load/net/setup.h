/*
 * Who runs and where: the two roles, their addresses and ports, how they meet, and sockets as the operations want them.
 */
#ifndef SETUP_H
#define SETUP_H

#include <fcntl.h>
#include <netinet/udp.h>
#include <sched.h>
#include <sys/un.h>
#include <time.h>

#include "calls.h"

static int is_server;
static int control; /* a stream of AF_UNIX to the other role, which nothing counts */
static uint16_t port; /* of the word that runs; it may use PORTS_OF_A_WORD from here on */
#define PORTS_OF_A_WORD 10
static struct in_addr address_v4;
static struct in6_addr address_v6;

static void tell(void)
{
	CHECK(write(control, "x", 1) == 1);
}

static void hear(void)
{
	char byte;
	CHECK(read(control, &byte, 1) == 1);
}

/* Both roles leave this when both have come. */
static void meet(void)
{
	tell();
	hear();
}

static void sleep_ms(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
	nanosleep(&time, NULL);
}

/* The server's address; `family`: 4, 6, or m for IPv4 through a socket of IPv6. */
static struct sockaddr_storage address_of(char family, uint16_t port_)
{
	struct sockaddr_storage address;
	memset(&address, 0, sizeof(address));
	if (family == '4') {
		struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
		*v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port_), .sin_addr = address_v4 };
		return address;
	}
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
	*v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port_), .sin6_addr = address_v6 };
	if (family == 'm') {
		memset(&v6->sin6_addr, 0, 16);
		memset(v6->sin6_addr.s6_addr + 10, 0xff, 2);
		memcpy(v6->sin6_addr.s6_addr + 12, &address_v4, 4);
	}
	return address;
}

static int new_socket(char family, int type)
{
	int one = 1, many = 4 << 20;
	int fd = socket(family == '4' ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
	if (type == SOCK_DGRAM)
		CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &many, sizeof(many)) == 0);
	return fd;
}

/* A server's socket, bound to any address and `port_`. */
static int bound_socket(char family, int type, uint16_t port_)
{
	struct sockaddr_storage any = address_of(family, port_);
	int fd = new_socket(family, type), off = 0;
	if (any.ss_family == AF_INET)
		((struct sockaddr_in *)&any)->sin_addr.s_addr = INADDR_ANY;
	else
		((struct sockaddr_in6 *)&any)->sin6_addr = in6addr_any;
	if (any.ss_family == AF_INET6)
		CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0);
	CHECK(bind(fd, (struct sockaddr *)&any, length_of(&any)) == 0);
	return fd;
}

static int listener(char family, uint16_t port_, int backlog)
{
	int fd = bound_socket(family, SOCK_STREAM, port_);
	CHECK(listen(fd, backlog) == 0);
	return fd;
}

static struct end accept_end(int fd, uint16_t port_)
{
	struct end end = { .is_inbound = 1, .is_open = 1, .local_port = port_, .is_connected = 1 };
	end.fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	CHECK(end.fd >= 0);
	count(TCP_ACCEPT, 1);
	return end;
}

/* A client's socket of TCP that is not connected yet. */
static struct end tcp_client(char family, uint16_t port_)
{
	struct end end = { .fd = new_socket(family, SOCK_STREAM), .peer = address_of(family, port_) };
	return end;
}

/* connect, which may fail. */
static int connect_end(struct end *end)
{
	int result = connect(end->fd, (struct sockaddr *)&end->peer, length_of(&end->peer));
	int error = errno;
	count(is_ipv4(&end->peer) ? TCP_CONNECT_V4 : TCP_CONNECT_V6, 1);
	end->is_open = end->is_connected = result == 0;
	errno = error;
	return result;
}

static struct end connected_end(char family, uint16_t port_)
{
	struct end end = tcp_client(family, port_);
	CHECK(connect_end(&end) == 0);
	return end;
}

/* A server of UDP. */
static struct end udp_server(char family, uint16_t port_)
{
	struct end end = { .is_udp = 1, .is_inbound = 1, .local_port = port_ };
	end.fd = bound_socket(family, SOCK_DGRAM, port_);
	return end;
}

/* A client of UDP that says with each datagram where to. */
static struct end udp_client(char family, uint16_t port_)
{
	struct end end = { .is_udp = 1, .fd = new_socket(family, SOCK_DGRAM), .peer = address_of(family, port_) };
	return end;
}

static void connect_udp(struct end *end)
{
	CHECK(connect(end->fd, (struct sockaddr *)&end->peer, length_of(&end->peer)) == 0);
	end->is_connected = 1;
}

/* The other role's control stream; the server makes the socket at `path`. */
static void open_control(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(control >= 0);
	if (!is_server) {
		for (int i = 0; i < 2000 && connect(control, (struct sockaddr *)&address, sizeof(address)) != 0; i++)
			sleep_ms(5);
		tell();
		return;
	}
	int one = control;
	CHECK(bind(one, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(one, 1) == 0);
	control = accept4(one, NULL, NULL, SOCK_CLOEXEC);
	CHECK(control >= 0 && close(one) == 0);
	hear();
}

/* Gives a descriptor to the other role. */
static void hand_over(int fd)
{
	char byte = 'x', space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec piece = { &byte, 1 };
	struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(int));
	CHECK(sendmsg(control, &message, 0) == 1);
}

static int take_over(void)
{
	char byte, space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec piece = { &byte, 1 };
	struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
	int fd = -1;
	CHECK(recvmsg(control, &message, 0) == 1 && CMSG_FIRSTHDR(&message));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	CHECK(fd >= 0);
	return fd;
}

#endif
