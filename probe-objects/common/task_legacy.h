/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Tasks on kernels without BTF: nobody tells where a task's fields are.
 *
 * The loader finds out on the running kernel: `sample_task` copies the first bytes of the loader's own task, in which the loader looks for
 * its thread id, process id and name (workers/src/loader/offsets.rs), and writes the two places into `control`.
 */
#ifndef TASK_LEGACY_H
#define TASK_LEGACY_H

#include "task.h"

enum { SAMPLE_PART = 4096, SAMPLE_PARTS = 3 };

struct task_sample {
	__u64 wanted; /* written by the loader: whose task to copy, as bpf_get_current_pid_tgid says it; 0 when it is done */
	__u8 bytes[SAMPLE_PARTS * SAMPLE_PART];
};

/* Key: 0. Value: the copy. Written once at the start by `sample_task`, read by the loader. 12 kB. */
DEFINE_MAP(sample, BPF_MAP_TYPE_ARRAY, __u32, struct task_sample, 1, 0);

static __always_inline int sample_current_task(void)
{
	__u32 zero = 0;
	struct task_sample *copy = bpf_map_lookup_elem(&sample, &zero);
	char *task = (char *)bpf_get_current_task();
	if (!copy || copy->wanted != bpf_get_current_pid_tgid())
		return 0;
	bpf_probe_read(copy->bytes, SAMPLE_PART, task);
	bpf_probe_read(copy->bytes + SAMPLE_PART, SAMPLE_PART, task + SAMPLE_PART);
	bpf_probe_read(copy->bytes + 2 * SAMPLE_PART, SAMPLE_PART, task + 2 * SAMPLE_PART);
	copy->wanted = 0;
	return 0;
}

struct task_ids {
	__u32 pid;
	__u32 tgid;
};

/* False when the ids could not be read. */
static __always_inline int read_ids(struct task_ids *ids, const char *task)
{
	return bpf_probe_read(ids, sizeof(*ids), task + control_word(CONTROL_TASK_IDS_OFFSET)) == 0;
}

#if APPS
/* A row for a task that need not be the one that runs. */
static __always_inline struct row *row_of_ids(const struct task_ids *ids, const char *task)
{
	struct row_key key = current_key(ids->tgid);
	struct row *row = bpf_map_lookup_elem(&overflow, &key);
	if (row)
		return row;
	struct row fresh = fresh_row(&key);
	fresh.flags = ids->pid == ids->tgid ? 0 : ROW_COMM_OF_THREAD;
	bpf_probe_read(fresh.comm, sizeof(fresh.comm), task + control_word(CONTROL_TASK_COMM_OFFSET));
	return insert_row(&key, &fresh);
}
#else
#define row_of_ids(ids, task) current_row()
#endif

#endif
