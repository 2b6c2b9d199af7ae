/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Programs that do nothing, on the hooks that ours use: what is left of their cost when the counting is taken away.
 *
 * Names are KIND_FUNCTION; empty.c attaches those that it is told to.
 */
#define SEC(name) __attribute__((section(name), used))

#define EMPTY(kind, call) \
	SEC(#kind "/__x64_sys_" #call) int kind##_##call(void *ctx) { return 0; }
#define EVERYWHERE(call) EMPTY(fentry, call) EMPTY(fexit, call) EMPTY(kprobe, call) EMPTY(kretprobe, call)

EVERYWHERE(read)
EVERYWHERE(write)
EVERYWHERE(openat)
EVERYWHERE(close)

#define EMPTY_FUNCTION(kind, function) \
	SEC(#kind "/" #function) int kind##_##function(void *ctx) { return 0; }

EMPTY_FUNCTION(fexit, inet_sendmsg)
EMPTY_FUNCTION(fexit, inet_recvmsg)
EMPTY_FUNCTION(fentry, udp_send_skb)
EMPTY_FUNCTION(kprobe, udp_sendmsg)
EMPTY_FUNCTION(kretprobe, udp_sendmsg)
EMPTY_FUNCTION(kprobe, inet_recvmsg)
EMPTY_FUNCTION(kprobe, udp_recvmsg)
EMPTY_FUNCTION(kretprobe, udp_recvmsg)
EMPTY_FUNCTION(kprobe, skb_consume_udp)

SEC("tp_btf/sock_send_length") int tp_btf_sock_send_length(void *ctx) { return 0; }
SEC("tp_btf/sock_recv_length") int tp_btf_sock_recv_length(void *ctx) { return 0; }


SEC("tp_btf/sys_exit") int tp_btf_sys_exit(void *ctx) { return 0; }

char program_license[] SEC("license") = "GPL";
