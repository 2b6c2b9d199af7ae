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
	unsigned long dx;
	unsigned long ax;
	unsigned long cx;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long cs;
	unsigned long ss;
};

struct kernel_clone_args {
	__u64 flags;
};

#pragma clang attribute pop
#endif

/* Registers at a kprobe: the program's context, whose layout is ABI (x86-64 arch/x86/include/asm/ptrace.h). */
struct kprobe_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
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
