//! `ebpf-worker MODULE`: one eBPF module, alone in its own process.
//!
//! Started by the supervisor only, which tells the module's name and where to meet. Loads, attaches, then answers every
//! `Collect` with the epoch that it closes. Ends with its supervisor, whatever ended that.

mod bpf;
mod canary;
mod channel;
mod drain;
mod flows;
mod hash;
mod join;
mod listening;
mod loader;
mod mapping;
mod privileges;
mod quiescence;
mod realtime;
mod rows;
mod tracefs;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use shared::table::Table;
use shared::wire::{LogLevel, Plan, StartOrder, ToSupervisor, ToWorker, TriedHook};

use channel::Channel;
use drain::Drain;
use loader::{Facts, Loaded};
use quiescence::Quiescence;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, module] = arguments.as_slice()
        && word == "canary"
    {
        return if canary::run(module).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let [_, module, rendezvous, supervisor] = arguments.as_slice() else {
        eprintln!("ebpf-worker is started by the supervisor: ebpf-worker MODULE RENDEZVOUS SUPERVISOR_PID");
        return ExitCode::from(2);
    };
    // What went wrong has been told to the supervisor, if it could be reached; its log is the only one.
    if run(module, rendezvous, supervisor).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(module: &str, rendezvous: &str, supervisor: &str) -> Result<()> {
    die_with(supervisor)?;
    let channel = Channel::connect(rendezvous)?;
    let Some(order) = channel.next_order()? else {
        return Ok(());
    };
    if let ToWorker::TryHooks(order) = &order {
        return channel.send(&ToSupervisor::Tried(try_hooks(module, order)?));
    }
    let ToWorker::Start(order) = order else { bail!("the first order must be to start") };
    let outcome = match start(module, &order) {
        Ok((table, loaded, drain)) => {
            serve(&channel, &table, loaded, drain).map_err(|error| ("count", error))
        }
        Err(error) => Err(("start", error)),
    };
    if let Err((stage, error)) = outcome {
        let hint = hint(&error).to_owned();
        channel.send(&ToSupervisor::Failed { stage: stage.to_owned(), cause: format!("{error:#}"), hint })?;
        return Err(error);
    }
    Ok(())
}

/// Ends this process when its supervisor ends, even by SIGKILL.
fn die_with(supervisor: &str) -> Result<()> {
    prctl::set_pdeathsig(Some(Signal::SIGKILL)).context("cannot ask to end with the supervisor")?;
    // It may have ended before the kernel knew our wish.
    if getppid().to_string() != supervisor {
        bail!("the supervisor {supervisor} is gone");
    }
    Ok(())
}

fn start(module: &str, order: &StartOrder) -> Result<(Table, Loaded, Drain)> {
    let mut table = Table::of_worker(module)?;
    if let Some(text) = &order.hook_overrides {
        table.replace_hooks(text)?;
    }
    let facts = Facts::gather(&order.btf_path)?;
    let mut loaded = loader::load(&table, order, &facts)?;
    let quiescence = Quiescence::new(facts.btf.is_some())
        .context("cannot make the maps that wait for running programs")?;
    let maps = loaded.maps.take().context("a module is loaded with its maps")?;
    let drain = Drain::new(maps, quiescence)?;
    Ok((table, loaded, drain))
}

/// For `--check --hooks`.
fn try_hooks(module: &str, order: &StartOrder) -> Result<Vec<TriedHook>> {
    let mut table = Table::of_worker(module)?;
    if let Some(text) = &order.hook_overrides {
        table.replace_hooks(text)?;
    }
    let facts = Facts::gather(&order.btf_path)?;
    Ok(loader::try_every_hook(&table, order, &facts))
}

fn serve(channel: &Channel, table: &Table, loaded: Loaded, mut drain: Drain) -> Result<()> {
    report_losses(channel, table, &loaded.plan)?;
    if loaded.may_lose_returns_silently() {
        let text = "results are taken by kretprobes, which lose some when many threads wait in a call; this kernel does not tell how many";
        channel.log(LogLevel::Warning, text.to_owned())?;
    }
    if loaded.may_be_preempted
        && let Err(refusal) = realtime::enter()
    {
        let text = format!(
            "this kernel may preempt the worker, so that others' events are skipped and drawn as such: {refusal}"
        );
        channel.log(LogLevel::Info, text)?;
    }
    if let Some(refusal) = privileges::drop_all(|| drain.try_maps().and_then(|()| loaded.try_programs()))? {
        channel.log(
            LogLevel::Info,
            format!("the worker keeps its capabilities, as this kernel wants them: {refusal}"),
        )?;
    }
    channel.send(&ToSupervisor::Ready(loaded.plan.clone()))?;
    let (mut recursion, mut kretprobe) = (Misses::default(), Misses::default());
    while let Some(order) = channel.next_order()? {
        match order {
            ToWorker::Collect { merged_epoch, .. } => {
                let mut snapshot = drain.collect(merged_epoch)?;
                snapshot.missed.recursion = recursion.of(snapshot.epoch, loaded.recursion_misses());
                snapshot.missed.kretprobe = kretprobe.of(snapshot.epoch, loaded.kretprobe_misses());
                channel.send(&ToSupervisor::Snapshot(snapshot))?;
            }
            ToWorker::Shutdown => break,
            ToWorker::Start(_) | ToWorker::TryHooks(_) => bail!("an order to start, after the start"),
        }
    }
    Ok(())
}

/// Splits a total that only grows into epochs; an epoch that is sent again keeps its part.
#[derive(Default)]
struct Misses {
    reported: u64,
    epoch: u64,
    in_epoch: u64,
}

impl Misses {
    fn of(&mut self, epoch: u64, total: u64) -> u64 {
        if epoch != self.epoch {
            *self = Misses { reported: total, epoch, in_epoch: total.saturating_sub(self.reported) };
        }
        self.in_epoch
    }
}

/// One line for each event that this kernel does not let us count, or, of those that only tell who is who, hear.
fn report_losses(channel: &Channel, table: &Table, plan: &Plan) -> Result<()> {
    for planned in plan.events.iter().filter(|event| event.attached.is_empty()) {
        let reasons = if planned.refused.is_empty() {
            "no hook suits the options".to_owned()
        } else {
            planned.refused.join("; ")
        };
        let counts =
            table.events.iter().any(|event| event.name == planned.event && !event.counters.is_empty());
        let (level, verb) = if counts { (LogLevel::Warning, "counted") } else { (LogLevel::Info, "heard") };
        channel.log(level, format!("`{}` is not {verb}: {reasons}", planned.event))?;
    }
    Ok(())
}

/// What to do about a failed start.
fn hint(error: &anyhow::Error) -> &'static str {
    let denied = error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    });
    let text = format!("{error:#}");
    if text.contains("Too many open files") {
        return "raise the limit of open files (ulimit -n, LimitNOFILE= of the agent's unit)";
    }
    if denied || text.contains("Operation not permitted") || text.contains("Permission denied") {
        "run as root, or give CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN; look for SELinux denials and at /sys/kernel/security/lockdown"
    } else {
        "run `supervisor --check` to see what this kernel offers"
    }
}
