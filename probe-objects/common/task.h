/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The row of a task: of the one that runs, or of one that a tracepoint or function was given.
 *
 * `generation` tells what a process did before it executed another program from what it did after. FLAVOUR_ROWS takes the kernel's
 * own count of execs, the others keep one for each process id (modulo 65536: a clash only makes two rows of one).
 */
#ifndef TASK_H
#define TASK_H

#include "rows.h"

#if TYPED
static __always_inline void copy_comm(char *to, struct task_struct *task)
{
#pragma unroll
	for (int i = 0; i < 16; i++)
		to[i] = task->comm[i];
}
#endif

#if !APPS

#define row_of_task(task) current_row()
#define rename_current()

#elif FLAVOUR_ROWS

#define OWNED (1ULL << 63)

static __always_inline __u64 owner_of(struct task_struct *task)
{
	/* 31 bits of the exec count are enough to tell neighbours apart. */
	return OWNED | (task->self_exec_id << 32 & ~OWNED) | (__u32)task->tgid;
}

static __always_inline __u32 generation_of_owner(__u64 owner)
{
	return owner >> 32 & 0x7fffffff;
}

/* Whether a task's leader may be asked for: not of one that is being released, whose leader may be gone. */
enum task_reach { TASK_WITH_LEADER, TASK_ALONE };

/* Names the owner of a fresh row. */
static __always_inline void write_identity(struct row *row, struct task_struct *task, __u64 owner, enum task_reach reach)
{
	struct task_struct *leader = reach == TASK_ALONE ? task : task->group_leader;
	__u32 flags = reach == TASK_ALONE && task->pid != task->tgid ? ROW_COMM_OF_THREAD : 0;
	row->tgid = (__u32)owner;
	row->generation = generation_of_owner(owner);
	row->flags = flags;
	row->start_ns = flags ? 0 : leader->start_time;
	row->parent_tgid = reach == TASK_ALONE ? 0 : leader->real_parent->tgid;
	copy_comm(row->comm, leader);
}

/* Two generations of a process land in different slots, so a fork and exec do not need the hash. */
static __always_inline __u32 index_of(__u64 owner, __u32 lane)
{
	return lane * (SLOTS + 1) + (((__u32)owner + (__u32)(owner >> 32) * 61) & (SLOTS - 1));
}

/*
 * The row of an owner who does not hold its slot: claims the slot, or goes to the hash where another has it.
 * A function of its own, because every program has this path and nearly none takes it.
 */
static __attribute__((noinline)) struct row *claim_row(struct task_struct *task, __u64 owner, __u32 lane, enum task_reach reach)
{
	__u32 index = index_of(owner, lane);
	struct row *row = bpf_map_lookup_elem(&rows, &index);
	if (!row)
		return NULL; /* the loader sized the array: cannot happen */
	if (row->owner == 0 && __sync_val_compare_and_swap(&row->owner, 0, owner) == 0) {
		write_identity(row, task, owner, reach);
		return row;
	}
	if (row->owner == owner) /* claimed between the two looks, by a program that interrupted this one */
		return row;
	struct row_key key = key_of((__u32)owner, generation_of_owner(owner), lane);
	row = bpf_map_lookup_elem(&overflow, &key);
	if (row)
		return row;
	struct row fresh = { .owner = owner };
	write_identity(&fresh, task, owner, reach);
	return insert_row(&key, &fresh);
}

static __always_inline struct row *find_row(struct task_struct *task, enum task_reach reach)
{
	__u32 lane = current_lane();
	__u64 owner = owner_of(task);
	__u32 index = index_of(owner, lane);
	struct row *row = bpf_map_lookup_elem(&rows, &index);
	if (row && row->owner == owner)
		return row;
	return claim_row(task, owner, lane, reach);
}

static __always_inline struct row *current_row(void)
{
	return find_row(bpf_get_current_task_btf(), TASK_WITH_LEADER);
}

/* The running thread may have a new name; if it is the process's first, that is the process's name from now on. */
static __always_inline void rename_current(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct row *row = task->pid == task->tgid ? current_row() : NULL;
	nothing_to_count(row);
	if (!row || row->owner == 0)
		return;
	copy_comm(row->comm, task);
	row->flags |= ROW_RENAMED;
}

#else /* rows in the hash only; the current task through helpers */

/* Key: process id modulo 65536. Value: programs executed. Written by the exec hook. 256 kB. */
DEFINE_MAP(generations, BPF_MAP_TYPE_ARRAY, __u32, __u32, 65536, 0);

static __always_inline __u32 *generation_of(__u32 tgid)
{
	__u32 index = tgid & 0xffff;
	return bpf_map_lookup_elem(&generations, &index);
}

static __always_inline struct row_key current_key(__u32 tgid)
{
	__u32 *generation = generation_of(tgid);
	return key_of(tgid, generation ? *generation : 0, current_lane());
}

static __always_inline struct row fresh_row(const struct row_key *key)
{
	return (struct row){ .owner = 1, .tgid = key->tgid, .generation = key->generation };
}

static __always_inline struct row *current_row(void)
{
	__u64 ids = bpf_get_current_pid_tgid();
	struct row_key key = current_key(ids >> 32);
	struct row *row = bpf_map_lookup_elem(&overflow, &key);
	if (row)
		return row;
	struct row fresh = fresh_row(&key);
	fresh.flags = (__u32)ids == ids >> 32 ? 0 : ROW_COMM_OF_THREAD;
	bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
	return insert_row(&key, &fresh);
}

/* The running thread may have a new name; if it is the process's first, that is the process's name from now on. */
static __always_inline void rename_current(void)
{
	__u64 ids = bpf_get_current_pid_tgid();
	struct row *row = (__u32)ids == ids >> 32 ? current_row() : NULL;
	nothing_to_count(row);
	if (!row || row->owner == 0)
		return;
	bpf_get_current_comm(row->comm, sizeof(row->comm));
	row->flags |= ROW_RENAMED;
}

#endif

#endif
