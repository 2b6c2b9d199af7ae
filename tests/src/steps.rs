//! Changes the machine under a running plugin: sets the clock, takes a CPU away and gives it back. For guests of `tools/vm`.
//!
//! Every second must have its sample all the same, and every count must be exact.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::chaos;
use crate::compare::{group_differences, sum_differences};
use crate::difference::texts;
use crate::effects::Expected;
use crate::model::Output;
use crate::plugin::{Plugin, Setup};

/// The kernel takes programs away one after the other.
const END_LIMIT: Duration = Duration::from_secs(30);
/// How long a change is looked at.
const WATCH: Duration = Duration::from_secs(3);
/// An epoch begins half a second to one and a half after the one before; an emulated CPU adds to that.
const EPOCH_US: std::ops::Range<u64> = 400_000..1_900_000;
/// The second CPU, which can be taken away.
const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";

/// A plugin and what was done beside it.
struct Watched {
    plugin: Plugin,
    directory: tempfile::TempDir,
    done: Expected,
    loads: usize,
}

impl Watched {
    fn start() -> Result<Watched> {
        let plugin = Plugin::start_and_wait(&Setup::new("return", &chaos::process::groups()))?;
        Ok(Watched { plugin, directory: tempfile::tempdir()?, done: Expected::default(), loads: 0 })
    }

    /// Runs the load, on CPU `cpu` alone if one is given.
    fn load(&mut self, cpu: Option<usize>) -> Result<()> {
        let mut cpus = CpuSet::new();
        for number in 0..2 {
            if cpu.is_none_or(|only| only == number) {
                cpus.set(number)?;
            }
        }
        sched_setaffinity(Pid::from_raw(0), &cpus).context("cannot choose a CPU")?;
        let own = self.directory.path().join(self.loads.to_string());
        self.loads += 1;
        self.done += chaos::process::load_once(&own)?;
        Ok(())
    }

    /// Changes something, and loads while it is looked at; the samples must come as before.
    fn watch(&mut self, what: &str, change: impl FnOnce() -> Result<()>) -> Result<()> {
        self.load(None)?;
        let (before, since) = (self.plugin.ticks(), Instant::now());
        change()?;
        while since.elapsed() < WATCH {
            self.load(None)?;
            sleep(Duration::from_millis(200));
        }
        let seconds = since.elapsed().as_secs_f64();
        let samples = (self.plugin.ticks() - before) as f64;
        ensure!((samples - seconds).abs() <= 2.0, "{what}: {samples} samples in {seconds:.1} s");
        println!("chaos-cells: {what}: {samples} samples in {seconds:.1} s");
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.plugin.wait_ticks(4)?;
        self.plugin.signal(Signal::SIGTERM)?;
        let finished = self.plugin.finish(END_LIMIT)?;
        let mut faults = finished.output.counter_faults();
        faults.extend(texts(group_differences(&finished.output, "chaos", &self.done, true)));
        faults.extend(sum_differences(&finished.output, true));
        faults.extend(uneven(&finished.output));
        if finished.status.code() != Some(0) || finished.stderr.contains("is given up") {
            faults.push(format!("the supervisor ended with {}", finished.status));
        }
        ensure!(faults.is_empty(), "{}\nlog:\n{}", faults.join("\n"), finished.stderr);
        println!("chaos-cells: exact after {} loads, {} reads", self.loads, self.done.read);
        Ok(())
    }
}

/// Samples that came too soon or too late.
fn uneven(output: &Output) -> Vec<String> {
    let Some(chart) = output.charts.get("ebpf.io") else { return vec!["no chart".to_owned()] };
    // The first is not at a whole second.
    let passed = chart.blocks.iter().skip(2).filter_map(|block| block.microseconds);
    passed
        .filter(|passed| !EPOCH_US.contains(passed))
        .map(|passed| format!("a sample after {passed} µs"))
        .collect()
}

/// Sets the clock an hour forward and back; takes a CPU away and gives it back, also one that was missing at the start.
pub fn run() -> Result<()> {
    ensure!(Path::new(ONLINE).exists(), "no second CPU that can be taken away");
    let mut watched = Watched::start()?;
    watched.watch("clock an hour forward", || set_clock(3600))?;
    watched.watch("clock an hour back", || set_clock(-3600))?;
    watched.load(Some(1))?;
    watched.watch("CPU 1 taken away", || Ok(fs::write(ONLINE, "0")?))?;
    watched.watch("CPU 1 back", || Ok(fs::write(ONLINE, "1")?))?;
    watched.load(Some(1))?;
    watched.finish()?;

    fs::write(ONLINE, "0")?;
    let mut watched = Watched::start().context("with one CPU of two")?;
    fs::write(ONLINE, "1")?;
    (0..2).try_for_each(|cpu| watched.load(Some(cpu)))?;
    watched.finish().context("a CPU that was not there at the start")
}

fn set_clock(seconds: i64) -> Result<()> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes, and then reads, one live `timespec`.
    let set = unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now);
        now.tv_sec += seconds;
        libc::clock_settime(libc::CLOCK_REALTIME, &raw const now)
    };
    ensure!(set == 0, "cannot set the clock: {}", std::io::Error::last_os_error());
    Ok(())
}
