/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Datagrams whose other end is known only when the system call that moves them ends: where the kernel's functions cannot be hooked, it is read
 * from the program's memory then, and they are kept until then. Part of flows.h.
 */
#ifndef KEPT_DATAGRAMS_H
#define KEPT_DATAGRAMS_H

#if FLAVOUR_ROWS

/* System calls that tell it (arch/x86/entry/syscalls/syscall_64.tbl); io_uring and 32-bit programs make others. */
enum { SENDTO = 44, RECVFROM = 45, SENDMSG = 46, RECVMSG = 47, RECVMMSG = 299, SENDMMSG = 307 };

enum { KEPT_OF_A_CALL = 8 };

struct kept_datagrams {
	__u64 socket;
	struct peer otherwise; /* if the program gave or asked for no address */
	__u32 call;
	__u32 count;
	__u32 bytes[KEPT_OF_A_CALL];
};

/*
 * Key: thread. Value: what it has moved in a system call that goes on. 144 B each, 147 kB; the least recently used go, as those of
 * a thread that has ended are, should the kernel have skipped its program.
 */
DEFINE_MAP(kept_datagrams, BPF_MAP_TYPE_LRU_HASH, __u64, struct kept_datagrams, 1024, 0);

/* The registers that the system call was made with. */
static __always_inline struct pt_regs *caller_registers(void)
{
	return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

/*
 * Whether a destination that is known of this thread is one of this system call, where only system calls tell it: io_uring and 32-bit programs make
 * others, and what a server or a raw socket sent before was not asked for.
 */
static __always_inline int is_told_destination(void)
{
	const struct pt_regs *regs;
	if (!IS_SHARED(EVENT_udp_peer))
		return 1;
	regs = caller_registers();
	return regs->orig_ax == SENDMSG || (regs->orig_ax == SENDTO && regs->r8);
}

/* Whether a program is attached to the end of this system call. Of sends, sendmmsg needs it. */
static __always_inline int is_told_at_the_end(const struct pt_regs *regs, const struct peer *known, int is_received)
{
	if (!is_received)
		return regs->orig_ax == SENDMMSG && !known->port;
	return regs->orig_ax == RECVMSG || regs->orig_ax == RECVMMSG || (regs->orig_ax == RECVFROM && regs->r8);
}

/* Keeps a datagram of `bytes` until its other end is told; 0 if it will not be. */
static SELDOM int keep_datagram(const struct ends *ends, __u32 bytes, int is_received)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct kept_datagrams fresh = { .socket = ends->id, .otherwise = ends->peer, .count = 1, .bytes[0] = bytes };
	struct kept_datagrams *kept;
	struct pt_regs *regs;
	__u32 count;
	if (!(is_received ? IS_SHARED(EVENT_udp_source) : IS_SHARED(EVENT_udp_peer)))
		return 0;
	regs = caller_registers();
	if (!is_told_at_the_end(regs, &ends->peer, is_received))
		return 0;
	fresh.call = regs->orig_ax;
	kept = bpf_map_lookup_elem(&kept_datagrams, &thread);
	if (!kept)
		return !bpf_map_update_elem(&kept_datagrams, &thread, &fresh, BPF_NOEXIST);
	count = kept->count;
	if (count >= KEPT_OF_A_CALL || kept->call != fresh.call)
		return 0;
	kept->bytes[count] = bytes;
	kept->count = count + 1;
	return 1;
}

#else
#define keep_datagram(ends, bytes, is_received) 0
#define is_told_destination() 1
#endif

#endif
