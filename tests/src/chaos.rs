//! Ends workers at random moments, in every way, while a known load runs: not one event may be lost or counted twice.
//!
//! - [`process`], [`network`]: the load of each program, and what must be shown of it.
//! - [`way`]: how a worker is ended.

pub mod network;
pub mod process;
pub mod way;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::Signal;

use crate::difference::Difference;
use crate::plugin::{Finished, Plugin, Setup};
use crate::system::{wait_until, workers};
use way::Way;

/// An emulated CPU takes its time.
const REPLACE_LIMIT: Duration = Duration::from_secs(60);

/// The kernel takes programs away one after the other; kernels under emulation take seconds for that (`matrix/kills.rs`).
const END_LIMIT: Duration = Duration::from_secs(60);

/// How many workers are ended, and when.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Workers to end.
    pub kills: usize,
    /// Longest time between two, milliseconds.
    pub pause_ms: u64,
    /// Repeats a run: any number but 0.
    pub seed: u64,
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
}

/// What was done.
#[derive(Debug, Default)]
pub struct Report {
    /// Workers ended, by way.
    ways: Vec<(Way, usize)>,
    /// What the load did, in short.
    done: String,
    /// From a worker's end to the next worker's being there, longest.
    longest_gap: Duration,
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
            "{} workers ended ({}), {} done, {} skipped and told, no worker for at most {:.2} s",
            self.kills(),
            ways.join(", "),
            self.done,
            self.skipped,
            self.longest_gap.as_secs_f64()
        )
    }
}

/// A plugin that has outlived its workers, and what its load did.
struct Outlived<T> {
    plan: Plan,
    report: Report,
    done: T,
    finished: Finished,
}

impl<T> Outlived<T> {
    /// The report, unless there are `faults` or the plugin did not live as it must.
    fn conclude(self, mut faults: Vec<String>) -> Result<Report> {
        let Outlived { plan, report, finished, .. } = self;
        faults.extend(finished.output.counter_faults());
        if finished.status.code() != Some(0) {
            faults.push(format!("the supervisor ended with {}", finished.status));
        }
        if finished.stderr.contains("attached anew") {
            faults.push("all was attached anew".to_owned());
        }
        ensure!(
            faults.is_empty(),
            "seed {}; {report}\n{}\nlog:\n{}",
            plan.seed,
            faults.join("\n"),
            finished.stderr
        );
        Ok(report)
    }

    /// Whether results are lost that the kernel does not tell of: kretprobes, where the log warns of it.
    fn loses_returns(&self) -> bool {
        self.finished.stderr.contains("results are taken by kretprobes, which lose some")
    }

    /// Whether the plugin tells that so much is missing: results that kretprobes lose, and no more than runs of programs that the kernel skipped
    /// (those with full or lazy preemption skip some, `docs/kernel-matrix.md`), of which none had more than `largest` bytes.
    fn tells(&self, difference: &Difference, largest: i64) -> bool {
        let each = if difference.is_of_bytes() { largest } else { 1 };
        let missing = difference.missing();
        let lost = self.loses_returns() && difference.is_of_results();
        missing > 0 && (lost || missing <= self.report.skipped.saturating_mul(each))
    }
}

/// Ends workers of a plugin that runs with `setup`, as `plan` says, beside `load`, which is told when to stop.
fn outlive<T: Send>(
    setup: &Setup,
    plan: Plan,
    load: impl FnOnce(&AtomicBool) -> Result<T> + Send,
) -> Result<Outlived<T>> {
    let mut plugin = Plugin::start_and_wait(setup)?;
    let mut chance = Chance::new(plan.seed);
    let (mut report, stop) = (Report::default(), AtomicBool::new(false));
    let done = thread::scope(|scope| {
        let load = scope.spawn(|| load(&stop));
        let ended = (0..plan.kills).try_for_each(|_| {
            sleep(Duration::from_millis(chance.below(plan.pause_ms)));
            let way = Way::by_chance(&mut chance);
            end_worker(plugin.pid(), way, &mut report)
        });
        stop.store(true, Ordering::Relaxed);
        let done = load.join().map_err(|_| anyhow!("the load's thread died"))?;
        ended.with_context(|| format!("seed {}; {report}; log:\n{}", plan.seed, plugin.stderr()))?;
        done
    })?;
    plugin.wait_ticks(4)?;
    plugin.signal(Signal::SIGTERM)?;
    Ok(Outlived { plan, report, done, finished: plugin.finish(END_LIMIT)? })
}

/// Ends one worker of `supervisor`, and waits until there is another.
fn end_worker(supervisor: u32, way: Way, report: &mut Report) -> Result<()> {
    let mut found = Vec::new();
    wait_until("a worker", REPLACE_LIMIT, || {
        found = workers(supervisor)?;
        Ok(!found.is_empty())
    })?;
    let victim = found[0];
    report.add(way.end(victim)?);
    let dead = Instant::now();
    wait_until("the next worker", REPLACE_LIMIT, || {
        Ok(workers(supervisor)?.iter().any(|&pid| pid != victim))
    })?;
    report.longest_gap = report.longest_gap.max(dead.elapsed());
    Ok(())
}
