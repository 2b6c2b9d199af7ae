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
#define begin_generation()

#elif FLAVOUR_ROWS

/*
 * What tells the owners of slots apart: the process and how often it has executed a program. One more than the process id, so that it is
 * never 0, not even the idle task's; the count's upper half is not needed to tell neighbours apart.
 */
static __always_inline __u64 owner_of(struct task_struct *task)
{
	return (task->self_exec_id << 32 | (__u32)task->tgid) + 1;
}

static __always_inline __u32 tgid_of_owner(__u64 owner)
{
	return (__u32)owner - 1;
}

static __always_inline __u32 generation_of_owner(__u64 owner)
{
	return owner >> 32;
}

/* Whether a task's leader may be asked for: not of one that is being released, whose leader may be gone. */
enum task_reach { TASK_WITH_LEADER, TASK_ALONE };

/* Names the owner of a fresh row. */
static __always_inline void write_identity(struct row *row, struct task_struct *task, __u64 owner, enum task_reach reach)
{
	struct task_struct *leader = reach == TASK_ALONE ? task : task->group_leader;
	__u32 flags = reach == TASK_ALONE && task->pid != task->tgid ? ROW_COMM_OF_THREAD : 0;
	row->tgid = tgid_of_owner(owner);
	row->generation = generation_of_owner(owner);
	row->flags = flags;
	row->start_ns = flags ? 0 : leader->start_time;
	row->parent_tgid = reach == TASK_ALONE ? 0 : leader->real_parent->tgid;
	copy_comm(row->comm, leader);
}

/* Two generations of a process land in different slots, so a fork and exec do not need the hash. */
static __always_inline __u32 slot_of(__u64 owner)
{
	return ((__u32)owner + (__u32)(owner >> 32) * 61) & (ROW_SLOTS - 1);
}

/*
 * The row of a task that does not hold its slot: claims the slot, or goes to the hash where another has it.
 * A function of its own, because every program has this path and nearly none takes it. It finds out the epoch and the owner once more,
 * so that the usual path need not keep them in registers, which it would have to save.
 */
static __attribute__((noinline)) struct row *claim_row(struct task_struct *task, enum task_reach reach)
{
	__u32 lane = current_lane();
	__u64 owner = owner_of(task);
	__u32 index = lane / 2 * ROWS_PER_CPU + (lane & 1) * ROW_SLOTS + slot_of(owner);
	struct row *row = bpf_map_lookup_elem(&rows, &index);
	if (!row)
		return NULL; /* the loader sized the array: cannot happen */
	if (row->owner == 0 && __sync_val_compare_and_swap(&row->owner, 0, owner) == 0) {
		write_identity(row, task, owner, reach);
		return row;
	}
	if (row->owner == owner) /* claimed between the two looks, by a program that interrupted this one */
		return row;
	struct row_key key = key_of(tgid_of_owner(owner), generation_of_owner(owner), lane);
	row = bpf_map_lookup_elem(&overflow, &key);
	if (row)
		return row;
	struct row fresh = { .owner = owner };
	write_identity(&fresh, task, owner, reach);
	return insert_row(&key, &fresh);
}

/* The row that `owner` holds in its slot; NULL when it does not. `first`: the first slot of this CPU and epoch. */
static __always_inline struct row *held_row(__u64 owner, __u32 first)
{
	__u32 index = first + slot_of(owner);
	struct row *row = bpf_map_lookup_elem(&rows, &index);
	return row && row->owner == owner ? row : NULL;
}

static __always_inline __u32 first_slot(void)
{
	return bpf_get_smp_processor_id() * ROWS_PER_CPU + (__u32)epoch_slots;
}

/* The CPU is asked for before the task here, so that only its number outlives a call. */
static __always_inline struct row *current_row(void)
{
	__u32 first = first_slot();
	HIDE_ORIGIN(first); /* or clang would work it out after the next call and keep all that it is made of */
	struct row *row = held_row(owner_of(bpf_get_current_task_btf()), first);
	return row ? row : claim_row(bpf_get_current_task_btf(), TASK_WITH_LEADER);
}

/* Row of a task that may be about to be released. */
static __always_inline struct row *row_of_task(struct task_struct *task)
{
	struct row *row = held_row(owner_of(task), first_slot());
	return row ? row : claim_row(task, TASK_ALONE);
}

/* The kernel counts execs itself. */
#define begin_generation()

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

/* The running process executes another program: what it does from here on belongs to another row. */
static __always_inline void begin_generation(void)
{
	__u32 *generation = generation_of(bpf_get_current_pid_tgid() >> 32);
	if (generation)
		__sync_fetch_and_add(generation, 1);
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
