//! What many connections and many peers cost, on this machine: CPU time of a known load with the plugin and without, in turns, and the plugin's own
//! CPU time and memory meanwhile. Prints Markdown; `tools/bench network` runs it.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};
use tests::network::pair::{Pair, Place, groups, names};
use tests::plugin::{Plugin, SHOW_ALL, Setup, only_network};
use tests::system::{alone, children};

/// Name of the load, its words as `load/netload.c` knows them, and how many times the operation is done.
const LOADS: [(&str, &str, u64); 2] = [
    ("100,000 connections to one server, 3 bytes each", "short=100000:3:4", 100_000),
    ("20,000 peers, 5 datagrams to each", "udp_peers=20000:5:4", 100_000),
];

/// Pairs of runs, without and with the plugin; the median counts.
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let _alone = alone()?;
    println!("| load | CPU time of the load, bare | with the plugin | ratio | supervisor | workers |");
    println!("|---|---:|---:|---:|---:|---:|");
    let mut memory = Vec::new();
    for (name, words, operations) in LOADS {
        let mut rounds = (0..ROUNDS).map(|_| round(words, &mut memory)).collect::<Result<Vec<Round>>>()?;
        rounds.sort_by(|one, other| one.ratio().total_cmp(&other.ratio()));
        let median = &rounds[ROUNDS / 2];
        let each = |seconds: f64| format!("{:.2} µs", seconds * 1e6 / operations as f64);
        println!(
            "| {name} | {} | {} | **{:.3}** | {} | {} |",
            each(median.bare),
            each(median.counted),
            median.ratio(),
            each(median.supervisor),
            each(median.workers)
        );
    }
    println!("\n{}", memory.pop().context("nothing was measured")?);
    Ok(())
}

/// CPU times of one pair of runs, in seconds.
struct Round {
    bare: f64,
    counted: f64,
    supervisor: f64,
    workers: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.counted / self.bare
    }
}

fn round(words: &str, memory: &mut Vec<String>) -> Result<Round> {
    let bare = run(words)?;
    let conf = only_network("ebpf load mode = return", &SHOW_ALL.replace("100000", "500"));
    let setup = Setup { ebpf_conf: Some(conf), ..Setup::new("return", &groups(&["nett"])) };
    let mut plugin = Plugin::start_and_wait(&setup)?;
    let before = Plugins::now(&plugin)?;
    let counted = run(words)?;
    plugin.wait_ticks(2)?;
    let after = Plugins::now(&plugin)?;
    let [server, client] = names("nett");
    let output = plugin.output();
    let seen: i64 =
        [server, client].iter().map(|group| output.total("apps.bandwidth_sent", group).abs()).sum();
    ensure!(seen > 0, "the plugin did not see the load; its log:\n{}", plugin.stderr());
    memory.push(format!(
        "Memory at the end of the second load: supervisor {} MB, worker {} MB, of which file mappings are shared; {} of maps.",
        after.supervisor_kb / 1000,
        after.workers_kb / 1000,
        maps(&plugin.stderr())
    ));
    plugin.stop()?;
    Ok(Round {
        bare,
        counted,
        supervisor: after.supervisor - before.supervisor,
        workers: after.workers - before.workers,
    })
}

/// Runs the load; returns its CPU time in seconds, what the kernel did for it included.
fn run(words: &str) -> Result<f64> {
    let directory = tempfile::tempdir()?;
    let before = used()?;
    Pair::run(directory.path(), "nett", &Place::loopback(21000), words)?;
    Ok(used()? - before)
}

/// CPU time of the children that have ended, in seconds; the plugin is none of them until its round is over.
fn used() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// CPU seconds and resident memory of a plugin's processes.
struct Plugins {
    supervisor: f64,
    workers: f64,
    supervisor_kb: u64,
    workers_kb: u64,
}

impl Plugins {
    fn now(plugin: &Plugin) -> Result<Plugins> {
        let mut all = Plugins {
            supervisor: cpu(plugin.pid())?,
            workers: 0.0,
            supervisor_kb: resident_kb(plugin.pid())?,
            workers_kb: 0,
        };
        for launcher in children(plugin.pid())? {
            for worker in children(launcher)? {
                all.workers += cpu(worker)?;
                all.workers_kb += resident_kb(worker)?;
            }
        }
        Ok(all)
    }
}

/// utime and stime of `/proc/PID/stat`, in seconds.
fn cpu(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = text.rsplit_once(") ").context("no fields")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
    Ok(ticks as f64 / per_second as f64)
}

fn resident_kb(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}

/// What the log says of the maps.
fn maps(log: &str) -> String {
    let line = log.lines().find_map(|line| line.split_once(" objects, ").map(|(_, rest)| rest));
    line.and_then(|rest| rest.split_once(" of maps"))
        .map_or_else(|| "?".to_owned(), |(size, _)| size.to_owned())
}
