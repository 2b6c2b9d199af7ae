//! Holds what an event shows against what the loads did.

use crate::compare::{COUNTERS, Counter};
use crate::effects::Expected;
use crate::model::Output;

/// The events of `module.toml` that have numbers, and the counters of each.
pub const EVENTS: [(&str, &[&str]); 9] = [
    ("open", &["open", "open error"]),
    ("close", &["close", "close error"]),
    ("read", &["read", "read error", "read bytes"]),
    ("write", &["write", "write error", "write bytes"]),
    ("unlink", &["unlink", "unlink error"]),
    ("create", &["fork", "thread"]),
    ("create_failed", &["fork error", "thread error"]),
    ("exit", &["exit"]),
    ("release", &["release"]),
];

/// Charts per group that `compare` does not know of.
const FURTHER_APPS: [(&str, &str); 1] = [("release", "apps.task_release")];

/// What the loads of a round did, group by group.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// One load after the other.
    pub in_turn: Vec<(String, Expected)>,
    /// All at once.
    pub at_once: Vec<(String, Expected)>,
}

impl Done {
    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = &(String, Expected)> {
        self.in_turn.iter().chain(&self.at_once)
    }
}

/// What is known of one cell's output.
pub struct Judged<'a> {
    /// Everything that it printed.
    pub output: &'a Output,
    /// With errors.
    pub return_mode: bool,
    /// With groups.
    pub apps: bool,
    /// What the loads did.
    pub done: &'a Done,
    /// Results come from a kretprobe, and the plugin says that some were lost or may be: those of the loads that ran at
    /// once may be fewer.
    pub may_lose_results: bool,
    /// Program runs that the plugin draws as skipped by the kernel, where this kernel preempts programs; else `None`.
    pub skipped: Option<i64>,
    /// Groups of one process, before and after its exec: when that exec is skipped, the first has it all.
    pub renamed: (&'a str, &'a str),
    /// The hook of `release` leaves out tasks on this kernel.
    pub releases_leave_out: bool,
    /// What else the whole system did beside the loads; see [`Noise`].
    pub noise: &'a Noise,
}

/// What the whole system does without the loads.
#[derive(Clone, Debug, Default)]
pub struct Noise {
    /// Nobody but the plugin and this program does anything: totals of the system can be compared.
    pub is_known: bool,
    /// What was printed before the intervals without load, before the load, and at the end.
    pub marks: [Output; 3],
    /// Tasks that were created beside the loads, according to the kernel's own count of forks.
    pub other_creations: i64,
}

/// The counters of an event that a mode has.
fn counters(event: &str, return_mode: bool) -> impl Iterator<Item = &'static Counter> {
    let names = EVENTS.iter().find(|(name, _)| *name == event).map_or(&[][..], |(_, counters)| *counters);
    COUNTERS.iter().filter(move |c| names.contains(&c.name) && (return_mode || !c.only_return))
}

/// Whether the event has any number in this mode.
pub fn exists(event: &str, return_mode: bool) -> bool {
    counters(event, return_mode).next().is_some()
}

/// What is wrong with an event; empty when all is as done.
pub fn faults(judged: &Judged<'_>, event: &str) -> Vec<String> {
    counters(event, judged.return_mode).flat_map(|counter| counter_faults(judged, counter)).collect()
}

fn counter_faults(judged: &Judged<'_>, counter: &Counter) -> Vec<String> {
    match apps_chart(counter) {
        Some(chart) if judged.apps => group_faults(judged, counter, chart),
        _ => system_fault(judged, counter).into_iter().collect(),
    }
}

fn group_faults(judged: &Judged<'_>, counter: &Counter, chart: &str) -> Vec<String> {
    let wrong = |groups: &[(String, Expected)], may_lose: bool| -> Vec<String> {
        let shown = shown(judged, counter, chart, groups);
        let lowest = |wanted| lowest(judged, counter, wanted, may_lose);
        let faults = shown.into_iter().filter(|&(_, wanted, got)| got > wanted || got < lowest(wanted));
        faults
            .map(|(group, wanted, got)| format!("{group}: {} expected {wanted} got {got}", counter.name))
            .collect()
    };
    let mut faults = wrong(&judged.done.in_turn, false);
    faults.extend(wrong(&judged.done.at_once, may_lose(judged, counter)));
    faults
}

/// Group, what it must show and what it shows; where an exec may have been skipped, both names of its process as one.
fn shown(
    judged: &Judged<'_>,
    counter: &Counter,
    chart: &str,
    groups: &[(String, Expected)],
) -> Vec<(String, i64, i64)> {
    let mut shown: Vec<(String, i64, i64)> = Vec::new();
    for (group, done) in groups {
        let (wanted, got) = ((counter.of)(done).cast_signed(), judged.output.total(chart, group));
        let first = shown.iter_mut().find(|(name, ..)| name == judged.renamed.0);
        match first.filter(|_| judged.skipped.is_some() && group == judged.renamed.1) {
            Some(before) => *before = (before.0.clone(), before.1 + wanted, before.2 + got),
            None => shown.push((group.clone(), wanted, got)),
        }
    }
    shown
}

/// The most that may be shown where `wanted` were done: a kretprobe whose entry was skipped does not know which of the
/// two kinds of creation failed.
fn highest(judged: &Judged<'_>, counter: &Counter, wanted: i64) -> i64 {
    let is_failed_creation = ["fork error", "thread error"].contains(&counter.name);
    wanted + judged.skipped.filter(|_| is_failed_creation).unwrap_or(0)
}

/// The fewest that may be shown where `wanted` were done.
fn lowest(judged: &Judged<'_>, counter: &Counter, wanted: i64, may_lose: bool) -> i64 {
    match judged.skipped {
        _ if may_lose => 0,
        // Of bytes it is not known how many a skipped call had.
        Some(skipped) if skipped > 0 && counter.name.ends_with("bytes") => 0,
        Some(skipped) => wanted - skipped,
        None if counter.name == "release" && judged.releases_leave_out => 0,
        None => wanted,
    }
}

/// Calls, creations, exits and releases of these events that were done and are not shown in any group.
pub fn missing(judged: &Judged<'_>, events: &[&str]) -> i64 {
    let groups: Vec<_> = judged.done.groups().cloned().collect();
    let counted = events.iter().flat_map(|event| counters(event, judged.return_mode));
    let calls = counted.filter(|c| !c.name.ends_with("error") && !c.name.ends_with("bytes"));
    let with_chart = calls.filter_map(|counter| Some((counter, apps_chart(counter)?)));
    let all = with_chart.flat_map(|(counter, chart)| shown(judged, counter, chart, &groups));
    all.map(|(_, wanted, got)| wanted - got).sum()
}

/// The chart with a dimension for each group.
fn apps_chart(counter: &Counter) -> Option<&'static str> {
    let further = FURTHER_APPS.iter().find(|(name, _)| *name == counter.name);
    counter.apps.or(further.map(|(_, chart)| *chart))
}

/// Whether the loads that ran at once may show less of this counter: calls are counted on entry, results on return.
fn may_lose(judged: &Judged<'_>, counter: &Counter) -> bool {
    judged.may_lose_results && (counter.name.ends_with("error") || counter.name.ends_with("bytes"))
}

/// Compares the whole system, as far as it is known what else happens there.
fn system_fault(judged: &Judged<'_>, counter: &Counter) -> Option<String> {
    let sum =
        |groups: &[(String, Expected)]| groups.iter().map(|(_, done)| (counter.of)(done).cast_signed()).sum();
    let (in_turn, at_once): (i64, i64) = (sum(&judged.done.in_turn), sum(&judged.done.at_once));
    let wanted = in_turn + at_once;
    let losable =
        if may_lose(judged, counter) { at_once } else { wanted - lowest(judged, counter, wanted, false) };
    let (chart, dimension) = counter.system?;
    let Some(chart) = judged.output.charts.get(chart) else {
        return Some(format!("{}: no chart {chart}", counter.name));
    };
    let history: Vec<i64> = chart.history(dimension).into_iter().map(i64::abs).collect();
    if !judged.noise.is_known {
        let got = chart.total(dimension).abs();
        return (got < wanted - losable)
            .then(|| format!("{} expected at least {wanted} got {got}", counter.name));
    }
    // Charts do not all start in the same interval.
    let printed = |mark: &Output| mark.charts.get(&chart.line.id).map_or(0, |c| c.history(dimension).len());
    let [idle, start, end] = [0, 1, 2].map(|mark| printed(&judged.noise.marks[mark]));
    let at = |blocks: usize| blocks.checked_sub(1).and_then(|last| history.get(last));
    let (Some(&first), Some(&before), Some(&after)) = (at(idle), at(start), at(end)) else {
        return Some(format!("{}: nothing printed before the load", counter.name));
    };
    if counter.name == "fork" {
        let (wanted, got) = (wanted + judged.noise.other_creations, after - first);
        return (!(wanted - losable..=wanted).contains(&got))
            .then(|| format!("fork expected {wanted} by the kernel's own count, got {got}"));
    }
    // What the plugin itself does every second, as often as it did it before; where that is something it varies,
    // because its numbers get longer and a busy CPU cuts its output into other pieces.
    let (least, most) = growth_range(&history[idle - 1..start]);
    let intervals = i64::try_from(end - start).unwrap_or(i64::MAX);
    let (least, mut most) = (least * intervals / 2, most * intervals * 2);
    // libc reads a file once when a further thread of a process needs memory; too much is nothing lost.
    if ["open", "close"].contains(&counter.name) {
        most += 3;
    }
    let got = after - before;
    let fits = (wanted - losable + least..=highest(judged, counter, wanted) + most).contains(&got);
    (!fits)
        .then(|| format!("{} expected {wanted} beside {least} to {most} of others, got {got}", counter.name))
}

/// Least and most that a value grew by from one block to the next.
fn growth_range(values: &[i64]) -> (i64, i64) {
    let steps = || values.windows(2).map(|pair| pair[1] - pair[0]);
    (steps().min().unwrap_or(0), steps().max().unwrap_or(0))
}

/// Dimensions of `ebpf.process_missed` that are not zero, without those in `may_be`.
pub fn missed(output: &Output, may_be: &[&str]) -> Vec<String> {
    let Some(chart) = output.charts.get("ebpf.process_missed") else {
        return vec!["no chart ebpf.process_missed".to_owned()];
    };
    let counts = chart.dimensions.iter().map(|d| (&d.id, chart.total(&d.id)));
    let faults = counts.filter(|(id, count)| *count != 0 && !may_be.contains(&id.as_str()));
    faults.map(|(id, count)| format!("missed {id} {count}")).collect()
}

/// Whether the plugins themselves do what the event counts: reads and writes every second, now and then an open.
pub fn is_done_by_plugins(event: &str) -> bool {
    ["open", "close", "read", "write"].contains(&event)
}

/// Whether anything of the event is drawn, although it is not counted.
pub fn is_drawn(output: &Output, event: &str) -> bool {
    let places = counters(event, true).filter_map(|counter| counter.system);
    let mut charts = places.filter_map(|(chart, d)| output.charts.get(chart)?.dimension(d));
    charts.next().is_some()
}
