//! The network viewer's part: all its ways of counting beside the same traffic, then the verdict on each event of each.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::cell::{Cell, network_cells};
use super::line::{Line, Outcome};
use super::log::Said;
use super::round::{Machine, START_LIMIT, STOP_LIMIT, intervals, wait_decided};
use crate::network::compare::{Counter, of_mode, sum_differences};
use crate::network::done::Done;
use crate::network::flows::{self, Booked, MISSED};
use crate::network::kernel;
use crate::network::pair::{Both, Pair, Place, groups, names};
use crate::network::words::{MATRIX, with_older_connections};
use crate::plugin::{Finished, Plugin};

/// The events of `module.toml` that have numbers, and the counters of each.
pub const EVENTS: [(&str, &[&str]); 6] = [
    ("tcp_send", &["tcp_send", "tcp_send_error", "tcp_sent_bytes"]),
    ("tcp_receive", &["tcp_receive", "tcp_receive_error", "tcp_received_bytes"]),
    ("tcp_state", &["tcp_close", "tcp_connect_v4", "tcp_connect_v6", "tcp_connect_error", "tcp_accept"]),
    ("tcp_retransmit", &["tcp_retransmit"]),
    ("udp_send", &["udp_send", "udp_send_error", "udp_sent_bytes"]),
    ("udp_receive", &["udp_receive", "udp_receive_error", "udp_received_bytes"]),
];

/// Checks beside them.
pub const CHECK: &str = "flows";

const PAIR: &str = "nett";
const RETRANSMITS: (&str, &str) = ("ebpf.tcp_retransmit", "tcp_retransmit_skb");
/// A group's first values come one interval late, and a busy worker may answer late.
const SETTLING_INTERVALS: usize = 3;

struct Running {
    cell: Cell,
    plugin: Plugin,
    said: Said,
}

/// Runs all cells at the same time, beside one load.
pub fn run(kernel: &str, machine: Machine) -> Result<Vec<Line>> {
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let words = with_older_connections(MATRIX);
    let mut pair = Pair::start(directory.path(), PAIR, &Place::loopback(21000), &words)?;
    pair.wait_paused()?;
    let mut running = Vec::new();
    for cell in network_cells() {
        let plugin = Plugin::start(&cell.network_setup(&groups(&[PAIR]))).with_context(|| cell.name())?;
        running.push(Running { cell, plugin, said: Said::default() });
    }
    for cell in &mut running {
        cell.said = wait_decided(&mut cell.plugin).with_context(|| cell.cell.name())?;
    }
    let before = kernel::counter(None, "Tcp", "RetransSegs")?;
    pair.go()?;
    let both = pair.finish()?;
    let retransmits = (kernel::counter(None, "Tcp", "RetransSegs")? - before).cast_signed();
    for cell in running.iter_mut().filter(|cell| cell.said.counts()) {
        let wanted = intervals(&cell.plugin.output()) + SETTLING_INTERVALS;
        let limit = START_LIMIT + Duration::from_secs(1);
        cell.plugin.wait("further intervals", limit, |output| intervals(output) >= wanted)?;
    }
    for cell in &running {
        cell.plugin.signal(Signal::SIGTERM)?;
    }
    let mut lines = Vec::new();
    for Running { cell, plugin, said } in running {
        let finished = plugin.finish(STOP_LIMIT).with_context(|| cell.name())?;
        let verdict = Verdict { kernel, machine, cell, said, finished: &finished, both: &both, retransmits };
        lines.extend(verdict.lines());
    }
    Ok(lines)
}

/// Everything that a cell is judged by.
struct Verdict<'a> {
    kernel: &'a str,
    machine: Machine,
    cell: Cell,
    said: Said,
    finished: &'a Finished,
    both: &'a Both,
    retransmits: i64,
}

impl Verdict<'_> {
    fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> =
            EVENTS.iter().map(|(event, names)| self.event_line(event, names)).collect();
        let output = &self.finished.output;
        let moves = EVENTS.iter().filter(|(event, _)| !event.starts_with("tcp_state"));
        let all_offered = moves.clone().all(|(event, _)| self.said.reason(event).is_none());
        if self.said.counts() && all_offered {
            let sum = self.both.sum();
            let mut faults = flows::differences(output, &sum, self.booked(), |port| port.to_string());
            faults.extend(flows::sum_differences(output));
            lines.push(self.check(CHECK, &faults));
            if self.cell.apps {
                lines.push(self.check("sums", &sum_differences(output)));
            }
        }
        if self.said.counts() {
            lines.push(self.line("objects", Outcome::Fact(self.said.objects.clone())));
            lines.push(self.check("missed", &self.missed_faults()));
        }
        let mut faults = output.counter_faults();
        if self.finished.status.code() != Some(0) {
            faults.push(format!("ended with {}", self.finished.status));
        }
        lines.push(self.check("output", &faults));
        lines
    }

    fn event_line(&self, event: &str, names: &[&str]) -> Line {
        let hook = self.said.hooks.get(event).cloned().unwrap_or_else(|| "none".to_owned());
        let outcome = match self.said.reason(event) {
            Some(reason) => Outcome::NotOffered(reason),
            None => {
                let faults = self.event_faults(event, names, &hook);
                match faults.is_empty() {
                    false => Outcome::Wrong(faults.join("; ")),
                    true if self.skipped(&hook).is_some() => Outcome::Told,
                    true if self.has_groups(names) || self.machine.quiet => Outcome::Exact,
                    true => Outcome::AtLeast,
                }
            }
        };
        Line { hook, ..self.line(event, outcome) }
    }

    /// Whether the numbers of an event are told by group, so that no other process counts.
    fn has_groups(&self, names: &[&str]) -> bool {
        self.cell.apps && of_mode(true).any(|c| c.dimension.is_none() && names.contains(&c.of[0]))
    }

    fn event_faults(&self, event: &str, names: &[&str], hook: &str) -> Vec<String> {
        if event == "tcp_retransmit" {
            let shown = self.finished.output.total(RETRANSMITS.0, RETRANSMITS.1);
            // A hook on the function does not hear of tail-loss probes, which the kernel sends at times of its own; and 6.18 runs
            // programs at raw tracepoints, which know nothing but the calls, for some of them only (perf hears of all).
            let on_function = ["fexit", "kprobe", "kretprobe"].iter().any(|kind| hook.starts_with(kind));
            let leaves_out = on_function || (hook.starts_with("raw_tp") && !self.machine.quiet);
            let least = if leaves_out { 0 } else { self.retransmits - self.skipped(hook).unwrap_or(0) };
            let fits = shown >= least && (!self.machine.quiet || shown <= self.retransmits);
            let fault = format!("the kernel sent {} segments again, shown {shown}", self.retransmits);
            return if fits { Vec::new() } else { vec![fault] };
        }
        let counters = of_mode(self.cell.mode == "return").filter(|counter| names.contains(&counter.of[0]));
        // A sum of TCP and UDP is no number where one of them is not counted.
        let complete = counters.filter(|counter| {
            let events = counter.of.iter().filter_map(|name| event_of(name));
            events.into_iter().all(|event| self.said.reason(event).is_none())
        });
        complete.flat_map(|counter| self.counter_faults(counter, hook)).collect()
    }

    fn counter_faults(&self, counter: &Counter, hook: &str) -> Vec<String> {
        let output = &self.finished.output;
        let sum = self.both.sum();
        let compare = |dimension: &str, done: &Done, others_count: bool| {
            let shown = output.total(counter.chart, dimension).abs();
            let (wanted, most) = counter.wanted(done);
            let fits = shown >= self.least(counter, wanted, hook) && (others_count || shown <= most);
            (!fits).then(|| format!("{} of {dimension} expected {wanted} got {shown}", counter.name()))
        };
        match counter.dimension {
            Some(dimension) => compare(dimension, &sum, !self.machine.quiet).into_iter().collect(),
            None if !self.cell.apps => Vec::new(),
            None => {
                let [server, client] = names(PAIR);
                let compared = [(server, &self.both.server), (client, &self.both.client)];
                compared.into_iter().filter_map(|(group, done)| compare(&group, done, false)).collect()
            }
        }
    }

    /// The fewest that may be shown where `wanted` were done.
    fn least(&self, counter: &Counter, wanted: i64, hook: &str) -> i64 {
        let is_result = counter.of[0].ends_with("error") || counter.of[0].ends_with("bytes");
        match self.skipped(hook) {
            _ if is_result && hook.contains("kretprobe") && self.loses_returns() => 0,
            // Of bytes it is not known how many a skipped call had.
            Some(skipped) if skipped > 0 && counter.of[0].ends_with("bytes") => 0,
            Some(skipped) => wanted - skipped,
            None => wanted,
        }
    }

    /// Program runs that the plugin draws as skipped, where this kernel skips programs of this kind: not what perf runs.
    fn skipped(&self, hook: &str) -> Option<i64> {
        let kinds = ["fentry", "fexit", "tp_btf", "raw_tp"];
        let is_typed = kinds.iter().any(|kind| hook.contains(kind));
        (self.machine.preempts && is_typed).then(|| self.finished.output.total(MISSED, "recursion"))
    }

    fn loses_returns(&self) -> bool {
        self.finished.output.total(MISSED, "kretprobe") > 0
            || self.finished.stderr.contains("results are taken by kretprobes, which lose some")
    }

    fn booked(&self) -> Booked {
        let hooks = || EVENTS.iter().filter_map(|(event, _)| self.said.hooks.get(*event));
        let lost = hooks().any(|hook| hook.contains("kretprobe")) && self.loses_returns();
        if lost || hooks().any(|hook| self.skipped(hook).is_some_and(|skipped| skipped > 0)) {
            return Booked::Fewer;
        }
        Booked::All
    }

    fn missed_faults(&self) -> Vec<String> {
        let Some(chart) = self.finished.output.charts.get(MISSED) else {
            return vec![format!("no chart {MISSED}")];
        };
        let may_be = |id: &str| {
            (id == "kretprobe" && self.said.uses_kretprobes()) || (id == "recursion" && self.machine.preempts)
        };
        let counts = chart.dimensions.iter().map(|d| (&d.id, chart.total(&d.id)));
        let faults = counts.filter(|(id, count)| *count != 0 && !may_be(id));
        faults.map(|(id, count)| format!("missed {id} {count}")).collect()
    }

    fn check(&self, name: &str, faults: &[String]) -> Line {
        // One of many is enough to know what is wrong.
        let more = if faults.len() > 3 { format!("; {} more", faults.len() - 3) } else { String::new() };
        let some = faults.iter().take(3).cloned().collect::<Vec<String>>().join("; ");
        let outcome = if faults.is_empty() { Outcome::Exact } else { Outcome::Wrong(some + &more) };
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

fn event_of(counter: &str) -> Option<&'static str> {
    EVENTS.iter().find(|(_, counters)| counters.contains(&counter)).map(|(event, _)| *event)
}
