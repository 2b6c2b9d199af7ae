//! The launcher, and the worker of a module: one eBPF module, alone in its own process.
//!
//! Started by the supervisor only, as the launcher, which forks a worker for each module. A worker loads and attaches, or takes over what a worker
//! before it attached; then it answers every `Collect` with the epoch that it closes. It ends with its supervisor, whatever ended that.

mod attached;
mod bpf;
mod canary;
mod channel;
mod drain;
mod flows;
mod handover;
mod hash;
mod join;
mod listening;
mod loader;
mod mapping;
mod privileges;
mod progress;
mod quiescence;
mod realtime;
mod rows;
mod tracefs;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use launcher::confine;
use launcher::server::{self, Job};
use shared::snapshot::{Baseline, Snapshot};
use shared::table::Table;
use shared::wire::{Adoption, LogLevel, Plan, Rights, StartOrder, ToSupervisor, ToWorker, TriedHook};

use attached::Attached;
use channel::Channel;
use drain::Drain;
use loader::{Facts, Kprobe};
use quiescence::Quiescence;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, rendezvous, supervisor] = arguments.as_slice() else { return usage() };
    if mode != launcher::MODE {
        return usage();
    }
    launcher::heap::give_back_large_blocks();
    // What went wrong has been told to the supervisor, if it could be reached; its log is the only one.
    match server::serve(rendezvous, supervisor) {
        Ok(Some(job)) => work(job),
        Ok(None) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "ebpf-worker is started by the supervisor: ebpf-worker {} RENDEZVOUS SUPERVISOR_PID",
        launcher::MODE
    );
    ExitCode::from(2)
}

/// A worker's life, or a canary's.
fn work(job: Job) -> ExitCode {
    if let Some(module) = job.module.strip_prefix(launcher::CANARY) {
        let outcome = canary::run(module, &job.messages);
        // At once: closing what it was given would count as a deed.
        std::process::exit(i32::from(outcome.is_err()));
    }
    let channel = Channel::new(job.orders, job.messages);
    if let Some(why) = job.outside {
        // If the supervisor cannot be told, it is gone.
        let _ = channel.log(LogLevel::Warning, format!("the worker is in no cgroup of its own: {why}"));
    }
    let outcome = match channel.next_order() {
        Ok(Some(ToWorker::Start(order))) => run(&channel, &job.module, &order),
        Ok(Some(ToWorker::Adopt(adoption))) => go_on(&channel, &job.module, &adoption, job.held),
        Ok(Some(ToWorker::TryHooks(order))) => report_hooks(&channel, &job.module, &order),
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(_)) => Err(("start", anyhow::anyhow!("the first order must be to start"))),
        Err(error) => Err(("start", error)),
    };
    let Err((stage, error)) = outcome else { return ExitCode::SUCCESS };
    let (cause, hint) = (format!("{error:#}"), hint(&error).to_owned());
    // If the supervisor cannot be told, it is gone.
    let _ = channel.send(&ToSupervisor::Failed { stage: stage.to_owned(), cause, hint });
    // At once: an orderly end would take away what the next worker goes on with.
    std::process::exit(1)
}

/// For `--check --hooks`.
fn report_hooks(channel: &Channel, module: &str, order: &StartOrder) -> Result<(), Failure> {
    let tried = try_hooks(module, order).map_err(|error| ("try the hooks", error))?;
    channel.send(&ToSupervisor::Tried(tried)).map_err(|error| ("try the hooks", error))
}

fn try_hooks(module: &str, order: &StartOrder) -> Result<Vec<TriedHook>> {
    let mut table = Table::of_worker(module)?;
    if let Some(text) = &order.hook_overrides {
        table.replace_hooks(text)?;
    }
    let facts = Facts::gather(&order.btf_path)?;
    Ok(loader::try_every_hook(&table, order, &facts))
}

/// An error, and what was being done.
type Failure = (&'static str, anyhow::Error);

fn run(channel: &Channel, module: &str, order: &StartOrder) -> Result<(), Failure> {
    let (attached, mut drain) = start(channel, module, order).map_err(|error| ("start", error))?;
    serve(channel, &attached, &mut drain, &Baseline::default()).map_err(|error| ("count", error))
}

/// Loads and attaches, and hands over what another worker would need.
fn start(channel: &Channel, module: &str, order: &StartOrder) -> Result<(Attached, Drain)> {
    let mut table = Table::of_worker(module)?;
    if let Some(text) = &order.hook_overrides {
        table.replace_hooks(text)?;
    }
    progress::step(order.step);
    let facts = Facts::gather(&order.btf_path)?;
    let loaded = loader::load(&table, order, &facts)?;
    let quiescence = Quiescence::new(facts.btf.is_some())
        .context("cannot make the maps that wait for running programs")?;
    let (silent, realtime) = (loaded.may_lose_returns_silently(), loaded.may_be_preempted);
    let (attached, mut plan, maps) = loaded.into_descriptors()?;
    if realtime {
        enter_realtime(channel)?;
    }
    let drain = Drain::new(maps, quiescence)?;
    report_losses(channel, &table, &plan)?;
    if silent {
        let text = "results are taken by kretprobes, which lose some when many threads wait in a call; this kernel does not tell how many";
        channel.log(LogLevel::Warning, text.to_owned())?;
    }
    progress::end();
    plan.rights = Some(give_up_privileges(channel, &attached, &drain)?);
    let (maps, quiescence) = drain.maps();
    let (inventory, descriptors) = handover::hand_over(maps, quiescence, &attached, realtime);
    channel.hand_over(&descriptors)?;
    drop(descriptors);
    channel.send(&ToSupervisor::Ready(plan, inventory))?;
    Ok((attached, drain))
}

fn go_on(
    channel: &Channel,
    module: &str,
    adoption: &Adoption,
    held: Vec<std::os::fd::OwnedFd>,
) -> Result<(), Failure> {
    let (attached, mut drain) =
        adopt(channel, module, adoption, held).map_err(|error| ("take over", error))?;
    serve(channel, &attached, &mut drain, &adoption.baseline).map_err(|error| ("count", error))
}

fn adopt(
    channel: &Channel,
    module: &str,
    adoption: &Adoption,
    held: Vec<std::os::fd::OwnedFd>,
) -> Result<(Attached, Drain)> {
    let counters = Table::of_worker(module)?.counters().count();
    let (attached, maps, quiescence) = handover::take_over(&adoption.inventory, held, counters)?;
    // Before any map is touched.
    if adoption.inventory.realtime {
        enter_realtime(channel)?;
    }
    let drain = Drain::adopt(maps, quiescence, adoption.merged_epoch, &adoption.baseline)?;
    give_up_privileges(channel, &attached, &drain)?;
    channel.send(&ToSupervisor::Adopted)?;
    Ok((attached, drain))
}

fn enter_realtime(channel: &Channel) -> Result<()> {
    let Err(refusal) = realtime::enter() else { return Ok(()) };
    let text = format!(
        "this kernel may preempt the worker, so that others' events are skipped and drawn as such: {refusal}"
    );
    channel.log(LogLevel::Info, text)
}

/// Returns what is left.
fn give_up_privileges(channel: &Channel, attached: &Attached, drain: &Drain) -> Result<Rights> {
    let works = || drain.try_maps().and_then(|()| attached.try_programs());
    let mut rights = Rights::default();
    if let Some(refusal) = privileges::drop_all(works)? {
        rights.why = refusal.to_string();
        rights.kept = privileges::held().context("cannot read the capabilities")?;
        let text = format!("the worker keeps its capabilities, as this kernel wants them: {refusal}");
        channel.log(LogLevel::Info, text)?;
    }
    match confine::worker(attached.kprobes.iter().any(Kprobe::has_entry)) {
        Ok(()) => rights.seccomp = true,
        Err(error) => {
            channel.log(LogLevel::Warning, format!("the worker may make every system call: {error:#}"))?;
        }
    }
    Ok(rights)
}

fn serve(channel: &Channel, attached: &Attached, drain: &mut Drain, baseline: &Baseline) -> Result<()> {
    let (mut recursion, mut kretprobe) =
        (Misses::since(baseline.recursion), Misses::since(baseline.kretprobe));
    while let Some(order) = channel.next_order()? {
        match order {
            ToWorker::Collect { merged_epoch, .. } => {
                let mut snapshot = drain.collect(merged_epoch)?;
                recursion.split(&snapshot, attached.recursion_misses());
                kretprobe.split(&snapshot, attached.kretprobe_misses());
                snapshot.missed.recursion = recursion.in_epoch;
                snapshot.missed.kretprobe = kretprobe.in_epoch;
                snapshot.baseline.recursion = recursion.reported;
                snapshot.baseline.kretprobe = kretprobe.reported;
                channel.send(&ToSupervisor::Snapshot(snapshot))?;
            }
            ToWorker::Shutdown => break,
            ToWorker::Start(_) | ToWorker::Adopt(_) | ToWorker::TryHooks(_) => {
                bail!("an order to start, after the start")
            }
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
    /// `reported`: what earlier epochs have told already.
    fn since(reported: u64) -> Self {
        Misses { reported, ..Misses::default() }
    }

    fn split(&mut self, snapshot: &Snapshot, total: u64) {
        if snapshot.epoch != self.epoch {
            let in_epoch = total.saturating_sub(self.reported);
            *self = Misses { reported: total, epoch: snapshot.epoch, in_epoch };
        }
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
