/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The fields of kernel structures that we read, and no others; their places come from the running kernel's BTF (CO-RE).
 * Names are the kernel's. Where a kernel renamed a field, the accessor for it stands here with the commit.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include "bpf.h"

#if TYPED
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct thread_info {
	__u32 status; /* x86: TS_COMPAT while in a 32-bit system call */
};

struct mm_struct {
	unsigned long arg_start; /* of the command line, in user memory */
	unsigned long arg_end;
};

struct task_struct {
	struct thread_info thread_info;
	__s32 pid;
	__s32 tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	__u64 start_time; /* CLOCK_MONOTONIC, nanoseconds */
	char comm[16];
	struct mm_struct *mm;
	__u64 self_exec_id; /* u32 before 5.7 (d1e7fd6462ca): FLAVOUR_HASH does not read it */
};

struct pt_regs {
	unsigned long bx;
	unsigned long r9;
	unsigned long r8;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long cs;
	unsigned long ss;
};

struct kernel_clone_args {
	__u64 flags;
};

struct in6_addr {
	union {
		__u32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__u32 skc_daddr;       /* the peer, IPv4 */
	__u16 skc_dport;       /* its port, network order */
	__u16 skc_num;         /* the local port, host order */
	__u16 skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr; /* the peer, IPv6 or IPv4 as ::ffff:a.b.c.d */
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;      /* a part of a word before 5.6 (bf9765145b85), */
	__u16 sk_protocol;  /* as this one */
	__u8 sk_userlocks;  /* a part of a word before 5.19 (a5ab6c2a9d84) */
	__u8 sk_shutdown;   /* a part of a word before 5.6, too */
};

struct socket {
	struct sock *sk;
};

struct msghdr {
	void *msg_name; /* an address in kernel memory */
};

struct sk_buff {
	struct sock *sk;
	char cb[48];
};

struct tcp_sock {
	__u32 total_retrans; /* grows with RetransSegs, by as much */
};

/* What TCP keeps in the cb of a segment. */
struct tcp_skb_cb {
	__u16 tcp_gso_segs; /* segments that it is sent as */
};

union flowi_uli {
	struct {
		__u16 dport;
	} ports;
};

/* Where a datagram goes. */
struct flowi4 {
	__u32 daddr;
	union flowi_uli uli;
};

struct flowi6 {
	struct in6_addr daddr;
	union flowi_uli uli;
};

/*
 * What perf hands to programs at tracepoints that TRACE_EVENT declares. The common fields before these take 8 bytes, and 12 where the
 * PREEMPT_RT patches (before 6.12) add preempt_lazy_count to them.
 */
struct trace_event_raw_sys_exit {
	long id;
	long ret;
};

struct trace_event_raw_inet_sock_set_state {
	const void *skaddr;
	__s32 oldstate;
	__s32 newstate;
	__u16 protocol;
};

/* sock_send_length and sock_recv_length (6.3). */
struct trace_event_raw_sock_msg_length {
	void *sk;
	__u16 family;
	__u16 protocol;
	__s32 ret;
	__s32 flags;
};

#pragma clang attribute pop
#endif

/* Registers at a kprobe: the program's context, whose layout is ABI (x86-64 arch/x86/include/asm/ptrace.h). */
struct kprobe_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

/*
 * A field of a kernel structure that may be a whole field or a part of a word: the word is read, the part cut out. Only one of the cases is left
 * when the kernel's BTF has told place and size (__builtin_preserve_field_info).
 */
#define READ_PART(object, field)                                                                                             \
	({                                                                                                                   \
		const char *word = (const char *)(object) + __builtin_preserve_field_info((object)->field, 0);               \
		__u64 part;                                                                                                  \
		HIDE_ORIGIN(word);                                                                                           \
		switch (__builtin_preserve_field_info((object)->field, 1)) {                                                 \
		case 1: part = *(const __u8 *)word; break;                                                                   \
		case 2: part = *(const __u16 *)word; break;                                                                  \
		case 4: part = *(const __u32 *)word; break;                                                                  \
		default: part = *(const __u64 *)word;                                                                        \
		}                                                                                                            \
		part <<= __builtin_preserve_field_info((object)->field, 4);                                                  \
		part >> __builtin_preserve_field_info((object)->field, 5);                                                   \
	})

enum {
	AF_INET = 2,
	AF_INET6 = 10,
	SOCK_STREAM = 1,
	SOCK_DGRAM = 2,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	SOCK_BINDPORT_LOCK = 8, /* in sk_userlocks: a program chose the port */
	RCV_SHUTDOWN = 1,       /* in sk_shutdown */
	MSG_PEEK = 2,
	MSG_ERRQUEUE = 0x2000,
};

enum {
	CLONE_THREAD = 0x00010000,
	AT_REMOVEDIR = 0x200,
	TS_COMPAT = 0x0002,
	USER32_CS = 0x23,
	ENOSYS = 38,
};

/*
 * Whether a system call came in by the 32-bit ABI, from the caller's registers; a 64-bit program may do so by int 0x80.
 *
 * SYSCALL leaves the return address in cx, int 0x80 leaves cx alone. With FRED (>= 6.9) SYSCALL leaves cx alone, too, but the entry's type
 * stands above the selector in ss: 4 is a software interrupt (arch/x86/include/asm/ptrace.h, struct fred_ss).
 */
static __always_inline int is_32_bit_call(unsigned long cs, unsigned long ss, unsigned long cx, unsigned long ip)
{
	__u32 fred_type = ss >> 48 & 15;
	if ((__u16)cs == USER32_CS)
		return 1;
	return fred_type ? fred_type == 4 : cx != ip;
}

#endif
