/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Rows: where an event of a process is counted.
 *
 * A row belongs to one process (strictly: to one program that a process executes, see `generation`) on one CPU in one
 * epoch. User space flips the epoch, waits until every program that saw the old one has ended, and reads the
 * quiet rows; they are cleared before their turn comes again. So no counter is ever read while it is written, none is
 * shared between CPUs, and nothing is left of a process that is gone.
 *
 * FLAVOUR_ROWS claims a slot of an array with a compare-and-swap, once per row; every later event is an array look-up
 * and atomic adds. Whoever finds the slot taken, and the other flavours always, use the hash. What finds no place there either
 * goes to the CPU's spill row: right in the totals, in no application's.
 *
 * The includer defines COUNTERS (generated from module.toml).
 */
#ifndef ROWS_H
#define ROWS_H

#include "kernel.h"

/* Slots after the table's own counters; only spill rows and failed reads use them. */
enum {
	SLOT_NO_ROW = COUNTERS,    /* events that found every table full */
	SLOT_FAILED_READ,          /* details that could not be read */
	ROW_COUNTERS,
};

enum {
	ROW_COMM_OF_THREAD = 1 << 0, /* comm is the claiming thread's, perhaps not the process's */
	ROW_ENDED = 1 << 1,          /* the process was reaped: its id may be used again */
	ROW_RENAMED = 1 << 2,        /* the process gave itself the name that comm is */
};

/* Shared with user space: shared layout, no padding; workers/src/rows.rs reads it by these offsets. */
struct row {
	__u64 owner;        /* 0: free */
	__u64 start_ns;     /* start of the process, CLOCK_MONOTONIC; 0: not known */
	__u32 tgid;
	__u32 parent_tgid;  /* who created the process; 0: not known */
	__u32 generation;   /* changes with every exec */
	__u32 flags;        /* ROW_* */
	char comm[16];
	__u64 counters[ROW_COUNTERS];
};

struct row_key {
	__u32 tgid;
	__u32 generation;
	__u32 lane;
	__u32 unused;       /* 0 */
};

enum { ROW_SLOTS = 256 }; /* per CPU and epoch; a power of two */

#if FLAVOUR_ROWS && APPS
/*
 * Key: the row's number; each CPU has its slots of even epochs, those of odd ones, and a spill row of each.
 * Value: the row. Written here, cleared by user space in the other epoch. max_entries is set by the loader:
 * possible CPUs × 2 × 257 rows × 208 B = 107 kB per CPU. Never full: a taken slot is the hash's business.
 */
DEFINE_MAP(rows, BPF_MAP_TYPE_ARRAY, __u32, struct row, 1, BPF_F_MMAPABLE);

enum { ROWS_PER_CPU = 2 * ROW_SLOTS + 2 };

/*
 * Where the slots of this epoch begin among the CPU's rows: 0 or ROW_SLOTS. Written by user space. Only one byte of it ever changes, so that
 * no program sees half a change. A global, because the look-up in a map would cost every event ten instructions.
 */
volatile __u64 epoch_slots = 0;
#elif FLAVOUR_ROWS
/*
 * The rows of the CPUs, 53 kB, read by user space. A global, because the look-up in a map would double what an event costs; its length must be
 * known to the verifier, so CPUs beyond it share rows with others, which atomic adds allow.
 */
enum { CPU_ROWS = 256 };
struct row cpu_rows[CPU_ROWS] = {};
#else
/*
 * Key: the lane with applications, where this is the spill row; the CPU without. Value: the row. Written here, cleared by user space
 * in the other epoch. max_entries is set by the loader.
 */
DEFINE_MAP(rows, BPF_MAP_TYPE_ARRAY, __u32, struct row, 1, 0);
#endif

/* Words that user space writes for the programs; the last four are for FLAVOUR_LEGACY, which has no constants and no BTF. */
enum {
	CONTROL_EPOCH,
	CONTROL_TASK_IDS_OFFSET,  /* of pid, which tgid follows, in task_struct */
	CONTROL_TASK_COMM_OFFSET, /* of comm */
	CONTROL_SHARED_EVENTS,    /* one bit for each EVENT_* that a program for several events counts */
	CONTROL_FLOWS,            /* whether traffic is counted by peer */
	CONTROL_WORDS,
};

/* Key: CONTROL_*. Value: the word. 40 B. */
DEFINE_MAP(control, BPF_MAP_TYPE_ARRAY, __u32, __u64, CONTROL_WORDS, 0);

static __always_inline __u64 control_word(__u32 word)
{
	__u64 *value = bpf_map_lookup_elem(&control, &word);
	return value ? *value : 0;
}

#if TYPED
/* One bit for each EVENT_* that a program for several events is to count; the loader sets it, the verifier removes the rest. */
const volatile __u32 shared_events = 0;
#define IS_SHARED(event) (shared_events >> (event) & 1)
#else
#define IS_SHARED(event) (control_word(CONTROL_SHARED_EVENTS) >> (event) & 1)
#endif

static __always_inline void add(struct row *row, __u32 slot, __u64 amount)
{
	__sync_fetch_and_add(&row->counters[slot], amount);
}

#if !APPS
/* Without applications there is one row for each CPU, which only grows: no epoch, nothing to claim. */

static __always_inline struct row *current_row(void)
{
	__u32 cpu = bpf_get_smp_processor_id();
#if FLAVOUR_ROWS
	return &cpu_rows[cpu & (CPU_ROWS - 1)];
#else
	return bpf_map_lookup_elem(&rows, &cpu);
#endif
}

/* For what is kept by epoch besides: CPU × 2 + the epoch's parity. */
static __always_inline __u32 current_lane(void)
{
	return bpf_get_smp_processor_id() * 2 + (control_word(CONTROL_EPOCH) & 1);
}

#define ownerless_row() current_row()

#else

/*
 * Rows that have no slot. Value: the row. Written here, read and deleted by user space in the other epoch.
 * 224 B each, allocated at the start, because allocation inside a probe may fail; the loader sets max_entries
 * (`pid table size`: rows of two epochs, one for each process and CPU, less those that have a slot). When full, the spill row counts.
 */
DEFINE_MAP(overflow, BPF_MAP_TYPE_HASH, struct row_key, struct row, 32768, 0);

/* One CPU in one epoch: CPU × 2 + the epoch's parity. Rows of a lane are written by that CPU only, then by user space only. */
static __always_inline __u32 current_lane(void)
{
#if FLAVOUR_ROWS
	__u32 parity = epoch_slots / ROW_SLOTS & 1;
#else
	__u32 parity = control_word(CONTROL_EPOCH) & 1;
#endif
	return bpf_get_smp_processor_id() * 2 + parity;
}

/* The row of a lane that belongs to nobody. */
static __always_inline struct row *row_of_lane(__u32 lane)
{
#if FLAVOUR_ROWS
	__u32 index = lane / 2 * ROWS_PER_CPU + 2 * ROW_SLOTS + (lane & 1);
#else
	__u32 index = lane;
#endif
	return bpf_map_lookup_elem(&rows, &index);
}

/* Where what no process did is counted. */
static __always_inline struct row *ownerless_row(void)
{
	return row_of_lane(current_lane());
}

static __always_inline struct row *spill_row(__u32 lane)
{
	struct row *row = row_of_lane(lane);
	if (row)
		add(row, SLOT_NO_ROW, 1);
	return row;
}

/* A row that was asked for only to make its owner known: if there was none, no event has lost its place. */
static __always_inline void nothing_to_count(struct row *row)
{
	if (row && row->owner == 0)
		add(row, SLOT_NO_ROW, -1);
}

static __always_inline struct row_key key_of(__u32 tgid, __u32 generation, __u32 lane)
{
	return (struct row_key){ .tgid = tgid, .generation = generation, .lane = lane };
}

/* Puts the prepared row into the hash and returns the one that is there then: ours, or that of a program that interrupted us. */
static __always_inline struct row *insert_row(const struct row_key *key, const struct row *fresh)
{
	struct row *row;
	bpf_map_update_elem(&overflow, key, fresh, BPF_NOEXIST);
	row = bpf_map_lookup_elem(&overflow, key);
	return row ? row : spill_row(key->lane);
}

#endif /* APPS */
#endif
