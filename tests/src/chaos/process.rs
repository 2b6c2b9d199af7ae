//! Chaos beside files and processes.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::{Outlived, Plan, Report, outlive};
use crate::compare::{group_differences, sum_differences};
use crate::difference::texts;
use crate::effects::Expected;
use crate::load::Load;
use crate::plugin::Setup;

/// The group of the load.
const GROUP: &str = "chaos";
const PROGRAM: &str = "ebpft_chaos";
/// Every counter moves, and some in a hundredth of a second.
const WORDS: &str = "read=211:100 write=97:10 open=31 open_fail=7 close_fail=3 unlink=11 fork=3 thread=3 read_fail=5 sleep_ms=5";
/// Most bytes of one of its calls.
const LARGEST: i64 = 100;

/// `apps_groups.conf` of the load.
pub fn groups() -> String {
    format!("{GROUP}: {PROGRAM}\n")
}

/// What the load does over and over, once, in a directory of its own `directory`.
pub fn load_once(directory: &Path) -> Result<Expected> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Load::run(directory, PROGRAM, WORDS)
}

/// Ends workers of the process program; the plugin runs with `setup`, whose groups must be [`groups`].
///
/// `apps`: with charts for applications, whose numbers must be exact; else the system's charts must show no less than was done. Fails
/// with every difference.
pub fn run(setup: &Setup, plan: Plan, apps: bool) -> Result<Report> {
    let directory = tempfile::tempdir()?;
    let mut outlived = outlive(setup, plan, |stop| load_until(stop, directory.path()))?;
    let done = &outlived.done;
    outlived.report.done = format!("{} reads and {} forks", done.read, done.fork);
    if apps {
        outlived.report.skipped = outlived.finished.output.total("ebpf.process_missed", "recursion");
    }
    let faults = if apps { group_faults(&outlived) } else { system_faults(&outlived) };
    outlived.conclude(faults)
}

fn load_until(stop: &AtomicBool, directory: &Path) -> Result<Expected> {
    let mut done = Expected::default();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // Children of the last load may still end, and its file is busy until then.
        done += load_once(&directory.join((round % 8).to_string()))?;
    }
    Ok(done)
}

fn group_faults(outlived: &Outlived<Expected>) -> Vec<String> {
    let output = &outlived.finished.output;
    let mut differences = group_differences(output, GROUP, &outlived.done, true);
    differences.retain(|difference| !outlived.tells(difference, LARGEST));
    let mut faults = sum_differences(output, true);
    faults.extend(texts(differences));
    faults
}

fn system_faults(outlived: &Outlived<Expected>) -> Vec<String> {
    let (shown, read) = (outlived.finished.output.total("ebpf.io", "vfs_read"), outlived.done.read);
    if shown.cast_unsigned() >= read {
        return Vec::new();
    }
    vec![format!("{read} reads were done, {shown} are shown")]
}
