/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The little of the eBPF world that our programs use: types, helpers by number, map definitions.
 *
 * Helper numbers are the kernel's ABI: include/uapi/linux/bpf.h, __BPF_FUNC_MAPPER.
 *
 * Every object is compiled for one flavour (build.rs):
 *   FLAVOUR_ROWS    BTF, compare-and-swap (>= 5.12): claimed rows, the current task typed
 *   FLAVOUR_HASH    BTF without them (5.5 to 5.11): rows in a hash, the current task through helpers
 *   FLAVOUR_LEGACY  no BTF, no loops, no global data, bpf_probe_read only: any kernel from 4.14
 */
#ifndef BPF_H
#define BPF_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;

#define NULL ((void *)0)
#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))

/* At the end of a branch: clang would otherwise make one addition of two, at an address that every event then pays to compute. */
#define KEEP_APART() __asm__ volatile("")

/* Makes clang compare this very variable, not what it was made from: the verifier learns bounds of nothing else. */
#define HIDE_ORIGIN(variable) __asm__ volatile("" : "+r"(variable))

#define TYPED (FLAVOUR_ROWS || FLAVOUR_HASH)

static void *(*const bpf_map_lookup_elem)(const void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(const void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*const bpf_map_delete_elem)(const void *map, const void *key) = (void *)3;
static long (*const bpf_probe_read)(void *to, __u32 size, const void *from) = (void *)4;
static __u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static __u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*const bpf_get_current_comm)(void *to, __u32 size) = (void *)16;
static __u64 (*const bpf_get_current_task)(void) = (void *)35;
static long (*const bpf_probe_read_user)(void *to, __u32 size, const void *from) = (void *)112;
static long (*const bpf_probe_read_kernel)(void *to, __u32 size, const void *from) = (void *)113;
static struct tcp_sock *(*const bpf_skc_to_tcp_sock)(void *sk) = (void *)137;
static struct task_struct *(*const bpf_get_current_task_btf)(void) = (void *)158;
static struct pt_regs *(*const bpf_task_pt_regs)(struct task_struct *task) = (void *)175;

enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_LRU_HASH = 9 };
enum { BPF_NOEXIST = 1 };
enum { BPF_F_MMAPABLE = 1 << 10 };

#if TYPED
#define DEFINE_MAP(name, map_kind, key_type, value_type, entries, flag_bits)                                                \
	struct {                                                                                                             \
		int (*type)[map_kind];                                                                                       \
		key_type *key;                                                                                               \
		value_type *value;                                                                                           \
		int (*max_entries)[entries];                                                                                 \
		int (*map_flags)[flag_bits];                                                                                 \
	} name SEC(".maps")
#else
struct bpf_map_def {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
};
#define DEFINE_MAP(name, map_kind, key_type, value_type, entries, flag_bits)                                                    \
	struct bpf_map_def name SEC("maps") = { map_kind, sizeof(key_type), sizeof(value_type), entries, flag_bits }
#endif

/* GPL: the tracing helpers are for GPL-compatible programs only. */
char program_license[] SEC("license") = "GPL";

#endif
