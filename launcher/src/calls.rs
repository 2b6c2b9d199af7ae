//! The system calls of each process after its start. Data only.
//!
//! `tests/tests/system_calls.rs` records what the processes call under a load: all of it must be listed here, and a list without a reason may
//! hold nothing else. What comes seldom, or on other machines, stands in lists that say when; that nothing is missing there shows in the
//! whole-program tests, all of which run under these lists. A call that is missing fails with EPERM, which no code of ours takes for success; it
//! does not end a plugin that people rely on. Only what nobody calls by accident ends the process.

use nix::libc;

/// Calls that end the process, in every process of ours after its start.
pub const NEVER: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_pivot_root,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
];

/// More calls that end the supervisor, and a worker that counts; a worker that loads may need them.
pub const NEVER_AFTER_LOADING: &[i64] =
    &[libc::SYS_perf_event_open, libc::SYS_mount, libc::SYS_umount2, libc::SYS_setns, libc::SYS_unshare];

/// Calls that a process is allowed.
#[derive(Debug)]
pub struct Group {
    /// When they are made; `None`: in every run.
    pub seldom: Option<&'static str>,
    /// Their numbers.
    pub calls: &'static [i64],
}

/// A worker that counts. Besides: bpf(2) with [`WORKER_BPF`], and memory that is not executable.
pub const WORKER: &[Group] = &[
    Group {
        seldom: None,
        calls: &[
            libc::SYS_recvmsg,
            libc::SYS_sendmsg,
            libc::SYS_close,
            libc::SYS_munmap,
            libc::SYS_sigaltstack,
            libc::SYS_exit_group,
        ],
    },
    Group {
        seldom: Some("more memory than before, or less"),
        calls: &[libc::SYS_brk, libc::SYS_mremap, libc::SYS_madvise],
    },
    Group {
        seldom: Some("waiting, where an order is not there yet or a lock is held"),
        calls: &[
            libc::SYS_poll,
            libc::SYS_ppoll,
            libc::SYS_futex,
            libc::SYS_nanosleep,
            libc::SYS_clock_nanosleep,
            libc::SYS_sched_yield,
            libc::SYS_restart_syscall,
        ],
    },
    Group {
        seldom: Some("a panic or a fault: its message, and the end"),
        calls: &[
            libc::SYS_write,
            libc::SYS_writev,
            libc::SYS_getpid,
            libc::SYS_gettid,
            libc::SYS_tgkill,
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
            libc::SYS_exit,
        ],
    },
    Group { seldom: Some("seeds of hash tables"), calls: &[libc::SYS_getrandom] },
    Group {
        seldom: Some("clocks that the vDSO cannot read, as on machines with an unstable TSC"),
        calls: &[libc::SYS_clock_gettime, libc::SYS_gettimeofday],
    },
    Group { seldom: Some("the grace period of kernels before 4.20"), calls: &[libc::SYS_membarrier] },
];

/// And one with entries in `kprobe_events`: how often each was missed is read, and they are removed at the end.
pub const TRACEFS: &[Group] = &[Group {
    seldom: Some("kprobes of kernels before 4.17"),
    calls: &[
        libc::SYS_openat,
        libc::SYS_open,
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_lseek,
        libc::SYS_fstat,
        libc::SYS_statx,
        libc::SYS_newfstatat,
    ],
}];

/// Commands of bpf(2) of a worker that counts: look-ups, updates and deletions of elements, also in batches, and questions about an object
/// that is open. Nothing that loads, attaches, pins or opens.
pub const WORKER_BPF: &[u64] = &[1, 2, 3, 4, 15, 24, 25, 26, 27];

/// The supervisor. Besides, with bounds: opening files for reading, memory that is not executable, sockets, ioctl(2).
pub const SUPERVISOR: &[Group] = &[
    Group {
        seldom: None,
        calls: &[
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_close,
            libc::SYS_munmap,
            libc::SYS_futex,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_recvfrom,
            libc::SYS_sendto,
            libc::SYS_socketpair,
            libc::SYS_setsockopt,
            libc::SYS_statx,
            libc::SYS_clone3,
            libc::SYS_rseq,
            libc::SYS_set_robust_list,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigaction,
            libc::SYS_sigaltstack,
            libc::SYS_madvise,
            libc::SYS_sched_getaffinity,
            libc::SYS_gettid,
            libc::SYS_prctl,
            libc::SYS_wait4,
            libc::SYS_exit,
            libc::SYS_exit_group,
        ],
    },
    Group {
        seldom: Some("files and directories, by what a file is and how libraries look at it"),
        calls: &[
            libc::SYS_readv,
            libc::SYS_pread64,
            libc::SYS_preadv,
            libc::SYS_lseek,
            libc::SYS_fstat,
            libc::SYS_stat,
            libc::SYS_lstat,
            libc::SYS_newfstatat,
            libc::SYS_fstatfs,
            libc::SYS_access,
            libc::SYS_faccessat,
            libc::SYS_faccessat2,
            libc::SYS_getdents64,
            libc::SYS_readlink,
            libc::SYS_readlinkat,
            libc::SYS_getcwd,
        ],
    },
    Group {
        seldom: Some("the mark of the first attachment, which is open already"),
        calls: &[
            libc::SYS_writev,
            libc::SYS_pwrite64,
            libc::SYS_fsync,
            libc::SYS_fdatasync,
            libc::SYS_ftruncate,
        ],
    },
    Group {
        seldom: Some("names of peers: the event loop, and name servers over UDP and TCP"),
        calls: &[
            libc::SYS_epoll_create1,
            libc::SYS_epoll_ctl,
            libc::SYS_epoll_wait,
            libc::SYS_epoll_pwait,
            libc::SYS_epoll_pwait2,
            libc::SYS_eventfd2,
            libc::SYS_timerfd_create,
            libc::SYS_timerfd_settime,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_sendmmsg,
            libc::SYS_recvmmsg,
            libc::SYS_shutdown,
            libc::SYS_getsockopt,
            libc::SYS_getsockname,
            libc::SYS_getpeername,
            libc::SYS_fcntl,
            libc::SYS_uname,
            libc::SYS_sysinfo,
        ],
    },
    Group {
        seldom: Some("waiting and being interrupted"),
        calls: &[
            libc::SYS_poll,
            libc::SYS_ppoll,
            libc::SYS_select,
            libc::SYS_pselect6,
            libc::SYS_nanosleep,
            libc::SYS_clock_nanosleep,
            libc::SYS_sched_yield,
            libc::SYS_restart_syscall,
            libc::SYS_rt_sigreturn,
        ],
    },
    Group {
        seldom: Some("threads and memory, as other versions of libc make them"),
        calls: &[
            libc::SYS_clone,
            libc::SYS_set_tid_address,
            libc::SYS_arch_prctl,
            libc::SYS_brk,
            libc::SYS_mremap,
            libc::SYS_dup,
            libc::SYS_dup2,
            libc::SYS_dup3,
            libc::SYS_pipe2,
            libc::SYS_prlimit64,
            libc::SYS_getrlimit,
            libc::SYS_sched_setaffinity,
            libc::SYS_sched_getparam,
            libc::SYS_sched_getscheduler,
            libc::SYS_waitid,
        ],
    },
    Group { seldom: Some("a panic: its message, and the end"), calls: &[libc::SYS_getpid, libc::SYS_tgkill] },
    Group { seldom: Some("seeds of hash tables"), calls: &[libc::SYS_getrandom] },
    Group {
        seldom: Some("who it is"),
        calls: &[
            libc::SYS_getppid,
            libc::SYS_getuid,
            libc::SYS_geteuid,
            libc::SYS_getgid,
            libc::SYS_getegid,
            libc::SYS_getresuid,
            libc::SYS_getresgid,
        ],
    },
    Group {
        seldom: Some("clocks that the vDSO cannot read, as on machines with an unstable TSC"),
        calls: &[libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_time],
    },
];
