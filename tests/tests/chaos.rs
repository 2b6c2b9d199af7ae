//! Whatever ends a worker, at whatever instruction: nothing counted is lost, nothing is counted twice.
//!
//! `EBPF_CHAOS_KILLS`: how many workers are ended in each set-up; the default takes a minute. `EBPF_CHAOS_PAUSE_MS`: longest time between two.
//! `EBPF_CHAOS_SEED` repeats a run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::chaos::{self, Plan};
use tests::inject::Held;
use tests::load::Load;
use tests::model::Output;
use tests::plugin::{Plugin, SHOW_ALL, STOP_LIMIT, Setup, only_process};
use tests::residue::{Residue, wait_dead};
use tests::system::{alone, children, wait_until, workers};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    number("EBPF_CHAOS_SEED", now.as_nanos() as u64)
}

fn plan(kills: u64) -> Plan {
    let (kills, pause_ms) = (number("EBPF_CHAOS_KILLS", kills), number("EBPF_CHAOS_PAUSE_MS", 900));
    Plan { kills: kills as usize, pause_ms, seed: seed() }
}

/// Nothing must remain of what `run` runs.
fn chaos(run: impl FnOnce() -> anyhow::Result<chaos::Report>) {
    let _alone = alone().unwrap();
    let before = Residue::now().unwrap();
    let report = run().unwrap();
    eprintln!("{report}");
    before.wait_gone(STOP_LIMIT).unwrap();
}

#[test]
fn workers_end_in_every_way() {
    let setup = Setup::new("return", &chaos::process::groups());
    chaos(|| chaos::process::run(&setup, plan(40), true));
}

/// Objects without BTF keep their rows in the hash, and attach other programs.
#[test]
fn workers_end_without_btf() {
    let conf = only_process("ebpf load mode = return\n    ebpf type format = legacy");
    let setup = Setup { ebpf_conf: Some(conf), ..Setup::new("return", &chaos::process::groups()) };
    chaos(|| chaos::process::run(&setup, plan(15), true));
}

/// Rows that only grow: their totals must survive a worker.
#[test]
fn workers_end_without_applications() {
    let conf = only_process("ebpf load mode = return\n    disable apps = yes");
    let setup = Setup { ebpf_conf: Some(conf), ..Setup::new("return", "") };
    chaos(|| chaos::process::run(&setup, plan(15), false));
}

/// A worker that is stopped costs its own charts three intervals, and no event.
#[test]
fn a_stopped_worker_is_noticed_within_three_intervals() {
    let _alone = alone().unwrap();
    let plugin = Plugin::start_and_wait(&Setup::new("return", &chaos::process::groups())).unwrap();
    let stopped = workers(plugin.pid()).unwrap();
    let started = Instant::now();
    kill(Pid::from_raw(stopped[0].cast_signed()), Signal::SIGSTOP).unwrap();
    wait_dead(&stopped, Duration::from_secs(10)).unwrap();
    // One interval until it is asked, two and a half until it is late.
    assert!(started.elapsed() < Duration::from_millis(3900), "noticed after {:?}", started.elapsed());
    assert_eq!(plugin.stop().unwrap().status.code(), Some(0));
}

/// Does something to the first worker while it loads, for which the supervisor would wait for minutes: it must be noticed within three intervals
/// and what is left of one, and the next one counts. Returns the log.
fn disturb_while_it_loads(disturb: impl Fn(u32)) -> String {
    let _alone = alone().unwrap();
    let mut plugin = Plugin::start(&Setup::new("return", &chaos::process::groups())).unwrap();
    let mut disturbed = Vec::new();
    wait_until("the first worker", Duration::from_secs(5), || {
        disturbed = workers(plugin.pid())?;
        Ok(!disturbed.is_empty())
    })
    .unwrap();
    disturb(disturbed[0]);
    let started = Instant::now();
    assert!(!plugin.stderr().contains("events are counted"), "it had loaded: {}", plugin.stderr());
    wait_dead(&disturbed, Duration::from_secs(10)).unwrap();
    assert!(started.elapsed() < Duration::from_millis(3300), "noticed after {:?}", started.elapsed());
    plugin.wait_first_data().unwrap();
    plugin.stop().unwrap().stderr
}

#[test]
fn a_worker_that_is_stopped_while_it_loads_is_noticed_too() {
    let log = disturb_while_it_loads(|pid| kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP).unwrap());
    assert!(log.contains("ended: it was stopped for 2."), "{log}");
}

#[test]
fn a_worker_that_runs_in_circles_while_it_loads_is_noticed_too() {
    let log = disturb_while_it_loads(|pid| Held::new(pid).unwrap().spin().unwrap());
    assert!(
        log.contains("ended: it took too much CPU time for a step of its start; signal: SIGVTALRM"),
        "{log}"
    );
}

/// Both programs, and the worker of one is killed all the time: the other's charts have every second, and no counter of either goes down.
#[test]
fn charts_of_other_workers_miss_no_sample() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let conf = format!("[global]\n    ebpf load mode = return\n[network viewer]\n{SHOW_ALL}\n");
    let setup = Setup { ebpf_conf: Some(conf), ..Setup::new("return", &chaos::process::groups()) };
    // A worker does not tell its module, but its number: the process program's is the first that is started.
    for (victim, others) in [(0, "ebpf.tcp_functions"), (1, "ebpf.file_descriptor")] {
        let mut plugin = Plugin::start_and_wait(&setup).unwrap();
        let both = |output: &Output| {
            ["ebpf.tcp_functions", "ebpf.io"].iter().all(|id| output.charts.contains_key(*id))
        };
        plugin.wait("the charts of both", Duration::from_secs(30), both).unwrap();
        plugin.wait_ticks(1).unwrap();
        let mut pids = workers(plugin.pid()).unwrap();
        assert_eq!(pids.len(), 2);
        pids.sort_unstable();
        let other = pids[1 - victim];
        let (started, from) = (Instant::now(), plugin.output());
        let (mut killed, mut chance) = (0, chaos::Chance::new(seed()));
        while started.elapsed() < Duration::from_secs(number("EBPF_CHAOS_SECONDS", 8)) {
            Load::run(directory.path(), "ebpft_chaos", "open=7 read=11:100 sleep_ms=5").unwrap();
            for pid in workers(plugin.pid()).unwrap().into_iter().filter(|&pid| pid != other) {
                killed += usize::from(kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).is_ok());
            }
            thread::sleep(Duration::from_millis(chance.below(400)));
        }
        plugin.wait_ticks(1).unwrap();
        assert!(workers(plugin.pid()).unwrap().contains(&other), "the other worker has ended, too");
        let finished = plugin.stop().unwrap();
        let mut faults = finished.output.counter_faults();
        let module = finished.output.charts[others].line.module.clone();
        let mut charts = 0;
        for (id, chart) in finished.output.charts.iter().filter(|(_, chart)| chart.line.module == module) {
            let Some(before) = from.charts.get(id).map(|chart| chart.blocks.len()) else { continue };
            charts += 1;
            // The first after what was seen ends an interval that had begun before. A group that is new is announced with zeros, and its values
            // follow at once.
            let passed = chart.blocks[before + 1..].iter().filter_map(|block| block.microseconds);
            let samples: Vec<u64> = passed.filter(|&passed| passed > 1000).collect();
            let late: Vec<u64> =
                samples.iter().copied().filter(|passed| !(500_000..1_500_000).contains(passed)).collect();
            let (seen, seconds) = (samples.len() + 1, started.elapsed().as_secs() as usize);
            if !late.is_empty() || seen + 1 < seconds {
                faults.push(format!("{id}: {seen} samples in {seconds} s, late by µs: {late:?}"));
            }
        }
        eprintln!("{killed} workers beside {module} ended, {charts} charts of it have every second");
        assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), finished.stderr);
        assert!(killed > 5 && charts > 5, "{killed} killed, {charts} charts");
    }
}

#[test]
fn nothing_remains_of_killed_supervisors() {
    let _alone = alone().unwrap();
    let before = Residue::now().unwrap();
    let mut chance = chaos::Chance::new(seed());
    for round in 0..number("EBPF_CHAOS_SUPERVISORS", 8) {
        let setup = Setup::new("return", &chaos::process::groups());
        let plugin = if round % 2 == 0 {
            Plugin::start_and_wait(&setup).unwrap()
        } else {
            let plugin = Plugin::start(&setup).unwrap();
            thread::sleep(Duration::from_millis(chance.below(800)));
            plugin
        };
        let mut all = children(plugin.pid()).unwrap();
        all.extend(workers(plugin.pid()).unwrap());
        plugin.signal(Signal::SIGKILL).unwrap();
        wait_dead(&all, STOP_LIMIT).unwrap();
        plugin.finish(STOP_LIMIT).unwrap();
        before.wait_gone(STOP_LIMIT).unwrap();
    }
}

#[test]
fn workers_of_the_network_viewer_end() {
    chaos(|| chaos::network::run("ebpf load mode = return", plan(15)));
}
