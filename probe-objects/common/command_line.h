/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Command lines: what a program was executed with, recorded at the exec, because a process may be gone when somebody asks /proc.
 *
 * A plain tracepoint program, as it reads user memory; the typed programs need no such helper.
 */
#ifndef COMMAND_LINE_H
#define COMMAND_LINE_H

#include "task.h"

enum { COMMAND_LINE = 1024 };

struct command_line {
	__u32 length; /* in the process; the text is cut at COMMAND_LINE */
	char text[COMMAND_LINE];
};

/*
 * Value: the arguments of one exec, each ended by NUL. Written here, read and deleted by user space in the other epoch.
 * 1 044 B each, allocated at the start: 2 MB. When full, /proc is asked.
 */
DEFINE_MAP(command_lines, BPF_MAP_TYPE_HASH, struct row_key, struct command_line, 2048, 0);

/* Key: 0. Value: where a line is put together, as it does not fit on the stack. Perf runs programs with preemption off. */
DEFINE_MAP(command_line_scratch, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct command_line, 1, 0);

static __always_inline int record_command_line(struct task_struct *task)
{
	__u32 zero = 0;
	struct command_line *line = bpf_map_lookup_elem(&command_line_scratch, &zero);
	struct mm_struct *memory = task->mm;
	if (!line || !memory)
		return 0;
	__u64 owner = owner_of(task);
	struct row_key key = key_of(tgid_of_owner(owner), generation_of_owner(owner), current_lane());
	unsigned long start = memory->arg_start;
	__u64 length = memory->arg_end - start;
	__u32 size = length > COMMAND_LINE ? COMMAND_LINE : length;
	line->length = length;
	/* The verifier must see the bound on the very register that is passed. */
	asm volatile("" : "+r"(size));
	if (size > COMMAND_LINE)
		return 0;
	if (bpf_probe_read_user(line->text, size, (void *)start))
		return 0;
	bpf_map_update_elem(&command_lines, &key, line, 0);
	return 0;
}

#endif
