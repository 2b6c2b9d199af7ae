/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The other ends of datagrams where the kernel's functions cannot be hooked: read from the program's memory, destinations when a system call
 * begins, senders and what is left when it ends.
 *
 * Plain tracepoint programs, so that the typed ones need no bpf_probe_read*.
 */
#ifndef ADDRESSES_H
#define ADDRESSES_H

/* Layouts of the 64-bit system calls: include/uapi/linux/socket.h. */
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

/*
 * Context of syscalls/sys_enter_*: not the trace event's, but made for programs; the arguments stand here in every kernel (struct syscall_tp_t of
 * kernel/trace/trace_syscalls.c).
 */
struct syscall_enter_context {
	__u64 common[2];
	__u64 arguments[6];
};

/* Fails for no address, for other families, and for what cannot be read. */
static __always_inline int read_address(struct peer *peer, __u64 name, __u64 length)
{
	struct socket_address address = {};
	clear_peer(peer);
	if (!name || length < 8)
		return -1;
	if (bpf_probe_read_user(&address, length < sizeof(address) ? 8 : sizeof(address), (void *)name))
		return -1;
	if (address.family != AF_INET && address.family != AF_INET6)
		return -1;
	set_address(peer, &address);
	return 0;
}

SEC("tracepoint") int tracepoint_syscalls_sys_enter_sendto(struct syscall_enter_context *ctx)
{
	struct peer peer;
	if (ctx->arguments[4] && !read_address(&peer, ctx->arguments[4], ctx->arguments[5]))
		store_destination(&peer);
	return 0;
}

SEC("tracepoint") int tracepoint_syscalls_sys_enter_sendmsg(struct syscall_enter_context *ctx)
{
	struct user_message message;
	struct peer peer;
	if (bpf_probe_read_user(&message, sizeof(message), (void *)ctx->arguments[1]))
		return 0;
	if (message.name && !read_address(&peer, message.name, message.name_length))
		store_destination(&peer);
	return 0;
}

/* Of several messages all is told when the call ends. */
SEC("tracepoint") int tracepoint_syscalls_sys_enter_sendmmsg(struct syscall_enter_context *ctx)
{
	struct peer unknown;
	clear_peer(&unknown);
	store_destination(&unknown);
	return 0;
}

/* Counts for whom the address in user memory names, and else for whom is assumed. */
static __always_inline void count_kept(const struct kept_datagrams *kept, int n, __u64 name, __u64 length, int is_received)
{
	__u64 socket = kept->socket;
	struct peer named;
	int is_named = !read_address(&named, name, length);
	struct socket_state *state = is_named && !is_received ? bpf_map_lookup_elem(&sockets, &socket) : NULL;
	if (state)
		state->peer = named;
	count_in_flow(flow_of(OUTBOUND, UDP, is_named ? &named : &kept->otherwise, 0), kept->bytes[n], 1, is_received);
}

/* What the calling thread has moved in this system call; 0 for nothing. What is left of another, whose program was skipped, is counted. */
static __always_inline int take_kept(struct kept_datagrams *taken, __u32 call)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct kept_datagrams *kept = bpf_map_lookup_elem(&kept_datagrams, &thread);
	if (!kept)
		return 0;
	*taken = *kept;
	bpf_map_delete_elem(&kept_datagrams, &thread);
	if (taken->call == call)
		return 1;
	for (int i = 0; i < KEPT_OF_A_CALL && i < taken->count; i++)
		count_kept(taken, i, 0, 0, taken->call != SENDMMSG);
	return 0;
}

/* The last one's sender is at `name`; any before it are left of calls like this one. */
static __always_inline void count_one(const struct kept_datagrams *kept, __u64 name, __u64 length)
{
	for (int i = 0; i < KEPT_OF_A_CALL && i < kept->count; i++) {
		int is_last = i + 1 >= kept->count;
		count_kept(kept, i, is_last ? name : 0, length, 1);
	}
}

/* (socket, buffer, size, flags, address, its length) */
SEC("tracepoint") int tracepoint_syscalls_sys_exit_recvfrom(void *ctx)
{
	struct kept_datagrams kept;
	__u32 length = 0;
	if (!take_kept(&kept, RECVFROM))
		return 0;
	bpf_probe_read_user(&length, sizeof(length), (void *)caller_registers()->r9);
	count_one(&kept, caller_registers()->r8, length);
	return 0;
}

/* (socket, message, flags) */
SEC("tracepoint") int tracepoint_syscalls_sys_exit_recvmsg(void *ctx)
{
	struct user_message message = {};
	struct kept_datagrams kept;
	if (!take_kept(&kept, RECVMSG))
		return 0;
	bpf_probe_read_user(&message, sizeof(message), (void *)caller_registers()->si);
	count_one(&kept, message.name, message.name_length);
	return 0;
}

/* (socket, messages, count, …) */
static __always_inline int count_messages(__u32 call)
{
	struct user_messages *messages;
	struct user_message message;
	struct kept_datagrams kept;
	if (!take_kept(&kept, call))
		return 0;
	messages = (struct user_messages *)caller_registers()->si;
	for (int i = 0; i < KEPT_OF_A_CALL && i < kept.count; i++) {
		if (bpf_probe_read_user(&message, sizeof(message), messages + i))
			message.name = 0;
		count_kept(&kept, i, message.name, message.name_length, call != SENDMMSG);
	}
	return 0;
}

SEC("tracepoint") int tracepoint_syscalls_sys_exit_recvmmsg(void *ctx)
{
	return count_messages(RECVMMSG);
}

SEC("tracepoint") int tracepoint_syscalls_sys_exit_sendmmsg(void *ctx)
{
	return count_messages(SENDMMSG);
}

#endif
