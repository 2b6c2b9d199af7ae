/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Programs for kernels with BTF: fentry, fexit, tp_btf.
 *
 * Typed access only, no bpf_probe_read*: such programs are loaded even where the kernel forbids reading its memory
 * (lockdown=confidentiality).
 */
#define REGISTERS(ctx) ((struct pt_regs *)(ctx)[0])

/* The system-call functions (__x64_sys_*, …) take the caller's registers and return the result. */
#define TRANSFER(event, n)                                                                                                   \
	SEC("fexit") int function_##event##_##n(unsigned long long *ctx)                                                     \
	{                                                                                                                    \
		struct row *row = current_row();                                                                             \
		return row ? count_transfer(row, SLOT_##event, SLOT_##event##_error, SLOT_##event##_bytes, ctx[1]) : 0;      \
	}
FOR_EACH_READ(TRANSFER)
FOR_EACH_WRITE(TRANSFER)

#if RETURN
#define CALL(event, n)                                                                                                       \
	SEC("fexit") int function_##event##_##n(unsigned long long *ctx)                                                     \
	{                                                                                                                    \
		struct row *row = current_row();                                                                             \
		return row ? count_result(row, SLOT_##event, SLOT_##event##_error, ctx[1]) : 0;                              \
	}
#define UNLINK(event, n)                                                                                                     \
	SEC("fexit") int function_##event##at_##n(unsigned long long *ctx)                                                   \
	{                                                                                                                    \
		struct row *row = REGISTERS(ctx)->dx & AT_REMOVEDIR ? NULL : current_row();                                  \
		return row ? count_result(row, SLOT_##event, SLOT_##event##_error, ctx[1]) : 0;                              \
	}
#else
#define CALL(event, n)                                                                                                       \
	SEC("fentry") int function_##event##_##n(unsigned long long *ctx) { return count_call(SLOT_##event); }
#define UNLINK(event, n)                                                                                                     \
	SEC("fentry") int function_##event##at_##n(unsigned long long *ctx)                                                  \
	{                                                                                                                    \
		return REGISTERS(ctx)->dx & AT_REMOVEDIR ? 0 : count_call(SLOT_##event);                                     \
	}
#endif
/* Any prctl: whether it was PR_SET_NAME does not matter, as the name is looked up. */
#define RENAME(event, n)                                                                                                     \
	SEC("fexit") int function_##event##_##n(void *ctx)                                                                   \
	{                                                                                                                    \
		rename_current();                                                                                            \
		return 0;                                                                                                    \
	}
FOR_EACH_RENAME(RENAME)

FOR_EACH_OPEN(CALL)
FOR_EACH_CLOSE(CALL)
FOR_EACH_UNLINK(CALL)
FOR_EACH_UNLINK(UNLINK)

#if APPS && FLAVOUR_HASH
/* A row for a task that need not be the one that runs. */
static __always_inline struct row *row_of_task(struct task_struct *task)
{
	struct row_key key = current_key(task->tgid);
	struct row *row = bpf_map_lookup_elem(&overflow, &key);
	if (row)
		return row;
	struct row fresh = fresh_row(&key);
	fresh.flags = task->pid == task->tgid ? 0 : ROW_COMM_OF_THREAD;
	fresh.start_ns = fresh.flags ? 0 : task->start_time;
	copy_comm(fresh.comm, task);
	return insert_row(&key, &fresh);
}
#endif

/* The creator runs; `child` is complete and has not run yet. Its row makes its creator known, whatever becomes of either. */
static __always_inline int count_creation(struct task_struct *child)
{
	struct row *row = current_row();
	__u32 creator = bpf_get_current_pid_tgid() >> 32;
	int is_thread = child->tgid == creator;
	if (child->pid == 0) /* the idle task of a CPU that comes up */
		return 0;
	if (row)
		add(row, is_thread ? SLOT_thread : SLOT_fork, 1);
#if APPS
	if (is_thread)
		return 0;
	row = row_of_task(child);
	if (row)
		row->parent_tgid = creator;
	nothing_to_count(row);
#endif
	return 0;
}

SEC("fentry") int function_create_0(unsigned long long *ctx)
{
	return count_creation((struct task_struct *)ctx[0]);
}

SEC("tp_btf/task_newtask") int tp_btf_task_newtask(unsigned long long *ctx)
{
	return count_creation((struct task_struct *)ctx[0]);
}

/* Fired with the run queue's lock held (kernel/sched/core.c, wake_up_new_task), so that the program cannot be preempted. */
SEC("tp_btf/sched_wakeup_new") int tp_btf_sched_wakeup_new(unsigned long long *ctx)
{
	return count_creation((struct task_struct *)ctx[0]);
}

SEC("tp_btf/sched_process_exit") int tp_btf_sched_process_exit(void *ctx)
{
	return count_call(SLOT_exit);
}

SEC("fentry") int function_exit_0(void *ctx)
{
	return count_call(SLOT_exit);
}

#if FLAVOUR_ROWS
SEC("tracepoint") int tracepoint_exit(void *ctx)
{
	return count_call(SLOT_exit);
}
#endif

/* Runs in the reaper, or after an RCU grace period anywhere: the task is the argument, not the one that runs. */
static __always_inline int count_release(struct task_struct *task)
{
	struct row *row = row_of_task(task);
	if (!row)
		return 0;
	add(row, SLOT_release, 1);
#if APPS
	if (task->pid == task->tgid)
		row->flags |= ROW_ENDED;
#endif
	return 0;
}

SEC("fentry") int function_release_0(unsigned long long *ctx)
{
	return count_release((struct task_struct *)ctx[0]);
}

/* Fired by an RCU callback, with softirqs off, so that the program cannot be preempted. */
SEC("tp_btf/sched_process_free") int tp_btf_sched_process_free(unsigned long long *ctx)
{
	return count_release((struct task_struct *)ctx[0]);
}

/* From here on the process has a new name, so what it does belongs to a new row; making it now lets every exec be seen. */
SEC("tp_btf/sched_process_exec") int tp_btf_sched_process_exec(void *ctx)
{
	begin_generation();
#if APPS
	nothing_to_count(current_row());
#endif
	return 0;
}

#if RETURN
SEC("fexit") int function_create_failed_0(unsigned long long *ctx)
{
	struct kernel_clone_args *args = (struct kernel_clone_args *)ctx[0];
	return (__s32)ctx[1] < 0 ? count_creation_failure(args->flags) : 0;
}
#endif

/* ------------------------------------------------------------------------ every system call, where functions cannot be hooked */

SEC("tp_btf/sys_exit") int tp_btf_sys_exit(unsigned long long *ctx)
{
	struct pt_regs *regs = REGISTERS(ctx);
	__u32 events = events_of(regs->orig_ax);
	if (!events)
		return 0;
#if FLAVOUR_ROWS
	int is_32_bit = bpf_get_current_task_btf()->thread_info.status & TS_COMPAT;
#else
	int is_32_bit = is_32_bit_call(regs->cs, regs->ss, regs->cx, regs->ip);
#endif
	struct system_call call = { .event = is_32_bit ? events >> 8 : events & 0xff };
	if (!IS_SHARED(call.event))
		return 0;
	call.number = regs->orig_ax;
	call.first = is_32_bit ? regs->bx : regs->di;
	call.third = regs->dx;
	call.result = ctx[1];
	return count_system_call(&call);
}

#if FLAVOUR_ROWS
/*
 * The same by a perf tracepoint, which the kernel runs with preemption off (bpf_task_pt_regs: >= 5.15). Where programs are preempted,
 * those of the other kinds are skipped on a CPU for as long as a task that was preempted inside one waits there.
 */
SEC("tracepoint") int tracepoint_raw_syscalls_sys_exit(struct trace_event_raw_sys_exit *ctx)
{
	__u32 events = events_of(ctx->id);
	if (!events)
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	int is_32_bit = task->thread_info.status & TS_COMPAT;
	struct system_call call = { .event = is_32_bit ? events >> 8 : events & 0xff };
	if (!IS_SHARED(call.event))
		return 0;
	struct pt_regs *regs = bpf_task_pt_regs(task);
	call.number = ctx->id;
	call.first = is_32_bit ? regs->bx : regs->di;
	call.third = regs->dx;
	call.result = ctx->ret;
	return count_system_call(&call);
}
#endif

#if RETURN && FLAVOUR_ROWS
/* Context of syscalls/sys_exit_*: not the trace event's, but made for programs; its result stands here in every kernel (struct syscall_tp_t). */
struct syscall_exit_context {
	__u64 common[2];
	__s64 result;
};

/*
 * clone3 has its flags in user memory, so this one program reads some, at failures only. It is a plain tracepoint program beside the
 * typed ones, so that they need no such helper (bpf_task_pt_regs: >= 5.15).
 */
SEC("tracepoint") int tracepoint_create_failed(struct syscall_exit_context *ctx)
{
	__u64 flags = 0;
	if (!is_failed_creation(ctx->result))
		return 0;
	struct pt_regs *regs = bpf_task_pt_regs(bpf_get_current_task_btf());
	if (bpf_probe_read_user(&flags, sizeof(flags), (void *)regs->di)) {
		struct row *row = current_row();
		if (row)
			add(row, SLOT_FAILED_READ, 1);
	}
	return count_creation_failure(flags);
}
#endif

#if APPS && FLAVOUR_ROWS
#include "../common/command_line.h"

SEC("tracepoint") int tracepoint_command_line(void *ctx)
{
	return record_command_line(bpf_get_current_task_btf());
}
#endif
