//! Whether the running kernel preempts eBPF programs.
//!
//! A program that is running on a CPU is not started there a second time. Where a task can be preempted inside one (kernels with full or lazy
//! preemption, such as Debian's 7.2), the program is skipped for every other task on that CPU until the first runs again: whole time slices
//! are not counted. The kernel says in debugfs whether it does so; where that cannot be read it is tried: two threads on one CPU make system
//! calls that have a program but count nothing, and the kernel tells how often it skipped one.

use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use shared::symbols::Symbols;

use crate::tracefs;

/// The kernel's models of preemption, the one in force in parentheses (kernel/sched/debug.c; ≥ 5.12 with PREEMPT_DYNAMIC).
const MODELS: &str = "sched/preempt";

/// A hundred ticks at 250 Hz. Each preempts one of the threads, and a good part of their time is spent in the program.
const TRIAL: Duration = Duration::from_millis(400);

/// Preempts what the kernel does when an interrupt ends (kernel/sched/core.c); only kernels that can be preempted have it (CONFIG_PREEMPTION).
const PREEMPTER: &str = "preempt_schedule_irq";

/// Whether this kernel preempts its own code, by what it says, and by whether it has a function for that; `None` when neither tells.
pub fn is_told(symbols: &Symbols) -> Option<bool> {
    preempts(&tracefs::read_debugfs(MODELS).unwrap_or_default()).or_else(|| cannot_preempt(symbols))
}

fn cannot_preempt(symbols: &Symbols) -> Option<bool> {
    (!symbols.is_empty() && symbols.find(PREEMPTER).is_none()).then_some(false)
}

fn preempts(models: &str) -> Option<bool> {
    let (_, rest) = models.split_once('(')?;
    match rest.split_once(')')?.0 {
        "none" | "voluntary" => Some(false),
        "full" | "lazy" => Some(true),
        _ => None,
    }
}

/// Whether programs are skipped while two threads share a CPU. `misses`: how often the kernel has skipped one so far.
///
/// `false` also when the trial cannot be made: then what is skipped is drawn, as ever.
pub fn is_seen(misses: impl Fn() -> u64) -> bool {
    let before = misses();
    let Some(cpu) = own_cpu() else { return false };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| call_often(cpu));
        }
    });
    misses() > before
}

/// A CPU that this process may run on.
fn own_cpu() -> Option<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
    (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap_or(false))
}

fn call_often(cpu: usize) {
    let mut set = CpuSet::new();
    if set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)).is_err() {
        return;
    }
    let end = Instant::now() + TRIAL;
    while Instant::now() < end {
        for _ in 0..1000 {
            // SAFETY: PR_GET_DUMPABLE takes no argument and only answers.
            unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_the_function_cannot_preempt() {
        let symbols = |text| Symbols::parse(text);
        assert_eq!(cannot_preempt(&symbols("0 T schedule\n")), Some(false));
        assert_eq!(cannot_preempt(&symbols("0 T schedule\n0 T preempt_schedule_irq\n")), None);
        assert_eq!(cannot_preempt(&symbols("")), None);
    }

    #[test]
    fn the_model_in_force_stands_in_parentheses() {
        assert_eq!(preempts("none (voluntary) full \n"), Some(false));
        assert_eq!(preempts("full (lazy) \n"), Some(true));
        for unknown in ["", "full lazy", "(", "(later)"] {
            assert_eq!(preempts(unknown), None, "{unknown}");
        }
    }
}
