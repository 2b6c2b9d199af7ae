/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Programs for kernels without BTF, from 4.14: kprobe, kretprobe, raw tracepoints (>= 4.17) and perf tracepoints.
 *
 * Calls are counted at the entry of a function, because a kretprobe loses returns when many threads wait inside; results at the return.
 */
#include "../common/task_legacy.h"

/* What a thread asked for, from a function's entry to its return. Value: clone flags, or 1. 16 B each; when full, the result is lost. */
DEFINE_MAP(inflight, BPF_MAP_TYPE_HASH, __u64, __u64, 4096, 0);

static __always_inline void count_failed_read(void)
{
	count_call(SLOT_FAILED_READ);
}

SEC("kprobe") int kprobe_sample_task(void *ctx)
{
	return sample_current_task();
}

SEC("raw_tracepoint") int raw_tp_sample_task(void *ctx)
{
	return sample_current_task();
}

/* -------------------------------------------------------------------------------------------------------- system calls */

#define ENTRY(event)                                                                                                         \
	SEC("kprobe") int kprobe_##event(void *ctx) { return count_call(SLOT_##event); }
ENTRY(open)
ENTRY(close)
ENTRY(read)
ENTRY(write)
ENTRY(unlink)

#define BYTES(event)                                                                                                         \
	SEC("kretprobe") int kretprobe_##event(struct kprobe_regs *ctx)                                                      \
	{                                                                                                                    \
		long result = ctx->ax;                                                                                       \
		struct row *row = result > 0 || RETURN ? current_row() : NULL;                                               \
		if (!row)                                                                                                    \
			return 0;                                                                                            \
		if (result > 0)                                                                                              \
			add(row, SLOT_##event##_bytes, result);                                                              \
		else if (RETURN && result < 0)                                                                               \
			add(row, SLOT_##event##_error, 1);                                                                   \
		return 0;                                                                                                    \
	}
BYTES(read)
BYTES(write)

#if RETURN
#define FAILURE(event)                                                                                                       \
	SEC("kretprobe") int kretprobe_##event(struct kprobe_regs *ctx)                                                      \
	{                                                                                                                    \
		return (long)ctx->ax < 0 ? count_call(SLOT_##event##_error) : 0;                                             \
	}
FAILURE(open)
FAILURE(close)
FAILURE(unlink)
#endif

SEC("kretprobe") int kretprobe_rename(void *ctx)
{
	rename_current();
	return 0;
}

static __always_inline int enter_unlinkat(__u64 flags)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u64 one = 1;
	if (flags & AT_REMOVEDIR)
		return 0;
	if (RETURN)
		bpf_map_update_elem(&inflight, &thread, &one, 0);
	return count_call(SLOT_unlink);
}

/* From 4.17 the function of a system call gets the caller's registers; before, its arguments. */
SEC("kprobe") int kprobe_unlinkat(struct kprobe_regs *ctx)
{
	struct kprobe_regs *caller = (struct kprobe_regs *)ctx->di;
	unsigned long flags = 0;
	if (bpf_probe_read(&flags, sizeof(flags), &caller->dx))
		count_failed_read();
	return enter_unlinkat(flags);
}

SEC("kprobe") int kprobe_unlinkat_arguments(struct kprobe_regs *ctx)
{
	return enter_unlinkat(ctx->dx);
}

#if RETURN
SEC("kretprobe") int kretprobe_unlinkat(struct kprobe_regs *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	if (bpf_map_delete_elem(&inflight, &thread))
		return 0; /* removed a directory */
	return (long)ctx->ax < 0 ? count_call(SLOT_unlink_error) : 0;
}
#endif

/* A caller's registers lie in memory as those at a kprobe do. */
SEC("raw_tracepoint") int raw_tp_sys_exit(unsigned long long *ctx)
{
	struct kprobe_regs regs;
	struct system_call call = {};
	int is_32_bit;
	if (bpf_probe_read(&regs, sizeof(regs), (void *)ctx[0])) {
		count_failed_read();
		return 0;
	}
	is_32_bit = is_32_bit_call(regs.cs, regs.ss, regs.cx, regs.ip);
	call.event = event_of(regs.orig_ax, is_32_bit);
	if (!IS_SHARED(call.event))
		return 0;
	call.number = regs.orig_ax;
	call.first = is_32_bit ? regs.bx : regs.di;
	call.third = regs.dx;
	call.result = ctx[1];
	return count_system_call(&call);
}

/* --------------------------------------------------------------------------------------------------- tasks come and go */

/* The creator runs. `child` is complete and has not run yet. */
static __always_inline int count_creation(const char *child)
{
	struct task_ids ids = {};
	__u32 creator = bpf_get_current_pid_tgid() >> 32;
	if (!read_ids(&ids, child)) {
		count_failed_read();
		return 0;
	}
	if (ids.pid == 0) /* the idle task of a CPU that comes up */
		return 0;
	count_call(ids.tgid == creator ? SLOT_thread : SLOT_fork);
#if APPS
	if (ids.tgid == creator)
		return 0;
	struct row *row = row_of_ids(&ids, child);
	if (row)
		row->parent_tgid = creator;
	nothing_to_count(row);
#endif
	return 0;
}

SEC("kprobe") int kprobe_create(struct kprobe_regs *ctx)
{
	return count_creation((const char *)ctx->di);
}

SEC("raw_tracepoint") int raw_tp_task_newtask(unsigned long long *ctx)
{
	return count_creation((const char *)ctx[0]);
}

SEC("kprobe") int kprobe_exit(void *ctx)
{
	return count_call(SLOT_exit);
}

SEC("raw_tracepoint") int raw_tp_sched_process_exit(void *ctx)
{
	return count_call(SLOT_exit);
}

/* Runs in the reaper, or after an RCU grace period anywhere: the task is the argument, not the one that runs. */
static __always_inline int count_release(const char *task)
{
	struct task_ids ids = {};
	struct row *row;
	if (!read_ids(&ids, task)) {
		count_failed_read();
		return 0;
	}
	row = row_of_ids(&ids, task);
	if (!row)
		return 0;
	add(row, SLOT_release, 1);
#if APPS
	if (ids.pid == ids.tgid)
		row->flags |= ROW_ENDED;
#endif
	return 0;
}

SEC("kprobe") int kprobe_release(struct kprobe_regs *ctx)
{
	return count_release((const char *)ctx->di);
}

SEC("raw_tracepoint") int raw_tp_sched_process_free(unsigned long long *ctx)
{
	return count_release((const char *)ctx[0]);
}

/* From here on the process has a new name, so what it does belongs to a new row. */
static __always_inline int count_exec(void)
{
	begin_generation();
#if APPS
	nothing_to_count(current_row());
#endif
	return 0;
}

SEC("kprobe") int kprobe_exec(void *ctx)
{
	return count_exec();
}

SEC("raw_tracepoint") int raw_tp_sched_process_exec(void *ctx)
{
	return count_exec();
}

SEC("tracepoint") int tracepoint_exec(void *ctx)
{
	return count_exec();
}

#if RETURN
/* Before 5.3 the first argument is the flags; since then it points to them (kernel_clone_args). No flag is as large as a kernel address. */
SEC("kprobe") int kprobe_create_failed(struct kprobe_regs *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u64 flags = ctx->di;
	if (flags >> 63 && bpf_probe_read(&flags, sizeof(flags), (void *)ctx->di))
		count_failed_read();
	bpf_map_update_elem(&inflight, &thread, &flags, 0);
	return 0;
}

SEC("kretprobe") int kretprobe_create_failed(struct kprobe_regs *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u64 *asked = bpf_map_lookup_elem(&inflight, &thread);
	__u64 flags = asked ? *asked : 0;
	bpf_map_delete_elem(&inflight, &thread);
	if ((__s32)ctx->ax >= 0)
		return 0;
	if (!asked)
		count_failed_read();
	return count_creation_failure(flags);
}
#endif
