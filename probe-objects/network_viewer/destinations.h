/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Destinations of datagrams where the kernel's functions cannot be hooked: read from the arguments of the system call, in user memory.
 *
 * Plain tracepoint programs, so that the typed ones need no bpf_probe_read*.
 */
#ifndef DESTINATIONS_H
#define DESTINATIONS_H

/* Layouts of the 64-bit system calls: include/uapi/linux/socket.h, in.h, in6.h. */
struct user_sockaddr {
	__u16 family;
	__u16 port;       /* network order */
	__u32 ipv4;       /* AF_INET; AF_INET6: flow label */
	__u32 ipv6[4];
};

struct user_message {
	__u64 name;
	__u32 name_length;
	__u32 padding;
	__u64 rest[5];
};

struct user_messages {
	struct user_message message;
	__u64 sent;
};

/* Context of syscalls/sys_enter_* (kernel/trace/trace_syscalls.c). */
struct sys_enter_context {
	__u64 common;
	__s64 number;
	__u64 arguments[6];
};

enum { MESSAGES_LOOKED_AT = 8 };

/* Fails for no address, for other families, and for what cannot be read. */
static __always_inline int read_destination(struct peer *peer, __u64 name, __u64 length)
{
	struct user_sockaddr address = {};
	clear_peer(peer);
	if (!name || length < 8)
		return -1;
	if (bpf_probe_read_user(&address, length < sizeof(address) ? 8 : sizeof(address), (void *)name))
		return -1;
	peer->port = __builtin_bswap16(address.port);
	if (address.family == AF_INET) {
		set_ipv4(peer, address.ipv4);
		return 0;
	}
	if (address.family != AF_INET6)
		return -1;
	peer->address[0] = address.ipv6[0];
	peer->address[1] = address.ipv6[1];
	peer->address[2] = address.ipv6[2];
	peer->address[3] = address.ipv6[3];
	return 0;
}

SEC("tracepoint") int tracepoint_syscalls_sys_enter_sendto(struct sys_enter_context *ctx)
{
	struct peer peer;
	if (ctx->arguments[4] && !read_destination(&peer, ctx->arguments[4], ctx->arguments[5]))
		store_destination(&peer);
	return 0;
}

SEC("tracepoint") int tracepoint_syscalls_sys_enter_sendmsg(struct sys_enter_context *ctx)
{
	struct user_message message;
	struct peer peer;
	if (bpf_probe_read_user(&message, sizeof(message), (void *)ctx->arguments[1]))
		return 0;
	if (message.name && !read_destination(&peer, message.name, message.name_length))
		store_destination(&peer);
	return 0;
}

/* The destination of several messages, if it is one; where they differ, or there are more than we look at, it is not known. */
SEC("tracepoint") int tracepoint_syscalls_sys_enter_sendmmsg(struct sys_enter_context *ctx)
{
	struct user_messages *messages = (struct user_messages *)ctx->arguments[1];
	__u64 count = ctx->arguments[2];
	struct user_message message;
	struct peer peer = {}, other;
	if (!count)
		return 0;
	if (bpf_probe_read_user(&message, sizeof(message), messages) || !message.name)
		return 0;
	if (read_destination(&peer, message.name, message.name_length))
		return 0;
#pragma unroll
	for (int i = 1; i < MESSAGES_LOOKED_AT; i++) {
		if (i >= count)
			break;
		if (bpf_probe_read_user(&message, sizeof(message), messages + i) ||
		    read_destination(&other, message.name, message.name_length) || !is_same_peer(&peer, &other)) {
			clear_peer(&peer);
			break;
		}
	}
	if (count > MESSAGES_LOOKED_AT)
		clear_peer(&peer);
	store_destination(&peer);
	return 0;
}

#endif
