//! The proof: a worker attaches, counts a canary, tells what it attached, and ends.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::Result;
use shared::table::Table;
use shared::wire::{self, Plan, StartOrder, ToSupervisor, ToWorker, TriedHook};

use crate::canary::{Canary, Outcome};
use crate::events::Event;
use crate::worker::Worker;

/// Longest time for a worker to load and attach; kprobes on a slow machine take some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest wait for what the kernel tells late.
const CANARY_PATIENCE: Duration = Duration::from_millis(1500);

/// Between two looks at the counters.
const PAUSE: Duration = Duration::from_millis(60);

/// What a module's worker could do.
#[derive(Debug)]
pub enum Trial {
    /// It attached, as the plan says; what the canary says, or why it could not be tried.
    Attached(Plan, Result<Option<Outcome>, String>),
    /// It could not, and why.
    Failed(String),
}

/// A number for each worker, so that what one left in the queue is not taken for the next one's.
fn next_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The next event of this worker, or one that is of no worker; `None` when there is none for a while.
fn next_event(events: &Receiver<Event>, number: u64, patience: Duration) -> Option<Event> {
    let deadline = Instant::now() + patience;
    loop {
        let event = events.recv_timeout(deadline.checked_duration_since(Instant::now())?).ok()?;
        match &event {
            Event::Connected { worker, .. } | Event::Frame { worker, .. } | Event::Closed { worker }
                if *worker != number => {}
            _ => return Some(event),
        }
    }
}

/// Starts the worker of `table` by `order`, waits until it has attached or given up, lets a canary fly, and ends it.
pub fn try_module(
    program: &Path,
    table: &Table,
    order: &StartOrder,
    sender: &Sender<Event>,
    events: &Receiver<Event>,
) -> Result<Trial> {
    let mut worker = Worker::start(program, &table.worker, next_number(), 0, sender.clone())?;
    let outcome = wait_for_plan(&mut worker, order, events)?.map(|plan| {
        let canary = fly_twice(&worker, program, table, order, &plan, events);
        Trial::Attached(plan, canary.map_err(|error| format!("{error:#}")))
    });
    worker.stop(Duration::from_secs(2));
    Ok(outcome.unwrap_or_else(Trial::Failed))
}

/// Starts a worker of `table` that only tries every hook.
pub fn try_hooks(
    program: &Path,
    table: &Table,
    order: &StartOrder,
    sender: &Sender<Event>,
    events: &Receiver<Event>,
) -> Result<Vec<TriedHook>> {
    let mut worker = Worker::start(program, &table.worker, next_number(), 0, sender.clone())?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        worker.died_before_arriving();
        match next_event(events, worker.number, Duration::from_millis(100)) {
            Some(Event::Connected { orders, .. }) => {
                worker.connected(orders);
                worker.send(&ToWorker::TryHooks(order.clone()))?;
            }
            Some(Event::Frame { bytes, .. }) => {
                if let ToSupervisor::Tried(tried) = wire::decode(&bytes)? {
                    worker.stop(Duration::from_secs(5));
                    return Ok(tried);
                }
            }
            Some(Event::Closed { .. }) => anyhow::bail!("the worker ended: {}", worker.bury()),
            Some(Event::Stop(reason)) => anyhow::bail!("{reason}"),
            None => {}
        }
    }
    anyhow::bail!("the worker has not tried its hooks within {} s", PATIENCE.as_secs())
}

/// The worker's plan, or why there is none.
fn wait_for_plan(
    worker: &mut Worker,
    order: &StartOrder,
    events: &Receiver<Event>,
) -> Result<Result<Plan, String>> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        worker.died_before_arriving();
        let Some(event) = next_event(events, worker.number, Duration::from_millis(100)) else { continue };
        match event {
            Event::Connected { orders, .. } => {
                worker.connected(orders);
                worker.send(&ToWorker::Start(order.clone()))?;
            }
            Event::Frame { bytes, .. } => match wire::decode(&bytes)? {
                ToSupervisor::Ready(plan) => return Ok(Ok(plan)),
                ToSupervisor::Failed { cause, .. } => return Ok(Err(cause)),
                _ => {}
            },
            Event::Closed { .. } => return Ok(Err(format!("the worker ended: {}", worker.bury()))),
            Event::Stop(reason) => return Ok(Err(reason)),
        }
    }
    Ok(Err(format!("the worker has not attached within {} s", PATIENCE.as_secs())))
}

/// A second canary where the first was not counted whole: on kernels that preempt programs, or that lose events by chance, one may be unlucky.
/// What is wrong is wrong each time.
fn fly_twice(
    worker: &Worker,
    program: &Path,
    table: &Table,
    order: &StartOrder,
    plan: &Plan,
    events: &Receiver<Event>,
) -> Result<Option<Outcome>> {
    let (first, epoch) = fly(worker, program, table, order, plan, events, 0)?;
    if first.as_ref().is_none_or(|outcome| outcome.wrong().is_empty()) {
        return Ok(first);
    }
    fly(worker, program, table, order, plan, events, epoch).map(|(second, _)| second)
}

/// Closes epochs and looks for the canary in them; `None` for a module without one; and the last
/// epoch, after `merged_epoch`.
fn fly(
    worker: &Worker,
    program: &Path,
    table: &Table,
    order: &StartOrder,
    plan: &Plan,
    events: &Receiver<Event>,
    mut merged_epoch: u64,
) -> Result<(Option<Outcome>, u64)> {
    let mut canary = Canary::new(table, plan, order.load_mode, order.apps);
    if !canary.is_due() {
        return Ok((None, merged_epoch));
    }
    canary.start(program)?;
    let deadline = Instant::now() + CANARY_PATIENCE;
    let mut last = None;
    while Instant::now() < deadline {
        worker.send(&ToWorker::Collect { tick: merged_epoch, merged_epoch })?;
        let Some(snapshot) = wait_for_snapshot(events, worker.number)? else { break };
        merged_epoch = snapshot.epoch;
        let at_once = canary.observe(&snapshot)?;
        last = canary.seen();
        if let Some(outcome) = canary.outcome() {
            return Ok((Some(outcome), merged_epoch));
        }
        if !at_once {
            std::thread::sleep(PAUSE);
        }
    }
    Ok((last, merged_epoch))
}

fn wait_for_snapshot(events: &Receiver<Event>, number: u64) -> Result<Option<shared::snapshot::Snapshot>> {
    loop {
        match next_event(events, number, CANARY_PATIENCE) {
            Some(Event::Frame { bytes, .. }) => match wire::decode(&bytes)? {
                ToSupervisor::Snapshot(snapshot) => return Ok(Some(snapshot)),
                ToSupervisor::Failed { cause, .. } => anyhow::bail!("{cause}"),
                _ => {}
            },
            Some(Event::Closed { .. }) => anyhow::bail!("the worker ended while it counted"),
            Some(Event::Stop(reason)) => anyhow::bail!("{reason}"),
            Some(Event::Connected { .. }) => {}
            None => return Ok(None),
        }
    }
}
