//! One round: several ways of counting beside the same loads, then the verdict on each event of each.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::personality::{self, Persona};
use nix::sys::signal::Signal;

use super::cell::{Cell, Twist};
use super::judge::{self, Done, EVENTS, Judged, Noise};
use super::line::{Line, Outcome};
use super::log::{self, Said};
use super::tracefs::Entries;
use crate::compare::sum_differences;
use crate::effects::{Expected, expected};
use crate::load::{Load, install};
use crate::model::Output;
use crate::plugin::{Finished, Plugin};
use crate::system::wait_until;

/// Several plugins load at once, on an emulated CPU.
pub(super) const START_LIMIT: Duration = Duration::from_secs(240);
/// Taking down dozens of kprobes is the kernel's slowest part of all.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Intervals after the loads: releases come after an RCU delay, and a busy worker may answer an interval late.
const SETTLING_INTERVALS: usize = 3;
/// Further intervals for releases that the kernel puts off: as long as anybody holds the task, `sched_process_free` waits.
const LATE_INTERVALS: usize = 7;
/// Longest wait for a canary: it is behind the first values by a second or two.
const CANARY_LIMIT: Duration = Duration::from_secs(20);
/// Intervals without load, to know what the plugins themselves do in each.
const IDLE_INTERVALS: usize = 4;

/// Name of the load and script. Each counter has its own sum, so that no two agree by luck.
const LOADS: [(&str, &str); 5] = [
    (
        "ebpft_files",
        "open=11 openat=13 openat2=7 creat=5 open_leak=3 open_fail=17 openat_fail=3 openat2_fail=2 \
         openat2_badsize=1 creat_fail=5 close=19 close_fail=23 close_range=29 close_range_fail=2 unlink=31 \
         unlinkat=37 unlink_fail=3 unlinkat_fail=2 unlink_isdir=1 rmdir_at=41 rmdir=4 read=43:100 \
         pread=47:70000 readv=3:50 preadv=5:4097 preadv2=7:9 read0=3 read_short=11:10 read_fail=13 readv_fail=2 \
         read_fault=5 read_isdir=3 write=53:100 pwrite=59:9 writev=3:19 pwritev=5:77 pwritev2=7:100 \
         write_fail=11 writev_fail=2 write_fault=3 pipe_rw=3:4000 socket_rw=5:33 sendfile=9:100 splice=9:100",
    ),
    (
        "ebpft_tasks",
        "fork=11 vfork=13 clone_fork=7 clone3_fork=5 fork_autoreap=3 thread=17 thread=2:5 clone3_thread=19:7 \
         fork_fail=23 clone3_fork_fail=2 thread_fail=29 clone3_thread_fail=3 thread_swarm=2:100 \
         thread_renamed=3:5 thread_exec=2 fork=2",
    ),
    ("ebpft_refused", "open=1 fork_eagain=7 vfork_eagain=5 thread_eagain=11"),
    (
        "ebpft_compat",
        "open32=5 read32=7:100 write32=11:30 read_fail32=3 unlink_fail32=2 fork32=5 fork_fail32=7 thread_fail32=11",
    ),
    ("ebpft_dying", "swarm_die=2:20 swarm=2:5 thread_swarm=2:10 read=500:10 write=300:7 die=1"),
];
/// Processes that live for an instant, in a group together.
///
/// This load and those above run one after the other, with few tasks in a call at once: more than ten, and kretprobes lose
/// results, as every user of them must.
const SHORT: (&str, &str, usize) = ("ebpft_short", "read=3:7 open_fail=1", 20);
/// Loads that run at once after all the others, with more tasks than a kretprobe can follow.
const CROWD: [(&str, &str); 3] = [
    ("ebpft_crowd1", "thread_swarm=40:100 swarm=30:10 fork_fail=19 open_fail=31 read=300:100 write=200:10"),
    (
        "ebpft_crowd2",
        "swarm_die=40:20 thread_swarm=30:10 read=500:10 write=300:7 open=50 unlink_fail=9 die=1",
    ),
    (
        "ebpft_crowd3",
        "swarm=25:40 thread=20:9 thread_fail=17 close_fail=23 pread=900:70 writev=90:19 unlink=9",
    ),
];
/// One process with two names, and groups, one after the other.
const BEFORE_EXEC: (&str, &str) = ("ebpft_first", "read=5:10 open=3");
const AFTER_EXEC: (&str, &str) = ("ebpft_second", "read=7:100 fork=2");

/// Groups of the two.
const RENAMED: (&str, &str) = ("ebpft_first_group", "ebpft_second_group");

/// The loads of a round, all stopped before their first operation.
#[derive(Default)]
struct Loads {
    in_turn: Vec<Load>,
    at_once: Vec<Load>,
    done: Done,
}

fn apps_groups() -> String {
    let single = LOADS.iter().chain(&CROWD).map(|(name, _)| *name).chain([BEFORE_EXEC.0, AFTER_EXEC.0]);
    let lines: String = single.map(|name| format!("{}: {name}\n", group(name))).collect();
    format!("{lines}{}: {}*\n", group(SHORT.0), SHORT.0)
}

fn group(name: &str) -> String {
    format!("{name}_group")
}

impl Loads {
    fn start(directory: &Path) -> Result<Loads> {
        let start = |name: &str, script: &str| Load::start(directory, name, &format!("stop=1 {script}"));
        let mut loads = Loads::default();
        for (name, script) in LOADS {
            let load = start(name, script)?;
            loads.done.in_turn.push((group(name), load.expected));
            loads.in_turn.push(load);
        }
        let mut sum = Expected::default();
        for number in 0..SHORT.2 {
            let load = start(&format!("{}{number}", SHORT.0), SHORT.1)?;
            sum += load.expected;
            loads.in_turn.push(load);
        }
        loads.done.in_turn.push((group(SHORT.0), sum));
        let second = install(directory, AFTER_EXEC.0)?;
        let script = format!("{} exec=1:{} {}", BEFORE_EXEC.1, second.display(), AFTER_EXEC.1);
        loads.in_turn.push(start(BEFORE_EXEC.0, &script)?);
        // The end of a process belongs to the name that it ends with.
        let before = expected(BEFORE_EXEC.1)?;
        let before = Expected { exit: before.exit - 1, release: before.release - 1, ..before };
        loads.done.in_turn.push((group(BEFORE_EXEC.0), before));
        loads.done.in_turn.push((group(AFTER_EXEC.0), expected(AFTER_EXEC.1)?));
        for (name, script) in CROWD {
            let load = start(name, script)?;
            loads.done.at_once.push((group(name), load.expected));
            loads.at_once.push(load);
        }
        Ok(loads)
    }

    /// Runs all; returns what they did when all have ended as they should.
    fn run(self) -> Result<Done> {
        for load in self.in_turn {
            load.go()?;
            load.finish()?;
        }
        for load in &self.at_once {
            load.go()?;
        }
        for load in self.at_once {
            load.finish()?;
        }
        Ok(self.done)
    }
}

/// A cell's plugin while it counts.
struct Running {
    cell: Cell,
    plugin: Plugin,
    said: Said,
    marks: [Output; 3],
}

/// Where the cells run.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Nothing else runs there.
    pub quiet: bool,
    /// Its kernel preempts tasks anywhere, also inside eBPF programs, which are then skipped for other tasks.
    pub preempts: bool,
}

/// Runs the cells of one round at the same time.
pub fn run(kernel: &str, cells: &[Cell], machine: Machine) -> Result<Vec<Line>> {
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let without_pmu = cells.iter().any(|cell| cell.twist == Twist::WithoutPmu);
    let mut entries = without_pmu.then(Entries::prepare).transpose()?;
    let mut running = Vec::new();
    for &cell in cells {
        let plugin = start(cell).with_context(|| cell.name())?;
        running.push(Running { cell, plugin, said: Said::default(), marks: Default::default() });
    }
    for cell in &mut running {
        cell.said = wait_decided(&mut cell.plugin).with_context(|| cell.cell.name())?;
    }
    for cell in running.iter().filter(|cell| cell.said.counts()) {
        // What a canary does is neither the loads' nor the plugins', and on a busy machine it comes late; or never, with a worker that was lost.
        let _ =
            wait_until("the canary's end", CANARY_LIMIT, || Ok(cell.plugin.stderr().contains("canary: ")));
    }
    if let Some(entries) = &mut entries {
        entries.look()?;
    }
    let loads = Loads::start(directory.path())?;
    // Outside of all that is compared: reading the count is itself system calls.
    let created_before = created_tasks()?;
    // Two: a plugin may be about to print an interval that ended before the loads were there.
    pass_intervals(&mut running, 2)?;
    mark(&mut running, 0);
    if machine.quiet && cells.iter().any(|cell| !cell.apps) {
        pass_intervals(&mut running, IDLE_INTERVALS)?;
    }
    mark(&mut running, 1);
    let done = loads.run()?;
    pass_intervals(&mut running, SETTLING_INTERVALS)?;
    for _ in 0..LATE_INTERVALS {
        if machine.preempts || !machine.quiet || running.iter().all(|cell| has_released(cell, &done)) {
            break;
        }
        pass_intervals(&mut running, 1)?;
    }
    mark(&mut running, 2);
    let created = created_tasks()? - created_before;
    for cell in &running {
        cell.plugin.signal(Signal::SIGTERM)?;
    }
    let known: u64 = done.groups().map(|(_, done)| done.fork + done.thread).sum();
    let other_creations = created - known.cast_signed();
    let plain_hooks = running.first().map(|cell| cell.said.hooks.clone()).unwrap_or_default();
    let mut lines = Vec::new();
    for Running { cell, plugin, said, marks } in running {
        let finished = plugin.finish(STOP_LIMIT).with_context(|| cell.name())?;
        let noise = Noise { is_known: machine.quiet, marks, other_creations };
        let verdict = Verdict { kernel, machine, cell, said, noise, finished: &finished, done: &done };
        lines.extend(verdict.lines(&plain_hooks));
    }
    if let Some(entries) = entries {
        lines.push(entries.finish(kernel, &cells[0])?);
    }
    Ok(lines)
}

fn start(cell: Cell) -> Result<Plugin> {
    let setup = cell.setup(&apps_groups());
    if cell.twist != Twist::FakedRelease {
        return Plugin::start(&setup);
    }
    let persona = personality::get()?;
    personality::set(persona | Persona::UNAME26)?;
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let plugin = Plugin::start(&setup);
    personality::set(persona)?;
    ensure!(release.starts_with("2.6."), "the release is still {release}");
    plugin
}

/// Waits until the plugin counts, or has said that it cannot.
pub(super) fn wait_decided(plugin: &mut Plugin) -> Result<Said> {
    let start = Instant::now();
    loop {
        let said = log::read(&plugin.stderr());
        if said.is_decided() {
            if said.counts() {
                plugin.wait("its first values", START_LIMIT, |output| intervals(output) > 0)?;
            }
            return Ok(said);
        }
        if start.elapsed() > START_LIMIT {
            bail!("waited {START_LIMIT:?} in vain for its hooks; its log:\n{}", plugin.stderr());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Intervals that were printed: blocks of the chart that has most.
pub(super) fn intervals(output: &Output) -> usize {
    output.charts.values().map(|chart| chart.blocks.len()).max().unwrap_or(0)
}

/// Waits until every plugin that counts has printed `count` more intervals.
fn pass_intervals(running: &mut [Running], count: usize) -> Result<()> {
    let counting = || running.iter().filter(|cell| cell.said.counts());
    let wanted: Vec<usize> = counting().map(|cell| intervals(&cell.plugin.output()) + count).collect();
    for (cell, wanted) in running.iter_mut().filter(|cell| cell.said.counts()).zip(wanted) {
        let waited = cell.plugin.wait("further intervals", START_LIMIT, |output| intervals(output) >= wanted);
        waited.with_context(|| cell.cell.name())?;
    }
    Ok(())
}

/// Whether all that ended is released, as far as this cell shows it by group.
fn has_released(cell: &Running, done: &Done) -> bool {
    if !cell.cell.apps || !cell.said.counts() || cell.said.reason("release").is_some() {
        return true;
    }
    let output = cell.plugin.output();
    done.groups()
        .all(|(group, done)| output.total("apps.task_release", group).cast_unsigned() >= done.release)
}

fn mark(running: &mut [Running], which: usize) {
    for cell in running {
        cell.marks[which] = cell.plugin.output();
    }
}

/// Tasks that this kernel ever created, threads included (`/proc/stat`, `processes`).
fn created_tasks() -> Result<i64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("processes "));
    line.context("/proc/stat has no line `processes`")?.trim().parse().context("`processes` is no number")
}

/// Everything that a cell is judged by.
struct Verdict<'a> {
    kernel: &'a str,
    machine: Machine,
    cell: Cell,
    said: Said,
    noise: Noise,
    finished: &'a Finished,
    done: &'a Done,
}

impl Verdict<'_> {
    fn lines(&self, plain_hooks: &std::collections::BTreeMap<String, String>) -> Vec<Line> {
        let return_mode = self.cell.mode == "return";
        let mut lines: Vec<Line> = EVENTS
            .iter()
            .filter(|(event, _)| judge::exists(event, return_mode))
            .map(|(event, _)| self.event_line(event))
            .collect();
        if self.said.counts() {
            lines.push(self.line("objects", Outcome::Fact(self.said.objects.clone())));
            lines.push(self.check("missed", self.missed_faults()));
            if self.cell.apps {
                lines.push(self.check("sums", self.sum_faults(return_mode)));
            }
        }
        let mut faults = self.finished.output.counter_faults();
        if self.finished.status.code() != Some(0) {
            faults.push(format!("ended with {}", self.finished.status));
        }
        faults.extend(self.twist_faults(plain_hooks));
        lines.push(self.check("output", faults));
        lines
    }

    fn event_line(&self, event: &str) -> Line {
        let hook = self.said.hooks.get(event).cloned().unwrap_or_else(|| "none".to_owned());
        let judged = self.judged(event, &hook);
        let outcome = match self.said.reason(event) {
            Some(reason) if judge::is_drawn(judged.output, event) => {
                Outcome::Wrong(format!("drawn, although it was not counted at first: {reason}"))
            }
            Some(reason) => Outcome::NotOffered(reason),
            None => match judge::faults(&judged, event) {
                faults if !faults.is_empty() => Outcome::Wrong(faults.join("; ")),
                _ if judged.skipped.is_some() => Outcome::Told,
                _ if judged.releases_leave_out && event == "release" => Outcome::LeavesOut,
                _ if self.cell.apps => Outcome::Exact,
                _ if !self.noise.is_known => Outcome::AtLeast,
                _ if judge::is_done_by_plugins(event) => Outcome::BesideOwn,
                _ => Outcome::Exact,
            },
        };
        Line { hook, ..self.line(event, outcome) }
    }

    /// Whether the hook's program is skipped for others while a task that was preempted inside it waits: not what perf runs, nor
    /// kprobes, nor what the kernel calls with preemption off.
    fn is_skipped(&self, event: &str, hook: &str) -> bool {
        let is_called_unpreempted = hook.starts_with("tp_btf") && ["create", "release"].contains(&event);
        let is_typed = ["fentry", "fexit", "tp_btf", "raw_tp"].iter().any(|kind| hook.contains(kind));
        self.machine.preempts && is_typed && !is_called_unpreempted
    }

    fn judged(&self, event: &str, hook: &str) -> Judged<'_> {
        let output = &self.finished.output;
        Judged {
            output,
            return_mode: self.cell.mode == "return",
            apps: self.cell.apps,
            done: self.done,
            noise: &self.noise,
            may_lose_results: hook.contains("kretprobe") && self.tells_lost_results(),
            skipped: self.is_skipped(event, hook).then(|| output.total("ebpf.process_missed", "recursion")),
            renamed: (RENAMED.0, RENAMED.1),
            releases_leave_out: !self.machine.quiet && !hook.contains("fentry") && !hook.contains("kprobe"),
        }
    }

    /// What must not be missed; and where runs of programs are skipped, that no more is missing than that.
    fn missed_faults(&self) -> Vec<String> {
        let mut may_be = Vec::new();
        if self.said.uses_kretprobes() {
            may_be.push("kretprobe");
        }
        if self.machine.preempts {
            may_be.push("recursion");
        }
        let mut faults = judge::missed(&self.finished.output, &may_be);
        let judged = self.judged("", "");
        if let Some(skipped) = judged.skipped.filter(|_| self.cell.apps) {
            let offered: Vec<&str> = EVENTS
                .iter()
                .map(|(event, _)| *event)
                .filter(|event| self.said.reason(event).is_none())
                .collect();
            let missing = judge::missing(&judged, &offered);
            if missing > skipped {
                faults.push(format!("{missing} events are missing, {skipped} drawn as skipped"));
            }
        }
        faults
    }

    /// Whether the plugin has drawn lost returns, or has warned that this kernel does not tell of them.
    fn tells_lost_results(&self) -> bool {
        self.finished.output.total("ebpf.process_missed", "kretprobe") > 0
            || self.finished.stderr.contains("results are taken by kretprobes, which lose some")
    }

    /// Sums of groups; those of events that are not counted have no charts.
    fn sum_faults(&self, return_mode: bool) -> Vec<String> {
        let lost: Vec<String> = EVENTS
            .iter()
            .filter(|(event, _)| self.said.reason(event).is_some())
            .flat_map(|(_, counters)| counters.iter().map(|counter| format!("{counter}:")))
            .collect();
        let mut faults = sum_differences(&self.finished.output, return_mode);
        faults.retain(|fault| !lost.iter().any(|counter| fault.starts_with(counter.as_str())));
        faults
    }

    fn twist_faults(&self, plain_hooks: &std::collections::BTreeMap<String, String>) -> Vec<String> {
        let log = &self.finished.stderr;
        let mut faults = Vec::new();
        match self.cell.twist {
            Twist::FakedRelease if self.said.hooks != *plain_hooks => {
                faults.push(format!("other hooks: {:?} instead of {plain_hooks:?}", self.said.hooks));
            }
            Twist::Override { breaks, refused, .. } => {
                let named =
                    log.lines().any(|line| line.contains("ebpf.d/process.toml") && line.contains("ERROR"));
                if named != refused {
                    faults.push(format!("refused with the file's name: {named}, must be: {refused}"));
                }
                let lost: Vec<&str> = self.said.not_counted.keys().map(String::as_str).collect();
                if lost != Vec::from_iter(breaks) || log.matches("is not counted").count() != lost.len() {
                    faults.push(format!("not counted: {lost:?}, must be: {breaks:?}"));
                }
            }
            _ => {}
        }
        faults
    }

    fn check(&self, name: &str, faults: Vec<String>) -> Line {
        let outcome = if faults.is_empty() { Outcome::Exact } else { Outcome::Wrong(faults.join("; ")) };
        self.line(name, outcome)
    }

    fn line(&self, event: &str, outcome: Outcome) -> Line {
        Line {
            kernel: self.kernel.to_owned(),
            cell: self.cell.name(),
            event: event.to_owned(),
            hook: "-".to_owned(),
            outcome,
        }
    }
}
