/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The `process` module: what tasks do with files, and how they come and go.
 *
 * Which program is attached where is decided by module.toml and the worker. Program names are
 * KIND_EVENT or KIND_EVENT_N (copies: fentry and fexit bind a program to one function), or KIND_TRACEPOINT.
 *
 * RETURN: errors are counted. Without it the branches for them are not compiled.
 */
#include "process_table.h" /* COUNTERS, SLOT_*, EVENT_*, FOR_EACH_*, event_of_*: generated from module.toml */

#include "../common/task.h"

/* ------------------------------------------------------------------------------------------- counting, any strategy */

/* One call, not looking at how it ended. */
static __always_inline int count_call(__u32 calls)
{
	struct row *row = current_row();
	if (row)
		add(row, calls, 1);
	return 0;
}

/* One call that returned `result`. */
static __always_inline int count_result(struct row *row, __u32 calls, __u32 errors, long result)
{
	add(row, calls, 1);
	if (RETURN && result < 0)
		add(row, errors, 1);
	return 0;
}

/* One call that moved `result` bytes, or failed. */
static __always_inline int count_transfer(struct row *row, __u32 calls, __u32 errors, __u32 bytes, long result)
{
	add(row, calls, 1);
	if (result > 0) {
		add(row, bytes, result);
		KEEP_APART();
		return 0;
	}
	if (RETURN && result < 0)
		add(row, errors, 1);
	return 0;
}

static __always_inline int count_creation_failure(__u64 clone_flags)
{
	return count_call(clone_flags & CLONE_THREAD ? SLOT_thread_error : SLOT_fork_error);
}

/* What a system call was, when it returns; the same whichever program sees it. */
struct system_call {
	__u32 event;     /* EVENT_* */
	__u32 number;
	__u64 first;     /* arguments */
	__u64 third;
	long result;
};

/* Numbers differ between the ABIs. */
#if TYPED
/*
 * What each number is in either ABI. Every system call runs through this, and a table costs a third of what comparisons do; calls that are nothing in
 * both ABIs end here, before anything else is found out. Its length is a power of two above every number.
 */
enum { CALL_NUMBERS = 512 };
struct events_of_number {
	__u8 x86_64;
	__u8 i386;
} __attribute__((aligned(2)));
#define ENTRY_OF_x86_64(number, event) [number].x86_64 = event,
#define ENTRY_OF_i386(number, event) [number].i386 = event,
static const struct events_of_number events_of_numbers[CALL_NUMBERS] = {
	FOR_EACH_CALL_OF_x86_64(ENTRY_OF_x86_64) FOR_EACH_CALL_OF_i386(ENTRY_OF_i386)
};

/* Both events of a number in one word: i386's above x86_64's; 0 for a number that nobody counts. */
static __always_inline __u32 events_of(__u32 number)
{
	__u64 index = number;
	HIDE_ORIGIN(index);
	return index < CALL_NUMBERS ? *(const volatile __u16 *)&events_of_numbers[index] : EVENT_none;
}
#else
#define CASE(number, event)                                                                                                  \
	case number:                                                                                                         \
		return event;
static __always_inline __u32 event_of(__u32 number, int is_32_bit)
{
	if (is_32_bit)
		switch (number) { FOR_EACH_CALL_OF_i386(CASE) }
	else
		switch (number) { FOR_EACH_CALL_OF_x86_64(CASE) }
	return EVENT_none;
}
#endif

static __always_inline int is_unlinkat(__u32 number)
{
	return number == NR_x86_64_unlinkat || number == NR_i386_unlinkat;
}

static __always_inline int is_clone(__u32 number)
{
	return number == NR_x86_64_clone || number == NR_i386_clone;
}

/* ENOSYS is no failure to create: a kernel or a container without clone3 says so, and the C library uses clone instead. */
static __always_inline int is_failed_creation(long result)
{
	return result < 0 && result != -ENOSYS;
}

static __always_inline int count_failed_creation_call(const struct system_call *call)
{
	__u64 flags = is_clone(call->number) ? call->first : 0;
	if (!is_failed_creation(call->result))
		return 0;
	if (call->number == NR_x86_64_clone3 || call->number == NR_i386_clone3) {
#if TYPED
		return 0; /* its flags are in user memory: tracepoint_create_failed counts it */
#else
		if (bpf_probe_read(&flags, sizeof(flags), (void *)call->first))
			count_call(SLOT_FAILED_READ);
#endif
	}
	return count_creation_failure(flags);
}

/* The most that the kernel moves in one call (include/linux/fs.h). Who answers a call in its place, by seccomp's user notification, may say more. */
enum { MAX_RW_COUNT = 0x7ffff000 };

/* What a read or write returned; 0 for what is no number of bytes, or sums would go down. */
static __always_inline long moved(long result)
{
	return result > MAX_RW_COUNT ? 0 : result;
}

static __always_inline int count_system_call(const struct system_call *call)
{
	struct row *row;
	if (call->event == EVENT_rename) {
		rename_current();
		return 0;
	}
	if (call->event == EVENT_create_failed)
		return count_failed_creation_call(call);
	if (call->event == EVENT_unlink && is_unlinkat(call->number) && call->third & AT_REMOVEDIR)
		return 0;
	row = current_row();
	if (!row)
		return 0;
	switch (call->event) {
	case EVENT_read:
		return count_transfer(row, SLOT_read, SLOT_read_error, SLOT_read_bytes, moved(call->result));
	case EVENT_write:
		return count_transfer(row, SLOT_write, SLOT_write_error, SLOT_write_bytes, moved(call->result));
	case EVENT_open:
		return count_result(row, SLOT_open, SLOT_open_error, call->result);
	case EVENT_close:
		return count_result(row, SLOT_close, SLOT_close_error, call->result);
	case EVENT_unlink:
		return count_result(row, SLOT_unlink, SLOT_unlink_error, call->result);
	}
	return 0;
}

#if TYPED
#include "typed.h"
#else
#include "legacy.h"
#endif
