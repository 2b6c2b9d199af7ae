//! An independent witness: `perf stat` counts the kernel's tracepoints for one command and its children.
//!
//! perf starts counting at the command's exec, as its group does, so both must agree to the unit. perf finds
//! its events in tracefs, which is mounted, unless it is, in a mount namespace of its own: nothing stays mounted.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::effects::Expected;

/// Counter, tracepoint, filter. Several rows of one counter are added.
type Row = (fn(&mut Expected) -> &mut u64, &'static str, &'static str);

const FAILED: &str = "ret < 0";
/// `CLONE_THREAD` in `task:task_newtask`.
const THREAD: &str = "clone_flags & 0x10000";
const PROCESS: &str = "!(clone_flags & 0x10000)";
/// `AT_REMOVEDIR`.
const NOT_DIRECTORY: &str = "!(flag & 0x200)";

const ROWS: [Row; 36] = [
    (|e| &mut e.open, "syscalls:sys_exit_open", ""),
    (|e| &mut e.open, "syscalls:sys_exit_openat", ""),
    (|e| &mut e.open, "syscalls:sys_exit_openat2", ""),
    (|e| &mut e.open, "syscalls:sys_exit_creat", ""),
    (|e| &mut e.open_error, "syscalls:sys_exit_open", FAILED),
    (|e| &mut e.open_error, "syscalls:sys_exit_openat", FAILED),
    (|e| &mut e.open_error, "syscalls:sys_exit_openat2", FAILED),
    (|e| &mut e.close, "syscalls:sys_exit_close", ""),
    (|e| &mut e.close, "syscalls:sys_exit_close_range", ""),
    (|e| &mut e.close_error, "syscalls:sys_exit_close", FAILED),
    (|e| &mut e.close_error, "syscalls:sys_exit_close_range", FAILED),
    (|e| &mut e.read, "syscalls:sys_exit_read", ""),
    (|e| &mut e.read, "syscalls:sys_exit_pread64", ""),
    (|e| &mut e.read, "syscalls:sys_exit_readv", ""),
    (|e| &mut e.read, "syscalls:sys_exit_preadv", ""),
    (|e| &mut e.read, "syscalls:sys_exit_preadv2", ""),
    (|e| &mut e.read_error, "syscalls:sys_exit_read", FAILED),
    (|e| &mut e.read_error, "syscalls:sys_exit_pread64", FAILED),
    (|e| &mut e.read_error, "syscalls:sys_exit_readv", FAILED),
    (|e| &mut e.write, "syscalls:sys_exit_write", ""),
    (|e| &mut e.write, "syscalls:sys_exit_pwrite64", ""),
    (|e| &mut e.write, "syscalls:sys_exit_writev", ""),
    (|e| &mut e.write, "syscalls:sys_exit_pwritev", ""),
    (|e| &mut e.write, "syscalls:sys_exit_pwritev2", ""),
    (|e| &mut e.write_error, "syscalls:sys_exit_write", FAILED),
    (|e| &mut e.write_error, "syscalls:sys_exit_pwrite64", FAILED),
    (|e| &mut e.write_error, "syscalls:sys_exit_writev", FAILED),
    (|e| &mut e.unlink, "syscalls:sys_exit_unlink", ""),
    // The flag is only known at entry; each unlinkat that enters also comes back.
    (|e| &mut e.unlink, "syscalls:sys_enter_unlinkat", NOT_DIRECTORY),
    (|e| &mut e.unlink_error, "syscalls:sys_exit_unlink", FAILED),
    (|e| &mut e.fork, "task:task_newtask", PROCESS),
    (|e| &mut e.thread, "task:task_newtask", THREAD),
    (|e| &mut e.exit, "sched:sched_process_exit", ""),
    (|e| &mut e.fork_error, "syscalls:sys_exit_fork", FAILED),
    (|e| &mut e.fork_error, "syscalls:sys_exit_vfork", FAILED),
    (|e| &mut e.open_error, "syscalls:sys_exit_creat", FAILED),
];

/// Runs `command` under `perf stat`. Returns what perf counted for it and all its children; bytes and reaping
/// are not seen and stay 0.
///
/// `report`: where perf writes its counts. Fails when perf cannot count every event, or the command fails.
pub fn perf_stat(command: &[&str], directory: &Path, report: &Path) -> Result<Expected> {
    let mut perf = String::from(
        "{ mountpoint -q /sys/kernel/tracing || mount -t tracefs none /sys/kernel/tracing; } && exec perf stat -x ';' -o \"$1\"",
    );
    for (_, event, filter) in ROWS {
        perf.push_str(&format!(" -e {event}"));
        if !filter.is_empty() {
            perf.push_str(&format!(" --filter '{filter}'"));
        }
    }
    perf.push_str(" -- \"${@:2}\"");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-c", &perf, "bash"])
        .arg(report)
        .args(command)
        .current_dir(directory)
        .output()
        .context("cannot run unshare; install util-linux")?;
    ensure!(
        output.status.success(),
        "perf stat of {command:?} ended with {}; is linux-perf installed? It said: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    read_report(&fs::read_to_string(report).context("perf wrote no report")?)
}

/// One line per event in the order asked for: `count;unit;event;...`.
fn read_report(report: &str) -> Result<Expected> {
    let lines: Vec<&str> = report.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    ensure!(
        lines.len() == ROWS.len(),
        "perf reports {} events, {} asked for:\n{report}",
        lines.len(),
        ROWS.len()
    );
    let mut counted = Expected::default();
    for (line, (field, event, _)) in lines.iter().zip(ROWS) {
        let mut columns = line.split(';');
        let count = columns.next().unwrap_or_default();
        ensure!(line.contains(event), "perf reports `{line}` in the place of {event}");
        let Ok(count) = count.parse::<u64>() else { bail!("perf could not count {event}: `{line}`") };
        *field(&mut counted) += count;
    }
    Ok(counted)
}
