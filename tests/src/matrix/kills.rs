//! Starts the plugin and kills it, over and over: what the kernel keeps afterwards must be what it kept before.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::cell::{Cell, Twist};
use super::line::{Line, Outcome};
use super::log;
use super::round::START_LIMIT;
use crate::plugin::Plugin;
use crate::system::{processes, wait_until};

/// The kernel takes each fexit, fentry and kprobe away with grace periods of its own, one after the other, while the killed
/// worker ends: tenths of a second for each of some forty functions (6.12: up to 15 s, on an emulated CPU; more on a busy machine).
const FREE_LIMIT: Duration = Duration::from_secs(180);
const STRATEGIES: [&str; 3] = ["trampoline", "tracepoint", "probe"];

/// Kills the plugin `count` times while it counts by `strategy`: every second time as soon as it counts, else during its start,
/// at moments spread over the time that a start takes.
///
/// Needs tracefs and debugfs at their usual places. Fails when a start fails; what is left over is an outcome.
pub fn run(kernel: &str, strategy: &str, count: usize) -> Result<Line> {
    let strategy = STRATEGIES.into_iter().find(|known| *known == strategy);
    let strategy = strategy.with_context(|| format!("a strategy is one of {STRATEGIES:?}"))?;
    let cell = Cell { strategy, format: "default", mode: "return", apps: true, twist: Twist::None };
    let before = Kept::now()?;
    let mut start_time = Duration::from_millis(500);
    let (mut was_full, mut longest) = (false, Duration::ZERO);
    let mut outcome = Outcome::Exact;
    for number in 0..count {
        let plugin = Plugin::start(&cell.setup("")).context(strategy)?;
        if number % 2 == 0 {
            start_time = wait_counting(&plugin)?;
            was_full |= Kept::now()?.beyond(&before).len() > 3;
        } else {
            sleep(start_time.mul_f64(number as f64 / count as f64));
        }
        plugin.signal(Signal::SIGKILL)?;
        let killed = Instant::now();
        drop(plugin);
        let mut left = Vec::new();
        let gone = wait_until("everything to be gone", FREE_LIMIT, || {
            left = Kept::now()?.beyond(&before);
            Ok(left.is_empty())
        });
        if gone.is_err() {
            outcome = Outcome::Wrong(format!("after kill {}: left behind: {}", number + 1, left.join(", ")));
            break;
        }
        longest = longest.max(killed.elapsed());
        if (number + 1) % 10 == 0 {
            eprintln!("kernel-cells: {strategy}: {} of {count} kills", number + 1);
        }
    }
    eprintln!(
        "kernel-cells: {strategy}: start {:.1} s, all gone after at most {:.2} s",
        start_time.as_secs_f64(),
        longest.as_secs_f64()
    );
    if !was_full && outcome == Outcome::Exact {
        outcome = Outcome::Wrong("the plugin attached nothing, so nothing was tested".to_owned());
    }
    Ok(Line {
        kernel: kernel.to_owned(),
        cell: format!("{strategy}, return, apps"),
        event: format!("kernel as before after {count} starts and SIGKILLs"),
        hook: "-".to_owned(),
        outcome,
    })
}

/// Waits until the plugin says that it counts; returns how long that took.
fn wait_counting(plugin: &Plugin) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let said = log::read(&plugin.stderr());
        if said.counts() {
            return Ok(start.elapsed());
        }
        if said.is_decided() || start.elapsed() > START_LIMIT {
            bail!("it does not count; its log:\n{}", plugin.stderr());
        }
        sleep(Duration::from_millis(5));
    }
}

/// What the kernel keeps for eBPF programs, and our processes.
struct Kept(BTreeSet<String>);

impl Kept {
    fn now() -> Result<Kept> {
        let mut kept = BTreeSet::new();
        for (kind, command) in [("program", ids::PROGRAMS), ("map", ids::MAPS), ("link", ids::LINKS)] {
            kept.extend(ids::all(command)?.into_iter().map(|id| format!("{kind} {id}")));
        }
        for file in ["/sys/kernel/tracing/kprobe_events", "/sys/kernel/debug/kprobes/list"] {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
            // The address of a probe is enough to know it by, and the list may show one several times.
            kept.extend(text.lines().zip(1..).map(|(line, number)| format!("{file} {number}: {line}")));
        }
        let ours = processes()?
            .into_values()
            .filter(|process| ["ebpf-launcher", "ebpf-worker"].contains(&process.comm.as_str()));
        kept.extend(ours.map(|process| format!("process {}", process.pid)));
        Ok(Kept(kept))
    }

    /// What is here and was not there in `before`.
    fn beyond(&self, before: &Kept) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// Ids of eBPF objects, by bpf(2): quicker than a program that lists them.
mod ids {
    use std::io;

    use anyhow::{Context, Result};
    use nix::libc;

    /// BPF_PROG_GET_NEXT_ID of `include/uapi/linux/bpf.h`.
    pub const PROGRAMS: libc::c_long = 11;
    /// BPF_MAP_GET_NEXT_ID.
    pub const MAPS: libc::c_long = 12;
    /// BPF_LINK_GET_NEXT_ID (5.8).
    pub const LINKS: libc::c_long = 31;

    /// The part of `union bpf_attr` that these commands use.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        start_id: u32,
        next_id: u32,
        open_flags: u32,
    }

    /// All ids of a kind.
    pub fn all(command: libc::c_long) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut attributes = Attributes::default();
        loop {
            let size = size_of::<Attributes>();
            // SAFETY: the kernel reads and writes `size` bytes at the pointer, which is that of a live value of that
            // size, laid out as the commands want it.
            let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attributes, size) };
            if result != 0 {
                let error = io::Error::last_os_error();
                // ENOENT: that was the last one.
                return match error.raw_os_error() {
                    Some(libc::ENOENT) => Ok(ids),
                    _ => Err(error).context("cannot list eBPF objects; this needs root"),
                };
            }
            ids.push(attributes.next_id);
            attributes.start_id = attributes.next_id;
        }
    }
}
