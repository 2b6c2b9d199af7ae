//! The load program does what `effects.rs` says, according to perf: the tests' own measure is measured first.
//!
//! Needs root and linux-perf, not the plugin.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tests::effects::{Expected, expected};
use tests::load;
use tests::oracle::perf_stat;
use tests::system::alone;

/// Every operation that 64-bit tracepoints see; perf's `syscalls:*` events leave 32-bit entries out.
const SCRIPT: &str = "open=3 openat=4 openat2=5 creat=2 open_leak=2 open_fail=2 openat_fail=1 openat2_fail=2 \
    openat2_badsize=1 creat_fail=1 close=3 close_fail=2 close_range=2 close_range_fail=2 unlink=3 unlinkat=2 \
    unlink_fail=3 unlinkat_fail=2 unlink_isdir=2 rmdir_at=2 rmdir=2 read=3:100 pread=3:70000 readv=3:50 \
    preadv=3:4097 preadv2=3:9 read0=3 read_short=3:10 read_fail=2 readv_fail=2 read_fault=2 read_isdir=2 \
    write=3:100 pwrite=3:9 writev=3:19 pwritev=2:77 pwritev2=2:100 write_fail=2 writev_fail=2 write_fault=2 \
    pipe_rw=3:4000 socket_rw=3:33 socket_send=3:44 sendfile=2:100 copy_file_range=2:100 splice=2:100 fork=3 \
    vfork=4 clone_fork=5 clone3_fork=6 fork_autoreap=3 thread=3 thread=2:5 clone3_thread=3:7 fork_fail=3 \
    clone3_fork_fail=2 thread_fail=2 clone3_thread_fail=2 swarm=30:50 swarm_die=20:10 thread_swarm=33:100 thread_renamed=4:5 \
    sleep_ms=10 exec=1 open=1 thread_exec=3 openat=2 fork_eagain=2 vfork_eagain=3";

#[test]
fn perf_counts_what_the_table_says() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let program = load::install(directory.path(), "ebpft_table").unwrap();
    let mut command = vec![program.to_str().unwrap()];
    command.extend(SCRIPT.split_whitespace());
    let work = directory.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let counted = perf_stat(&command, &work, &directory.path().join("report")).unwrap();
    let table = expected(SCRIPT).unwrap();
    // perf stat of these tracepoints sees no bytes, no reaping, no failed unlinkat and no failed clone.
    let comparable = Expected {
        read_bytes: 0,
        write_bytes: 0,
        release: 0,
        unlink_error: 3 + 2,
        fork_error: 2 + 3,
        thread_error: 0,
        ..table
    };
    assert_eq!(counted, comparable);
}
