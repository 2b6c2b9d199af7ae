//! "Shows" 3, first half: every byte of the output passes the strict parser, and the metadata are as documented.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;

use tests::compare::chart_differences;
use tests::load::Load;
use tests::plugin::{Finished, Plugin, Setup, only_process};
use tests::protocol::parse;
use tests::system::beside;

/// Chart, units, family, type, priority, only in return mode: `reference/charts.md` sections 2 and 4, with the
/// units and families of later agents where the table says so.
const CHARTS: [(&str, &str, &str, i64, bool); 24] = [
    ("ebpf.file_descriptor", "calls/s", "line", 21000, false),
    ("ebpf.file_error", "calls/s", "line", 21001, true),
    ("ebpf.deleted_objects", "calls/s", "line", 21002, false),
    ("ebpf.io", "calls/s", "line", 21003, false),
    ("ebpf.io_bytes", "bytes/s", "line", 21004, false),
    ("ebpf.io_error", "calls/s", "line", 21005, true),
    ("ebpf.process_thread", "calls/s", "line", 21006, false),
    ("ebpf.exit", "calls/s", "line", 21007, false),
    ("ebpf.process_status", "difference", "line", 21008, false),
    ("ebpf.task_error", "calls/s", "line", 21009, true),
    ("apps.file_open", "calls/s", "stacked", 20061, false),
    ("apps.file_open_error", "calls/s", "stacked", 20062, true),
    ("apps.file_closed", "calls/s", "stacked", 20063, false),
    ("apps.file_close_error", "calls/s", "stacked", 20064, true),
    ("apps.file_deleted", "calls/s", "stacked", 20065, false),
    ("apps.vfs_write_call", "calls/s", "stacked", 20066, false),
    ("apps.vfs_write_error", "calls/s", "stacked", 20067, true),
    ("apps.vfs_read_call", "calls/s", "stacked", 20068, false),
    ("apps.vfs_read_error", "calls/s", "stacked", 20069, true),
    ("apps.vfs_write_bytes", "bytes/s", "stacked", 20070, false),
    ("apps.vfs_read_bytes", "bytes/s", "stacked", 20071, false),
    ("apps.process_create", "calls/s", "stacked", 20072, false),
    ("apps.thread_create", "calls/s", "stacked", 20073, false),
    ("apps.task_close", "calls/s", "stacked", 20074, false),
];

fn run(setup: &Setup, script: &str) -> Finished {
    let directory = tempfile::tempdir().unwrap();
    let mut plugin = Plugin::start_and_wait(setup).unwrap();
    Load::run(directory.path(), "ebpft_proto", script).unwrap();
    plugin.wait_ticks(2).unwrap();
    let finished = plugin.stop().unwrap();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    finished
}

#[test]
fn charts_are_as_documented() {
    for mode in ["entry", "return"] {
        let _beside = beside().unwrap();
        let finished = run(&Setup::new(mode, "load: ebpft_proto\n"), "open=5 write=7:10 fork=2");
        let return_mode = mode == "return";
        let missing = chart_differences(&finished.output, return_mode, true);
        assert!(missing.is_empty(), "{}", missing.join("\n"));
        for (id, units, chart_type, priority, only_return) in CHARTS {
            let Some(chart) = finished.output.charts.get(id) else {
                assert!(only_return && !return_mode, "no chart {id} in {mode} mode");
                continue;
            };
            let line = &chart.line;
            assert_eq!(
                (line.units.as_str(), line.chart_type.as_str(), line.priority),
                (units, chart_type, priority)
            );
            assert_eq!((line.plugin.as_str(), line.update_every), ("ebpf.plugin", 1), "{id}");
        }
        let other = finished.output.charts.keys().find(|id| CHARTS.iter().all(|chart| chart.0 != **id));
        println!("a chart beyond the documented ones: {other:?}");
        assert!(finished.output.counter_faults().is_empty(), "{:?}", finished.output.counter_faults());
    }
}

#[test]
fn signs_and_derived_values() {
    let _beside = beside().unwrap();
    let output =
        run(&Setup::new("return", "load: ebpft_proto\n"), "write=100:1000 read=10:10 fork=20").output;
    assert!(output.total("ebpf.io_bytes", "vfs_write") <= -100_000, "written bytes are shown below zero");
    assert!(output.total("ebpf.io_bytes", "vfs_read") >= 100);
    assert_eq!(output.total("apps.vfs_write_bytes", "load"), 100_000);
    assert!(output.total("ebpf.exit", "release_task") >= 21, "released tasks are shown above zero");
    for (chart, dimension, name) in [
        ("ebpf.file_descriptor", "do_sys_open", "open"),
        ("ebpf.file_descriptor", "__close_fd", "close"),
        ("ebpf.deleted_objects", "vfs_unlink", "delete"),
        ("ebpf.io", "vfs_read", "read"),
        ("ebpf.io", "vfs_write", "write"),
        ("ebpf.process_thread", "_do_fork", "process"),
        ("ebpf.process_thread", "sys_clone", "thread"),
        ("ebpf.exit", "do_exit", "process"),
        ("ebpf.exit", "release_task", "task"),
    ] {
        let found =
            output.charts[chart].dimension(dimension).unwrap_or_else(|| panic!("{chart} {dimension}"));
        assert_eq!(found.name, name, "{chart} {dimension}");
    }
    for dimension in ["process", "zombie"] {
        assert!(output.charts["ebpf.process_status"].dimension(dimension).is_some(), "{dimension}");
    }
}

/// Groups and process names that would break a line.
#[test]
fn hostile_names_do_not_break_the_protocol() {
    let _beside = beside().unwrap();
    let mut groups = String::from("load: ebpft_proto\n'two words': ebpft_2\nit's: ebpft_3\na=b: ebpft_4\n");
    groups.push_str(
        "# comment\n\u{e9}t\u{e9}: ebpft_5\nend\\: ebpft_6\n\"dou ble\": ebpft_7\nx\u{1}y: ebpft_8\n",
    );
    groups.push_str(&format!("{}: ebpft_9\n", "n".repeat(300)));
    groups.extend((0..300).map(|number| format!("group{number}: ebpft_many{number}\n")));
    let setup = Setup::new("return", &groups);
    let directory = tempfile::tempdir().unwrap();
    let mut plugin = Plugin::start_and_wait(&setup).unwrap();
    for number in 2..10 {
        Load::run(directory.path(), &format!("ebpft_{number}"), "open=3").unwrap();
    }
    for name in ["a b", "it's", "x=y", "\"q\"", "SET x = 1", "n\nEND", "b\\", "\u{1b}[31m"] {
        Load::run(directory.path(), name, "open=3").unwrap();
    }
    for number in 0..40 {
        Load::run(directory.path(), &format!("ebpft_many{number}"), "open=3").unwrap();
    }
    plugin.wait_ticks(3).unwrap();
    let finished = plugin.stop().unwrap();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    for number in 0..40 {
        assert_eq!(finished.output.total("apps.file_open", &format!("group{number}")), 3, "group{number}");
    }
    assert!(tests::compare::sum_differences(&finished.output, true).is_empty());
}

/// Configuration that a person got wrong: clear log, defaults, no silent wrong number.
#[test]
fn bad_configuration_does_not_stop_the_plugin() {
    let _beside = beside().unwrap();
    let huge = format!("[global]\n{}\n", "x = y\n".repeat(20_000));
    let texts = [
        ("missing", None),
        ("empty", Some(String::new())),
        ("binary", Some("\u{0}\u{1}[\u{fffd}\n==\n[global\nebpf load mode".to_owned())),
        ("huge", Some(huge)),
        ("unknown", Some(only_process("no such option = 1"))),
        ("value", Some(only_process("ebpf load mode = sideways\n    disable apps = maybe"))),
        ("twice", Some(only_process("ebpf load mode = return\n    ebpf load mode = entry"))),
    ];
    let runs = |what, ebpf_conf: &Option<String>, apps_groups| {
        let setup = Setup { ebpf_conf: ebpf_conf.clone(), apps_groups, ..Setup::new("entry", "") };
        let mut plugin = Plugin::start_and_wait(&setup).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        plugin.wait_ticks(1).unwrap();
        let finished = plugin.stop().unwrap();
        assert_eq!(finished.status.code(), Some(0), "{what}: {}", finished.stderr);
        let warned = finished.stderr.contains("ebpf.conf");
        assert!(warned || ["missing", "empty"].contains(&what), "{what}: no warning in\n{}", finished.stderr);
    };
    for (what, ebpf_conf) in &texts {
        thread::scope(|scope| {
            scope.spawn(|| runs(*what, ebpf_conf, None));
            runs(*what, ebpf_conf, Some("load: ebpft_proto\n".to_owned()));
        });
    }
}

/// `--iterations` ends by itself after as many intervals, with a complete output.
#[test]
fn iterations_end_by_themselves() {
    let _beside = beside().unwrap();
    let mut setup = Setup::new("return", "load: ebpft_proto\n");
    setup.args = ["1", "--iterations", "3"].map(str::to_owned).to_vec();
    let plugin = Plugin::start(&setup).unwrap();
    let finished = plugin.finish(std::time::Duration::from_secs(40)).unwrap();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let blocks = parse(finished.stdout.as_bytes()).unwrap().charts["ebpf.io"].blocks.len();
    assert!((3..=4).contains(&blocks), "{blocks} blocks after 3 intervals");
}
