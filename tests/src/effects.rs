//! What each operation of the load program adds to which counter.
//!
//! The table mirrors `load/load.c`, operation by operation. A counter counts system calls that finished,
//! failed ones included; errors are results below zero; bytes are the sum of the positive results.

use std::ops::{Add, AddAssign, Mul};

use anyhow::{Context, Result, bail};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Events that a load must show, counter by counter.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Expected { $($(#[$doc])* pub $field: u64,)* }

        impl Add for Expected {
            type Output = Expected;
            fn add(self, other: Expected) -> Expected {
                Expected { $($field: self.$field + other.$field,)* }
            }
        }

        impl Mul<u64> for Expected {
            type Output = Expected;
            fn mul(self, times: u64) -> Expected {
                Expected { $($field: self.$field * times,)* }
            }
        }
    };
}

counters! {
    /// open, openat, openat2, creat.
    open,
    /// Of these, failed.
    open_error,
    /// close, and close_range as one each.
    close,
    /// Of these, failed.
    close_error,
    /// read, pread64, readv, preadv, preadv2.
    read,
    /// Of these, failed.
    read_error,
    /// Bytes that they returned.
    read_bytes,
    /// write, pwrite64, writev, pwritev, pwritev2.
    write,
    /// Of these, failed.
    write_error,
    /// Bytes that they returned.
    write_bytes,
    /// unlink, and unlinkat without AT_REMOVEDIR.
    unlink,
    /// Of these, failed.
    unlink_error,
    /// New processes.
    fork,
    /// New tasks in an existing thread group.
    thread,
    /// Tasks that ended, threads included.
    exit,
    /// Tasks that were reaped.
    release,
    /// Refused creations without CLONE_THREAD.
    fork_error,
    /// Refused creations with CLONE_THREAD.
    thread_error,
}

impl AddAssign for Expected {
    fn add_assign(&mut self, other: Expected) {
        *self = *self + other;
    }
}

const NONE: Expected = Expected {
    open: 0,
    open_error: 0,
    close: 0,
    close_error: 0,
    read: 0,
    read_error: 0,
    read_bytes: 0,
    write: 0,
    write_error: 0,
    write_bytes: 0,
    unlink: 0,
    unlink_error: 0,
    fork: 0,
    thread: 0,
    exit: 0,
    release: 0,
    fork_error: 0,
    thread_error: 0,
};
/// A process from exec to its reaping; creation is booked on whoever started it.
const LIFE: Expected = Expected { exit: 1, release: 1, ..NONE };
const OPEN_FAIL: Expected = Expected { open: 1, open_error: 1, ..NONE };
const OPEN_CLOSE: Expected = Expected { open: 1, close: 1, ..NONE };
const CLOSE: Expected = Expected { close: 1, ..NONE };
const CLOSE_FAIL: Expected = Expected { close: 1, close_error: 1, ..NONE };
const READ_FAIL: Expected = Expected { read: 1, read_error: 1, ..NONE };
const WRITE_FAIL: Expected = Expected { write: 1, write_error: 1, ..NONE };
const UNLINK: Expected = Expected { unlink: 1, ..NONE };
const UNLINK_FAIL: Expected = Expected { unlink: 1, unlink_error: 1, ..NONE };
const CHILD: Expected = Expected { fork: 1, ..LIFE };
const FORK_FAIL: Expected = Expected { fork_error: 1, ..NONE };
const THREAD_FAIL: Expected = Expected { thread_error: 1, ..NONE };

const fn reads(count: u64, bytes: u64) -> Expected {
    Expected { read: count, read_bytes: count * bytes, ..NONE }
}

const fn writes(count: u64, bytes: u64) -> Expected {
    Expected { write: count, write_bytes: count * bytes, ..NONE }
}

/// Bytes of one read in a swarm's children and threads, as in `load.c`.
const SWARM_READ_BYTES: u64 = 7;

/// Pieces of the calls that move as many as there may be, as in `load.c`.
const PIECES: u64 = 1024;

/// What `count` times `name` with argument `arg` adds; `None` when `load.c` has no such operation.
fn effect(name: &str, count: u64, arg: u64) -> Option<Expected> {
    let one = match name {
        "open" | "openat" | "openat2" | "creat" | "open32" => OPEN_CLOSE,
        // Left open: closing by the end of the process is no close call.
        "open_leak" => Expected { open: 1, ..NONE },
        "open_fail" | "openat_fail" | "openat2_fail" | "openat2_badsize" | "creat_fail" => OPEN_FAIL,
        "close" | "close_range" => CLOSE,
        "close_fail" | "close_range_fail" => CLOSE_FAIL,
        "unlink" | "unlinkat" => UNLINK,
        "unlink_fail" | "unlinkat_fail" | "unlink_isdir" | "unlink_fail32" => UNLINK_FAIL,
        "rmdir_at" | "rmdir" => NONE,
        "read" | "pread" | "readv" | "preadv" | "preadv2" | "read_short" | "read32" => reads(1, arg),
        "read0" => reads(1, 0),
        "read_fail" | "readv_fail" | "read_fault" | "read_fail32" => READ_FAIL,
        "read_isdir" => OPEN_CLOSE + READ_FAIL,
        "write" | "pwrite" | "writev" | "pwritev" | "pwritev2" | "write32" => writes(1, arg),
        "write_fail" | "writev_fail" | "write_fault" => WRITE_FAIL,
        "pipe_rw" | "socket_rw" => reads(1, arg) + writes(1, arg),
        // Bytes that move without any of the read and write calls.
        "socket_send" | "sendfile" | "copy_file_range" | "splice" => NONE,
        "fork" | "vfork" | "clone_fork" | "clone3_fork" | "fork_autoreap" | "fork32" => CHILD,
        "swarm" | "swarm_die" => CHILD + reads(arg, SWARM_READ_BYTES),
        "thread" | "clone3_thread" | "thread_renamed" | "thread_swarm" => {
            Expected { thread: 1, ..LIFE } + reads(arg, SWARM_READ_BYTES)
        }
        // The count is the number of reads. The old leader ends inside the thread's execve.
        "thread_exec" => return Some(Expected { thread: 1, ..LIFE } + reads(count, SWARM_READ_BYTES)),
        // Who reaps it, and when, depends on the machine's init.
        "orphan" => Expected { fork: 1, exit: 1, ..NONE } + reads(1, SWARM_READ_BYTES),
        "fork_fail" | "clone3_fork_fail" | "fork_eagain" | "vfork_eagain" | "fork_fail32" => FORK_FAIL,
        "thread_fail" | "clone3_thread_fail" | "thread_eagain" | "thread_fail32" => THREAD_FAIL,
        "openat2_path" | "open_tmpfile" => OPEN_CLOSE,
        "open_long" => OPEN_FAIL,
        "read_partial" => reads(1, arg),
        "write_partial" | "pwritev2_append" => writes(1, arg),
        "pread_negative" | "readv_too_many" | "preadv2_flags" => READ_FAIL,
        "pwrite_negative" => WRITE_FAIL,
        "readv_many" => reads(1, PIECES * arg),
        "writev_many" => writes(1, PIECES * arg),
        // Interrupted, restarted; its bytes come from the signal's handler.
        "read_restarted" => READ_FAIL + reads(1, arg) + writes(1, arg),
        "clone_parent" => CHILD * 2,
        "leader_first" => CHILD + Expected { thread: 1, ..LIFE } + reads(arg, SWARM_READ_BYTES),
        "vfork_exec" => CHILD,
        "clone3_cgroup_fail" => FORK_FAIL,
        "pid_namespace" => CHILD * 2 + reads(arg, SWARM_READ_BYTES),
        "close_race" => Expected { thread: 1, ..LIFE } * arg + CLOSE + CLOSE_FAIL * arg.saturating_sub(1),
        // Hooks on functions do not hear of it.
        "read_refused" => CHILD + READ_FAIL,
        // Nor of this; it moved nothing, whatever it returned.
        "read_forged" => CHILD + reads(1, 0),
        "stop" | "sleep_ms" | "die" | "exec" => return Some(NONE),
        _ => return None,
    };
    Some(one * count)
}

/// The numbers that the load program with this script must show.
///
/// `script`: words `NAME=COUNT` or `NAME=COUNT:ARG`, separated by spaces, as the load's command line has them.
/// Returns everything from the load's exec to its reaping: its own exit and release are in, the fork that made
/// it is not. Fails at a word that `load.c` would refuse.
pub fn expected(script: &str) -> Result<Expected> {
    let mut sum = LIFE;
    for word in script.split_whitespace() {
        let (name, numbers) = word.split_once('=').with_context(|| format!("no `=` in `{word}`"))?;
        // The argument of exec is a path.
        let (count, arg) = match numbers.split_once(':') {
            Some((count, arg)) if name != "exec" => (count, arg),
            Some((count, _)) => (count, "0"),
            None => (numbers, "0"),
        };
        let count = count.parse().with_context(|| format!("count of `{word}`"))?;
        let arg = arg.parse().with_context(|| format!("argument of `{word}`"))?;
        match effect(name, count, arg) {
            Some(added) => sum += added,
            None => bail!("the load program has no operation `{name}`"),
        }
        if name == "die" {
            break;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_the_sum_of_its_words() {
        let sum = expected("open=2 read=3:100 swarm=4:5 unlink_fail=1 die=1 open=9").unwrap();
        let wanted = Expected {
            open: 2,
            close: 2,
            read: 3 + 20,
            read_bytes: 300 + 140,
            unlink: 1,
            unlink_error: 1,
            fork: 4,
            exit: 5,
            release: 5,
            ..NONE
        };
        assert_eq!(sum, wanted);
    }

    #[test]
    fn unknown_operations_are_refused() {
        assert!(expected("opn=1").is_err());
        assert!(expected("open").is_err());
        assert!(expected("open=x").is_err());
    }

    #[test]
    fn every_operation_of_the_program_is_in_the_table() {
        let source = include_str!("../load/load.c");
        let names = source.split("OP(").skip(2).filter_map(|rest| rest.split_once(')'));
        let mut seen = 0;
        for (name, _) in names {
            assert!(effect(name, 1, 0).is_some(), "no effect known for {name}");
            seen += 1;
        }
        assert!(seen > 60, "found only {seen} operations in load.c");
    }
}
