//! Ends workers at random moments, in every way, while a known load runs: not one event may be lost or counted twice.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::compare::{group_differences, sum_differences};
use crate::effects::Expected;
use crate::load::Load;
use crate::plugin::{Plugin, Setup};
use crate::system::{is_alive, wait_until, workers};

/// The group of the load.
const GROUP: &str = "chaos";
/// What the load does over and over: every counter moves, and some in a hundredth of a second.
const STEP: &str = "read=211:100 write=97:10 open=31 open_fail=7 close_fail=3 unlink=11 fork=3 thread=3 read_fail=5 sleep_ms=5";
/// Most bytes of one of its calls.
const LARGEST: i64 = 100;
/// A stopped worker is noticed within three intervals; patience doubles when several are stopped before they have delivered anything.
const NOTICE_LIMIT: Duration = Duration::from_secs(30);
/// An emulated CPU takes its time.
const REPLACE_LIMIT: Duration = Duration::from_secs(60);

/// The kernel takes programs away one after the other; kernels under emulation take seconds for that (`matrix/kills.rs`).
const END_LIMIT: Duration = Duration::from_secs(60);

/// A way to end a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// SIGKILL.
    Kill,
    /// SIGSEGV.
    Segv,
    /// SIGABRT.
    Abort,
    /// No more memory than it has: the next allocation aborts.
    OutOfMemory,
    /// SIGSTOP: the supervisor must notice.
    Stop,
}

/// Random numbers that a seed repeats.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// `seed`: any number but 0.
    pub fn new(seed: u64) -> Self {
        Chance(seed | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    /// SIGSTOP seldom, as it takes seconds.
    fn way(&mut self) -> Way {
        match self.below(24) {
            0 => Way::Stop,
            1..4 => Way::OutOfMemory,
            4..8 => Way::Segv,
            8..12 => Way::Abort,
            _ => Way::Kill,
        }
    }
}

/// What was done.
#[derive(Debug, Default)]
pub struct Report {
    /// Workers ended, by way.
    ways: Vec<(Way, usize)>,
    /// What the load did.
    pub done: Expected,
    /// From a worker's end to the next worker's being there, longest.
    pub longest_gap: Duration,
    /// Runs of programs that the kernel skipped, and the plugin drew; so many events may be missing.
    skipped: i64,
}

impl Report {
    /// Workers ended.
    pub fn kills(&self) -> usize {
        self.ways.iter().map(|(_, count)| count).sum()
    }

    fn add(&mut self, way: Way) {
        match self.ways.iter_mut().find(|(known, _)| *known == way) {
            Some((_, count)) => *count += 1,
            None => self.ways.push((way, 1)),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways: Vec<String> = self.ways.iter().map(|(way, count)| format!("{way:?} {count}")).collect();
        write!(
            f,
            "{} workers ended ({}), {} reads and {} forks done, {} skipped and told, no worker for at most {:.2} s",
            self.kills(),
            ways.join(", "),
            self.done.read,
            self.done.fork,
            self.skipped,
            self.longest_gap.as_secs_f64()
        )
    }
}

/// Ends `kills` workers of a plugin that runs with `setup`, whose groups must be [`groups`]. `pause_ms`: longest time between two.
///
/// `apps`: with charts for applications, whose numbers must be exact; else the system's charts must show no less than was done. Fails
/// with every difference.
pub fn run(setup: &Setup, kills: usize, pause_ms: u64, seed: u64, apps: bool) -> Result<Report> {
    let directory = tempfile::tempdir()?;
    let mut plugin = Plugin::start_and_wait(setup)?;
    let mut chance = Chance::new(seed);
    let (mut report, stop) = (Report::default(), AtomicBool::new(false));
    thread::scope(|scope| -> Result<()> {
        let load = scope.spawn(|| run_load(directory.path(), &stop));
        let ended = (0..kills).try_for_each(|_| {
            sleep(Duration::from_millis(chance.below(pause_ms)));
            end_worker(plugin.pid(), chance.way(), &mut report)
        });
        stop.store(true, Ordering::Relaxed);
        report.done = load.join().map_err(|_| anyhow::anyhow!("the load's thread died"))??;
        ended.with_context(|| format!("seed {seed}; {report}; log:\n{}", plugin.stderr()))
    })?;
    plugin.wait_ticks(4)?;
    plugin.signal(Signal::SIGTERM)?;
    let finished = plugin.finish(END_LIMIT)?;
    let mut faults = finished.output.counter_faults();
    if apps {
        let lossy = finished.stderr.contains("results are taken by kretprobes, which lose some");
        report.skipped = finished.output.total("ebpf.process_missed", "recursion");
        let differences = group_differences(&finished.output, GROUP, &report.done, true);
        let is_told = |text: &str| lossy && is_lost_return(text) || is_skipped(text, report.skipped);
        faults.extend(differences.into_iter().filter(|text| !is_told(text)));
        faults.extend(sum_differences(&finished.output, true));
    } else {
        let shown = finished.output.total("ebpf.io", "vfs_read");
        if shown.cast_unsigned() < report.done.read {
            faults.push(format!("{} reads were done, {shown} are shown", report.done.read));
        }
    }
    if finished.status.code() != Some(0) {
        faults.push(format!("the supervisor ended with {}", finished.status));
    }
    if finished.stderr.contains("attached anew") {
        faults.push("all was attached anew".to_owned());
    }
    ensure!(faults.is_empty(), "seed {seed}; {report}\n{}\nlog:\n{}", faults.join("\n"), finished.stderr);
    Ok(report)
}

/// Whether fewer are shown than there were, and no more are missing than runs of programs that the kernel skipped and the plugin drew: kernels with
/// full or lazy preemption skip some (`docs/kernel-matrix.md`).
fn is_skipped(difference: &str, skipped: i64) -> bool {
    let numbers = numbers(difference);
    let missing = numbers.first().unwrap_or(&0) - numbers.last().unwrap_or(&0);
    skipped > 0
        && missing > 0
        && missing <= skipped * if difference.contains(" bytes must be") { LARGEST } else { 1 }
}

/// Whether fewer results are shown than there were, which kretprobes lose without telling; calls and what they do not lose must be exact.
fn is_lost_return(difference: &str) -> bool {
    let numbers = numbers(difference);
    let of_result = difference.contains(" bytes must be") || difference.contains(" error must be");
    of_result && numbers.first() > numbers.last()
}

fn numbers(text: &str) -> Vec<i64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

/// `apps_groups.conf` of the load.
pub fn groups() -> String {
    format!("{GROUP}: ebpft_chaos\n")
}

fn run_load(directory: &std::path::Path, stop: &AtomicBool) -> Result<Expected> {
    let mut done = Expected::default();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // Children of the last load may still end, and its file is busy until then.
        let own = directory.join((round % 8).to_string());
        std::fs::create_dir_all(&own)?;
        done += Load::run(&own, "ebpft_chaos", STEP)?;
    }
    Ok(done)
}

/// Ends one worker of `supervisor`, and waits until there is another.
fn end_worker(supervisor: u32, way: Way, report: &mut Report) -> Result<()> {
    let mut found = Vec::new();
    wait_until("a worker", REPLACE_LIMIT, || {
        found = workers(supervisor)?;
        Ok(!found.is_empty())
    })?;
    let victim = found[0];
    let way = end(victim, way)?;
    report.add(way);
    let dead = Instant::now();
    wait_until("the next worker", REPLACE_LIMIT, || {
        Ok(workers(supervisor)?.iter().any(|&pid| pid != victim))
    })?;
    report.longest_gap = report.longest_gap.max(dead.elapsed());
    Ok(())
}

/// Takes every further allocation from a process.
fn no_more_memory(pid: u32) {
    let limit = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
    for resource in [libc::RLIMIT_DATA, libc::RLIMIT_AS] {
        // SAFETY: reads one live `rlimit` and writes nothing, as the last pointer is null. One that is gone already is no error.
        let _ = unsafe { libc::prlimit(pid.cast_signed(), resource, &raw const limit, std::ptr::null_mut()) };
    }
}

/// Returns the way that did it: memory may be enough for long.
fn end(pid: u32, way: Way) -> Result<Way> {
    let send = |signal| {
        let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
    };
    match way {
        Way::Kill => send(Signal::SIGKILL),
        Way::Stop => send(Signal::SIGSTOP),
        Way::Abort => send(Signal::SIGABRT),
        // Rust's handler takes the first for a fault and lets it happen again; two at once are one.
        Way::Segv => {
            wait_until("the worker's end", NOTICE_LIMIT, || {
                send(Signal::SIGSEGV);
                Ok(!is_alive(pid))
            })?;
        }
        Way::OutOfMemory => {
            no_more_memory(pid);
        }
    }
    let limit = if way == Way::OutOfMemory { Duration::from_secs(2) } else { NOTICE_LIMIT };
    match wait_until("the worker's end", limit, || Ok(!is_alive(pid))) {
        // It may have all the memory that it needs.
        Err(_) if way == Way::OutOfMemory => {
            send(Signal::SIGKILL);
            wait_until("the worker's end", NOTICE_LIMIT, || Ok(!is_alive(pid)))?;
            Ok(Way::Kill)
        }
        waited => waited.map(|()| way).with_context(|| format!("{way:?}")),
    }
}
