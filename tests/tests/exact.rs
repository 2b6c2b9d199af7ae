//! "Shows" 1: a load of known operations equals its group's charts to the unit, and all groups add up to the
//! system's totals.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use tests::compare::{chart_differences, group_differences, sum_differences};
use tests::difference::texts;
use tests::effects::Expected;
use tests::load::{Load, install};
use tests::plugin::{Finished, Plugin, Setup};
use tests::system::alone;

/// Every operation but those that need another user; in a prime pattern, so that no two counters agree by luck.
const EVERYTHING: &str = "open=11 openat=13 openat2=7 creat=5 open_leak=3 open_fail=17 openat_fail=3 \
    openat2_fail=2 openat2_badsize=1 creat_fail=5 close=19 close_fail=23 close_range=29 close_range_fail=2 \
    unlink=31 unlinkat=37 unlink_fail=3 unlinkat_fail=2 unlink_isdir=1 rmdir_at=41 rmdir=4 read=43:100 \
    pread=47:70000 readv=3:50 preadv=5:4097 preadv2=7:9 read0=3 read_short=11:10 read_fail=13 readv_fail=2 \
    read_fault=5 read_isdir=3 write=53:100 pwrite=59:9 writev=3:19 pwritev=5:77 pwritev2=7:100 write_fail=11 \
    writev_fail=2 write_fault=3 pipe_rw=3:4000 socket_rw=5:33";
/// Bytes that move without a counted call.
const UNSEEN: &str =
    "socket_send=50:44 sendfile=50:100 copy_file_range=50:100 splice=50:100 rmdir_at=50 read=1:1";
const TASKS: &str = "fork=11 vfork=13 clone_fork=7 clone3_fork=5 fork_autoreap=3 thread=17 thread=2:5 \
    clone3_thread=19:7 fork_fail=23 clone3_fork_fail=2 thread_fail=29 clone3_thread_fail=3 thread_swarm=40:100";
const REFUSED: &str = "open=1 fork_eagain=7 vfork_eagain=5 thread_eagain=11";
const ODD: &str = "openat2_path=3 open_tmpfile=5 open_long=7 read_partial=11:1000 write_partial=3:4096 \
    pread_negative=2 pwrite_negative=5 readv_many=2:9 writev_many=3:8 readv_too_many=2 preadv2_flags=3 \
    pwritev2_append=5:31 read_restarted=4:13 clone_parent=3 leader_first=2:5 vfork_exec=7 clone3_cgroup_fail=5 \
    pid_namespace=3:11 close_race=6:10";
const COMPAT: &str = "open32=5 read32=7:100 write32=11:30 read_fail32=3 unlink_fail32=2 fork32=5 fork_fail32=7 thread_fail32=11";

/// Runs each `(group, script)` at the same time beside the plugin, then compares everything.
fn compare(mode: &str, loads: &[(&str, &str)]) -> Vec<Expected> {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let groups: String = loads.iter().map(|(name, _)| format!("{name}_group: {name}\n")).collect();
    let plugin = Plugin::start_and_wait(&Setup::new(mode, &groups)).unwrap();
    let running: Vec<Load> = loads
        .iter()
        .map(|(name, script)| Load::start(directory.path(), name, &format!("stop=1 {script}")).unwrap())
        .collect();
    for load in &running {
        load.go().unwrap();
    }
    let expected: Vec<Expected> = running.into_iter().map(|load| load.finish().unwrap()).collect();
    let finished = settle(plugin);
    let named: Vec<_> = loads.iter().map(|(name, _)| format!("{name}_group")).zip(expected.clone()).collect();
    check(&finished, mode, &named);
    expected
}

/// Reaping is seen after an RCU delay, and one interval later a new group shows its first value.
fn settle(mut plugin: Plugin) -> Finished {
    plugin.wait_ticks(3).unwrap();
    plugin.stop().unwrap()
}

fn check(finished: &Finished, mode: &str, groups: &[(String, Expected)]) {
    let return_mode = mode == "return";
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let mut differences = chart_differences(&finished.output, return_mode, true);
    for (group, expected) in groups {
        differences.extend(texts(group_differences(&finished.output, group, expected, return_mode)));
    }
    differences.extend(sum_differences(&finished.output, return_mode));
    differences.extend(finished.output.counter_faults());
    assert!(differences.is_empty(), "{}\nlog:\n{}", differences.join("\n"), finished.stderr);
}

#[test]
fn every_operation_in_return_mode() {
    compare("return", &[("ebpft_all", EVERYTHING)]);
}

#[test]
fn every_operation_in_entry_mode() {
    compare("entry", &[("ebpft_all", EVERYTHING)]);
}

#[test]
fn bytes_that_move_without_read_or_write_are_not_counted() {
    compare("return", &[("ebpft_unseen", UNSEEN)]);
}

#[test]
fn processes_and_threads_in_return_mode() {
    compare("return", &[("ebpft_tasks", TASKS)]);
}

#[test]
fn processes_and_threads_in_entry_mode() {
    compare("entry", &[("ebpft_tasks", TASKS)]);
}

/// Failed creations have no chart per group: the system's charts must show at least these, and a quiet machine
/// exactly these.
#[test]
fn refused_processes_and_threads() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let plugin = Plugin::start_and_wait(&Setup::new("return", "refused: ebpft_refused\n")).unwrap();
    let script = format!("fork_fail=23 clone3_fork_fail=2 thread_fail=29 clone3_thread_fail=3 {REFUSED}");
    let expected = Load::run(directory.path(), "ebpft_refused", &script).unwrap();
    let finished = settle(plugin);
    check(&finished, "return", &[("refused".to_owned(), expected)]);
    let shown =
        ["_do_fork", "sys_clone"].map(|dimension| finished.output.total("ebpf.task_error", dimension));
    assert_eq!(shown, [expected.fork_error, expected.thread_error].map(u64::cast_signed));
}

/// By the tracepoint, which alone hears of calls that never begin.
#[test]
fn calls_that_somebody_else_answers() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let global = "ebpf load mode = return\n    ebpf co-re tracing = tracepoint";
    let setup = Setup {
        ebpf_conf: Some(tests::plugin::only_process(global)),
        ..Setup::new("return", "odd: ebpft_odd\n")
    };
    let plugin = Plugin::start_and_wait(&setup).unwrap();
    let expected =
        Load::run(directory.path(), "ebpft_odd", "read_refused=3 read_forged=5 pread=2:7").unwrap();
    check(&settle(plugin), "return", &[("odd".to_owned(), expected)]);
}

#[test]
fn odd_calls_and_odd_processes() {
    for mode in ["entry", "return"] {
        compare(mode, &[("ebpft_odd", ODD)]);
    }
}

/// 32-bit programs enter through another system-call table.
#[test]
fn calls_of_32_bit_programs() {
    compare("return", &[("ebpft_compat", COMPAT)]);
}

#[test]
fn several_loads_on_all_cores_at_once() {
    let big = "read=20000:100 write=20000:50 open=3000 unlink=500 open_fail=700 fork=300 thread=200:3";
    let small = "pread=30000:1 writev=10000:9 openat=2000 close_fail=900 clone3_fork=200 clone3_thread=300:2";
    let expected = compare(
        "return",
        &[
            ("ebpft_a", big),
            ("ebpft_b", small),
            ("ebpft_c", big),
            ("ebpft_d", small),
            ("ebpft_e", EVERYTHING),
        ],
    );
    assert!(expected[0].read > 20_000);
}

/// The load and all its children end in the middle of their work.
#[test]
fn processes_that_die_at_once() {
    let dying = "swarm_die=200:50 swarm=200:0 swarm=100:300 open=7 die=1";
    for mode in ["entry", "return"] {
        compare(mode, &[("ebpft_die1", dying), ("ebpft_die2", dying), ("ebpft_die3", "read=5:5 die=1")]);
    }
}

/// A hundred processes of their own groups, none of which lives for a millisecond.
#[test]
fn processes_that_no_walk_of_proc_would_find() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let plugin = Plugin::start_and_wait(&Setup::new("return", "short: ebpft_short*\n")).unwrap();
    let mut sum = Expected::default();
    for number in 0..100 {
        sum += Load::run(directory.path(), &format!("ebpft_short{number}"), "read=3:7 open_fail=1").unwrap();
    }
    check(&settle(plugin), "return", &[("short".to_owned(), sum)]);
}

/// What happens before exec belongs to the old name, what happens after it to the new one.
#[test]
fn exec_moves_a_process_to_another_group() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let second = install(directory.path(), "ebpft_second").unwrap();
    let groups = "first: ebpft_first\nsecond: ebpft_second\n";
    let plugin = Plugin::start_and_wait(&Setup::new("return", groups)).unwrap();
    let script = format!("read=5:10 open=3 exec=1:{} read=7:100 fork=2", second.display());
    Load::run(directory.path(), "ebpft_first", &script).unwrap();
    let first = Expected { read: 5, read_bytes: 50, open: 3, close: 3, ..Expected::default() };
    let second = Expected { read: 7, read_bytes: 700, fork: 2, exit: 3, release: 3, ..Expected::default() };
    check(&settle(plugin), "return", &[("first".to_owned(), first), ("second".to_owned(), second)]);
}

/// A thread may have a name of its own, which may even be another group's: its process decides.
#[test]
fn renamed_threads_count_for_their_process() {
    let script = "thread_renamed=50:20 thread_swarm=10:50 thread_renamed=20:1";
    compare("return", &[("ebpft_named", script), ("ebpft_thread", "read=1:1")]);
}

/// exec from a thread that is not the leader: the thread takes over the process.
#[test]
fn exec_from_a_thread() {
    compare("return", &[("ebpft_texec", "open=3 thread_exec=5 read=7:10 thread_exec=2 fork=2")]);
}

/// Children that go on when their parent is gone keep their name, hence their group.
#[test]
fn orphans_stay_in_their_group() {
    compare("return", &[("ebpft_orphan", "orphan=20:300 orphan=5:0 read=3:3")]);
}

/// Longer than several intervals, with every interval's work spread over it.
#[test]
fn a_load_over_many_intervals() {
    let step = "read=700:100 write=300:10 open=50 fork=5 thread=5 sleep_ms=150 ";
    compare("return", &[("ebpft_long1", &step.repeat(30)), ("ebpft_long2", &step.repeat(30))]);
}

/// `disable apps = yes` removes the charts per group and keeps the system's.
#[test]
fn without_applications_the_totals_stay() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let global = "ebpf load mode = return\n    disable apps = yes";
    let setup = Setup { ebpf_conf: Some(tests::plugin::only_process(global)), ..Setup::new("return", "") };
    let plugin = Plugin::start_and_wait(&setup).unwrap();
    let expected = run_everything(directory.path());
    let finished = settle(plugin);
    let missing = chart_differences(&finished.output, true, false);
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    for counter in &tests::compare::COUNTERS {
        let (chart, dimension) = counter.system.unwrap();
        let shown = finished.output.total(chart, dimension).abs().cast_unsigned();
        let least = (counter.of)(&expected);
        assert!(shown >= least, "{}: at least {least}, {chart} {dimension} shows {shown}", counter.name);
    }
}

fn run_everything(directory: &Path) -> Expected {
    Load::run(directory, "ebpft_all", &format!("{EVERYTHING} {TASKS}")).unwrap()
}
