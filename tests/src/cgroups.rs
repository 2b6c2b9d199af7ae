//! Workers in cgroups of their own, in a tree as systemd makes it. For guests of `tools/vm`, whose cgroups nobody else uses.
//!
//! Without delegation nothing may be written; with it each program has its limits, and only the program that passes them feels it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::chaos;
use crate::compare::{group_differences, sum_differences};
use crate::difference::texts;
use crate::effects::Expected;
use crate::inject::Held;
use crate::plugin::{Plugin, Setup, only_process};
use crate::residue::wait_dead;
use crate::system::{children, is_alive, wait_until, workers};

/// Where `tools/vm --mount cgroup2` has it.
const ROOT: &str = "/sys/fs/cgroup";
/// The unit's cgroup, and the one below it that its processes are in.
const UNIT: &str = "/sys/fs/cgroup/system.slice/netdata.service";
const SUBGROUP: &str = "agent";

/// The programs, as their cgroups are called, and a chart of each.
const PROGRAMS: [(&str, &str); 2] = [("process", "ebpf.io"), ("network-viewer", "ebpf.tcp_functions")];

/// An emulated CPU takes its time.
const REPLACE_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(30);
/// After the supervisor was killed.
const GONE_LIMIT: Duration = Duration::from_secs(2);

/// In `[global]`: the kernel lets go of these hooks at once; each fexit takes it tenths of a second.
const GLOBAL: &str = "ebpf load mode = return\n    ebpf co-re tracing = tracepoint";

fn setup() -> Setup {
    Setup {
        ebpf_conf: Some(format!("[global]\n    {GLOBAL}\n")),
        ..Setup::new("return", &chaos::process::groups())
    }
}

/// Everything, in the order in which each step needs the one before.
pub fn run() -> Result<()> {
    make_tree()?;
    without_delegation().context("without delegation")?;
    rustix::fs::setxattr(UNIT, "trusted.delegate", b"1", rustix::fs::XattrFlags::empty())
        .context("cannot mark the unit as delegated")?;
    // Of a plugin that is dead: no process has such a number.
    fs::create_dir(Path::new(UNIT).join("ebpf.plugin-4194305-process"))?;
    with_limits().context("with delegation")?;
    without_processes().context("no process left")?;
    after_a_kill().context("after a kill")
}

/// Root and slice give all controllers to the unit; this process runs below it.
fn make_tree() -> Result<()> {
    let subgroup = Path::new(UNIT).join(SUBGROUP);
    fs::create_dir_all(&subgroup).context("cannot make cgroups")?;
    for cgroup in [Path::new(ROOT), &Path::new(ROOT).join("system.slice")] {
        fs::write(cgroup.join("cgroup.subtree_control"), "+memory +cpu +pids")?;
    }
    fs::write(subgroup.join("cgroup.procs"), "0").context("cannot enter the subgroup")
}

/// The cgroups of the unit.
fn below_unit() -> Result<Vec<String>> {
    let entries = fs::read_dir(UNIT)?.filter_map(|entry| entry.ok());
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(directories.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn cgroup_of(pid: u32) -> Result<String> {
    Ok(fs::read_to_string(format!("/proc/{pid}/cgroup"))?.trim().trim_start_matches("0::").to_owned())
}

fn wait_gone(limit: Duration) -> Result<Duration> {
    let since = Instant::now();
    let mut left = Vec::new();
    let waited = wait_until("the cgroups to be gone", limit, || {
        left = below_unit()?;
        Ok(left == [SUBGROUP])
    });
    waited.map(|()| since.elapsed()).with_context(|| format!("left: {}", left.join(", ")))
}

/// The workers of both programs, once their canaries have ended.
fn both_workers(plugin: &Plugin) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    wait_until("two workers and nobody else", END_LIMIT, || {
        found = workers(plugin.pid())?;
        Ok(found.len() == 2)
    })?;
    Ok(found)
}

fn without_delegation() -> Result<()> {
    let plugin = Plugin::start(&setup())?;
    let found = both_workers(&plugin)?;
    let why = format!("{UNIT}/{SUBGROUP} is not the subgroup of a unit with Delegate=");
    let told = format!("worker limits: rlimits alone, no cgroups: {why}");
    wait_until("the log to say why", END_LIMIT, || Ok(plugin.stderr().contains(&told)))?;
    ensure!(below_unit()? == [SUBGROUP], "made: {}", below_unit()?.join(", "));
    let control = fs::read_to_string(Path::new(UNIT).join("cgroup.subtree_control"))?;
    ensure!(control.trim().is_empty(), "controllers are given on: {control}");
    for pid in found {
        ensure!(cgroup_of(pid)? == cgroup_of(std::process::id())?, "a worker is in {}", cgroup_of(pid)?);
    }
    plugin.signal(Signal::SIGTERM)?;
    plugin.finish(END_LIMIT)?;
    println!("chaos-cells: without delegation nothing is written");
    Ok(())
}

/// A program's cgroup of a running plugin.
struct Program {
    cgroup: PathBuf,
    chart: &'static str,
}

impl Program {
    fn all(supervisor: u32) -> Vec<Program> {
        let cgroup = |name| Path::new(UNIT).join(format!("ebpf.plugin-{supervisor}-{name}"));
        PROGRAMS.map(|(name, chart)| Program { cgroup: cgroup(name), chart }).into()
    }

    fn read(&self, file: &str) -> Result<String> {
        let file = self.cgroup.join(file);
        Ok(fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .trim()
            .to_owned())
    }

    fn bytes(&self, file: &str) -> Result<u64> {
        self.read(file)?.parse().with_context(|| format!("{file} is no number"))
    }

    /// The worker in it.
    fn worker(&self) -> Result<u32> {
        let text = self.read("cgroup.procs")?;
        text.parse().with_context(|| format!("not one worker in {}: `{text}`", self.cgroup.display()))
    }

    /// A number of `cpu.stat`.
    fn cpu(&self, name: &str) -> Result<u64> {
        let text = self.read("cpu.stat")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.with_context(|| format!("no {name}"))?
            .trim()
            .parse()
            .with_context(|| format!("{name} is no number"))
    }

    /// Its limits are those that ARCHITECTURE.md tells: the table of processes has 32,768 entries, as it has by default.
    fn check_limits(&self) -> Result<()> {
        let cpus: u64 = fs::read_to_string("/sys/devices/system/cpu/possible")?
            .trim()
            .rsplit('-')
            .next()
            .context("no CPUs")?
            .parse::<u64>()?
            + 1;
        let wanted = (1_u64 << 30) + 32_768 * 8192 + (64 << 20) + cpus * 300_000 + 32_768 * 600;
        let memory = self.bytes("memory.max")?;
        // In pages.
        ensure!(wanted - memory < 4096, "memory.max {memory}, {wanted} is documented");
        let (cpu, pids) = (self.read("cpu.max")?, self.read("pids.max")?);
        ensure!((cpu.as_str(), pids.as_str()) == ("250000 500000", "4"), "cpu.max {cpu}, pids.max {pids}");
        Ok(())
    }
}

fn blocks(plugin: &Plugin, chart: &str) -> usize {
    plugin.output().charts.get(chart).map_or(0, |chart| chart.blocks.len())
}

/// Waits for another worker than `victim` that counts, and that the chart of `other` went on meanwhile.
fn wait_replaced(plugin: &mut Plugin, victim: u32, program: &Program, other: &Program) -> Result<()> {
    let (since, before) = (Instant::now(), blocks(plugin, other.chart));
    wait_until("the worker's end", REPLACE_LIMIT, || Ok(!is_alive(victim)))?;
    let lived = since.elapsed().as_secs_f64();
    wait_until("the next worker", REPLACE_LIMIT, || Ok(program.worker().is_ok_and(|pid| pid != victim)))?;
    let next = since.elapsed().as_secs_f64();
    let drawn = blocks(plugin, program.chart);
    plugin.wait("the next worker's charts", REPLACE_LIMIT, |output| {
        output.charts.get(program.chart).is_some_and(|chart| chart.blocks.len() > drawn + 1)
    })?;
    let (seconds, samples) = (since.elapsed().as_secs_f64(), blocks(plugin, other.chart) - before);
    ensure!(
        (samples as f64 - seconds).abs() <= 2.0,
        "the other program: {samples} samples in {seconds:.1} s"
    );
    println!(
        "chaos-cells: ended after {lived:.1} s, the next one there after {next:.1} s; the other program: {samples} samples in {seconds:.1} s"
    );
    Ok(())
}

fn with_limits() -> Result<()> {
    let started = Instant::now();
    let mut plugin = Plugin::start_and_wait(&setup())?;
    plugin.wait("both programs", REPLACE_LIMIT, |output| {
        let drawn = |chart: &str| output.charts.get(chart).is_some_and(|chart| !chart.blocks.is_empty());
        PROGRAMS.iter().all(|(_, chart)| drawn(chart))
    })?;
    println!("chaos-cells: counts after {:.1} s", started.elapsed().as_secs_f64());
    let log = plugin.stderr();
    let told = format!("worker limits: rlimits; cgroups in {UNIT} (memory, cpu, pids)");
    ensure!(log.contains(&told), "the log does not say so:\n{log}");
    let programs = Program::all(plugin.pid());
    ensure!(below_unit()?.len() == 3, "there are: {}", below_unit()?.join(", "));
    let mut found = Vec::new();
    for program in &programs {
        program.check_limits()?;
        found.push(program.worker()?);
        println!(
            "chaos-cells: {}: memory.current {} kB, memory.peak {} kB of {} kB, {} ms of CPU time",
            program.chart,
            program.bytes("memory.current")? / 1000,
            program.bytes("memory.peak").unwrap_or_default() / 1000,
            program.bytes("memory.max")? / 1000,
            program.cpu("usage_usec")? / 1000
        );
    }
    let mut all = both_workers(&plugin)?;
    all.sort_unstable();
    found.sort_unstable();
    ensure!(all == found, "workers {all:?}, in cgroups {found:?}");
    for pid in children(plugin.pid())?.into_iter().chain([plugin.pid()]) {
        ensure!(cgroup_of(pid)?.ends_with(SUBGROUP), "process {pid} is in {}", cgroup_of(pid)?);
    }
    let stop = AtomicBool::new(false);
    let done = thread::scope(|scope| {
        let load = scope.spawn(|| run_load(&stop));
        let passed = pass_limits(&mut plugin, &programs);
        stop.store(true, Ordering::Relaxed);
        let done = load.join().map_err(|_| anyhow::anyhow!("the load's thread died"))??;
        passed.with_context(|| format!("log:\n{}", plugin.stderr()))?;
        anyhow::Ok(done)
    })?;
    plugin.wait_ticks(3)?;
    plugin.signal(Signal::SIGTERM)?;
    let finished = plugin.finish(END_LIMIT)?;
    let gone = wait_gone(END_LIMIT)?;
    let mut faults = finished.output.counter_faults();
    faults.extend(texts(group_differences(&finished.output, "chaos", &done, true)));
    faults.extend(sum_differences(&finished.output, true));
    if finished.status.code() != Some(0) || finished.stderr.contains("attached anew") {
        faults.push(format!("the supervisor ended with {}", finished.status));
    }
    ensure!(faults.is_empty(), "{}\nlog:\n{}", faults.join("\n"), finished.stderr);
    println!(
        "chaos-cells: exact after {} reads; no cgroup {:.2} s after the end",
        done.read,
        gone.as_secs_f64()
    );
    Ok(())
}

/// One program takes more memory than it may, the other all of a CPU; each has its next worker, in the same cgroup.
fn pass_limits(plugin: &mut Plugin, programs: &[Program]) -> Result<()> {
    let [process, viewer] = programs else { anyhow::bail!("two programs") };
    let victim = process.worker()?;
    // What the maps take does not go with the worker, so the next one would not live either, if it did not set the limit anew.
    fs::write(process.cgroup.join("memory.max"), "1M")?;
    wait_replaced(plugin, victim, process, viewer).context("too much memory")?;
    let events = process.read("memory.events")?;
    ensure!(!events.contains("oom_kill 0"), "the kernel ended none for memory: {events}");
    process.check_limits()?;

    let victim = viewer.worker()?;
    Held::new(victim)?.spin()?;
    let (since, before, held_back) = (Instant::now(), viewer.cpu("usage_usec")?, viewer.cpu("nr_throttled")?);
    sleep(Duration::from_millis(1500));
    let share = (viewer.cpu("usage_usec")? - before) as f64 / since.elapsed().as_micros() as f64;
    // On kernels that preempt it is a real-time process, which the cgroup does not hold, but RLIMIT_RTTIME ends.
    let is_real_time = !is_alive(victim);
    wait_replaced(plugin, victim, viewer, process).context("too much CPU time")?;
    let held_back = viewer.cpu("nr_throttled")? - held_back;
    // Three periods, or parts of four.
    ensure!(
        share < 0.7 && (held_back > 0 || is_real_time),
        "{share:.2} of a CPU, held back {held_back} times"
    );
    println!("chaos-cells: one that runs in circles takes {share:.2} of a CPU, held back {held_back} times");
    Ok(())
}

/// A worker ends while no process can be made, as when the unit's `TasksMax=` is reached: it is missed until one can, and nothing else.
fn without_processes() -> Result<()> {
    let mut plugin = Plugin::start_and_wait(&Setup { ebpf_conf: Some(only_process(GLOBAL)), ..setup() })?;
    let program = Program::all(plugin.pid()).remove(0);
    let victim = program.worker()?;
    let full = Path::new(UNIT).join("full");
    fs::create_dir(&full)?;
    for pid in children(plugin.pid())? {
        fs::write(full.join("cgroup.procs"), pid.to_string())?;
    }
    fs::write(full.join("pids.max"), "1")?;
    kill(Pid::from_raw(victim.cast_signed()), Signal::SIGKILL)?;
    let told = "it was never started: cannot make a process";
    wait_until("the log to say why", END_LIMIT, || Ok(plugin.stderr().contains(told)))?;
    let directory = tempfile::tempdir()?;
    let done = chaos::process::load_once(directory.path())?;
    // Longer than it takes for four that fail by themselves.
    sleep(Duration::from_secs(6));
    fs::write(full.join("pids.max"), "max")?;
    wait_until("the next worker", REPLACE_LIMIT, || Ok(program.worker().is_ok_and(|pid| pid != victim)))?;
    plugin.wait_ticks(3)?;
    plugin.signal(Signal::SIGTERM)?;
    let finished = plugin.finish(END_LIMIT)?;
    fs::remove_dir(&full)?;
    let mut faults = finished.output.counter_faults();
    faults.extend(texts(group_differences(&finished.output, "chaos", &done, true)));
    ensure!(
        faults.is_empty() && !finished.stderr.contains("attached anew"),
        "{}\nlog:\n{}",
        faults.join("\n"),
        finished.stderr
    );
    println!("chaos-cells: exact after a time in which no worker could be started");
    Ok(())
}

fn run_load(stop: &AtomicBool) -> Result<Expected> {
    let directory = tempfile::tempdir()?;
    let mut done = Expected::default();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let own = directory.path().join((round % 8).to_string());
        done += chaos::process::load_once(&own)?;
        sleep(Duration::from_millis(100));
    }
    Ok(done)
}

fn after_a_kill() -> Result<()> {
    let plugin = Plugin::start_and_wait(&Setup { ebpf_conf: Some(only_process(GLOBAL)), ..setup() })?;
    ensure!(below_unit()?.len() == 2, "there are: {}", below_unit()?.join(", "));
    // The launcher has something to do yet, and does it although somebody has stopped it.
    let launcher = children(plugin.pid())?;
    kill(Pid::from_raw(launcher[0].cast_signed()), Signal::SIGSTOP)?;
    plugin.signal(Signal::SIGKILL)?;
    let gone = wait_gone(GONE_LIMIT)?;
    wait_dead(&launcher, GONE_LIMIT)?;
    println!("chaos-cells: no cgroup {:.2} s after SIGKILL", gone.as_secs_f64());
    Ok(())
}
