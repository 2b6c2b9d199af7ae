//! Counters, the charts that show them, and the comparison with what must be there.

use crate::difference::Difference;
use crate::effects::Expected;
use crate::model::Output;

/// One counter and where it is shown.
pub struct Counter {
    /// Name in messages.
    pub name: &'static str,
    /// Its field.
    pub of: fn(&Expected) -> u64,
    /// Chart whose dimensions are the groups, if there is one.
    pub apps: Option<&'static str>,
    /// System chart and dimension.
    pub system: Option<(&'static str, &'static str)>,
    /// Only shown in `return` mode.
    pub only_return: bool,
}

const fn both(
    name: &'static str,
    of: fn(&Expected) -> u64,
    apps: &'static str,
    chart: &'static str,
    dimension: &'static str,
) -> Counter {
    Counter { name, of, apps: Some(apps), system: Some((chart, dimension)), only_return: false }
}

/// The one counter that this machine's own kernel does not tell in full: under load its tracepoint `sched_process_free` leaves out a few tasks
/// in a thousand (`perf record` beside no plugin at all sees the same). Kernels that offer `release_task` must be exact.
const RELEASE: &str = "release";

/// Fewest releases that may be shown for `wanted`.
fn fewest(counter: &Counter, wanted: i64) -> i64 {
    if counter.name == RELEASE { wanted - 2 - wanted / 50 } else { wanted }
}

/// Most that may be shown for `wanted`: orphans are released by whoever adopts them, which `wanted` does not promise in time.
fn most(counter: &Counter, wanted: i64, done: &Expected) -> i64 {
    if counter.name == RELEASE { i64::try_from(done.exit).unwrap_or(i64::MAX) } else { wanted }
}

/// Every counter with its charts, as `reference/charts.md` sections 2 and 4 name them.
pub const COUNTERS: [Counter; 18] = [
    both("open", |e| e.open, "apps.file_open", "ebpf.file_descriptor", "do_sys_open"),
    both("close", |e| e.close, "apps.file_closed", "ebpf.file_descriptor", "__close_fd"),
    both("unlink", |e| e.unlink, "apps.file_deleted", "ebpf.deleted_objects", "vfs_unlink"),
    both("read", |e| e.read, "apps.vfs_read_call", "ebpf.io", "vfs_read"),
    both("write", |e| e.write, "apps.vfs_write_call", "ebpf.io", "vfs_write"),
    both("read bytes", |e| e.read_bytes, "apps.vfs_read_bytes", "ebpf.io_bytes", "vfs_read"),
    both("write bytes", |e| e.write_bytes, "apps.vfs_write_bytes", "ebpf.io_bytes", "vfs_write"),
    both("fork", |e| e.fork, "apps.process_create", "ebpf.process_thread", "_do_fork"),
    both("thread", |e| e.thread, "apps.thread_create", "ebpf.process_thread", "sys_clone"),
    both("exit", |e| e.exit, "apps.task_close", "ebpf.exit", "do_exit"),
    both(RELEASE, |e| e.release, "apps.task_release", "ebpf.exit", "release_task"),
    Counter {
        only_return: true,
        ..both("open error", |e| e.open_error, "apps.file_open_error", "ebpf.file_error", "do_sys_open")
    },
    Counter {
        only_return: true,
        ..both("close error", |e| e.close_error, "apps.file_close_error", "ebpf.file_error", "__close_fd")
    },
    Counter {
        only_return: true,
        ..both("read error", |e| e.read_error, "apps.vfs_read_error", "ebpf.io_error", "vfs_read")
    },
    Counter {
        only_return: true,
        ..both("write error", |e| e.write_error, "apps.vfs_write_error", "ebpf.io_error", "vfs_write")
    },
    Counter {
        only_return: true,
        apps: None,
        ..both("unlink error", |e| e.unlink_error, "", "ebpf.io_error", "vfs_unlink")
    },
    Counter {
        only_return: true,
        apps: None,
        ..both("fork error", |e| e.fork_error, "", "ebpf.task_error", "_do_fork")
    },
    Counter {
        only_return: true,
        apps: None,
        ..both("thread error", |e| e.thread_error, "", "ebpf.task_error", "sys_clone")
    },
];

/// Differences between a group's charts and what must be there.
pub fn group_differences(
    output: &Output,
    group: &str,
    expected: &Expected,
    return_mode: bool,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    for counter in COUNTERS.iter().filter(|counter| return_mode || !counter.only_return) {
        let wanted = i64::try_from((counter.of)(expected)).unwrap_or(i64::MAX);
        if let Some(chart) = counter.apps {
            let bounds = (fewest(counter, wanted), most(counter, wanted, expected));
            let shown = output.total(chart, group);
            differences.extend(Difference::of(group, counter.name, chart, bounds, shown));
        } else if let Some((chart, dimension)) = counter.system {
            // Drawn for the whole system only, where others add to it.
            let shown = output.total(chart, dimension).abs();
            differences.extend(Difference::of("all", counter.name, chart, (wanted, i64::MAX), shown));
        }
    }
    differences
}

/// Counters whose groups do not add up to the system's total; one sentence each.
///
/// A group that first appears in the last block has only shown its zero yet; then the block before is compared.
pub fn sum_differences(output: &Output, return_mode: bool) -> Vec<String> {
    let mut differences = Vec::new();
    for counter in COUNTERS.iter().filter(|counter| return_mode || !counter.only_return) {
        let (Some(apps), Some((system, dimension))) = (counter.apps, counter.system) else {
            continue;
        };
        let (Some(groups), Some(whole)) = (output.charts.get(apps), output.charts.get(system)) else {
            differences.push(format!("{}: no chart {apps} or {system}", counter.name));
            continue;
        };
        let newest = groups.dimensions.iter().any(|group| groups.history(&group.id).len() == 1);
        let back = usize::from(newest && groups.blocks.len() > 1);
        let after = |blocks: usize| blocks.saturating_sub(back);
        let sum: i64 = groups
            .dimensions
            .iter()
            .map(|group| groups.total_after(&group.id, after(groups.blocks.len())))
            .sum();
        let total = whole.total_after(dimension, after(whole.blocks.len())).abs();
        if sum != total {
            differences.push(format!(
                "{}: groups in {apps} add up to {sum}, {system} {dimension} shows {total}",
                counter.name
            ));
        }
    }
    differences
}

/// Charts that must be there, and in `entry` mode those that must not; one sentence each.
pub fn chart_differences(output: &Output, return_mode: bool, apps: bool) -> Vec<String> {
    let mut differences = Vec::new();
    for counter in &COUNTERS {
        let wanted = return_mode || !counter.only_return;
        if let Some((chart, dimension)) = counter.system {
            let there = output.charts.get(chart).is_some_and(|chart| chart.dimension(dimension).is_some());
            if there != wanted {
                differences.push(format!("{chart} {dimension}: must be there: {wanted}, is there: {there}"));
            }
        }
        if let Some(chart) = counter.apps {
            let there = output.charts.contains_key(chart);
            if there != (wanted && apps) {
                differences.push(format!("{chart}: must be there: {}, is there: {there}", wanted && apps));
            }
        }
    }
    differences
}
