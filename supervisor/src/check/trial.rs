//! The proof: workers attach, side by side as in the plugin, count a canary each, tell what they attached, and end.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::Result;
use launcher::Ended;
use launcher::client::Launcher;
use launcher::packets::Received;
use shared::table::Table;
use shared::wire::{self, Plan, StartOrder, ToSupervisor, ToWorker, TriedHook};

use crate::canary::{self, Canary, Outcome};
use crate::events::Event;
use crate::memory;
use crate::worker::next_number;
use crate::worker::{History, Worker};

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

/// What happens to the workers on trial; what comes from one while another is waited for is kept.
#[derive(Debug)]
pub struct Happenings {
    events: Receiver<Event>,
    kept: VecDeque<Event>,
}

impl Happenings {
    /// From the queue of the main loop.
    pub fn new(events: Receiver<Event>) -> Self {
        Happenings { events, kept: VecDeque::new() }
    }

    /// The next event of this worker, or one that is of no worker; `None` when there is none for a while.
    fn next(&mut self, worker: &Worker, patience: Duration) -> Option<Event> {
        let deadline = Instant::now() + patience;
        // One thing is dealt with at a time: what was returned last is.
        worker.permit_next();
        loop {
            let is_its_own = |event: &Event| worker_of(event).is_none_or(|number| number == worker.number);
            let event = match self.kept.iter().position(is_its_own).and_then(|at| self.kept.remove(at)) {
                Some(event) => event,
                None => self.events.recv_timeout(deadline.checked_duration_since(Instant::now())?).ok()?,
            };
            match &event {
                _ if !is_its_own(&event) => self.kept.push_back(event),
                Event::Packet { received: Received::Descriptors(_), .. } => worker.permit_next(),
                _ => return Some(event),
            }
        }
    }
}

/// The worker that an event is about.
fn worker_of(event: &Event) -> Option<u64> {
    match event {
        Event::Packet { worker, .. } | Event::Closed { worker, .. } | Event::Ended(Ended { worker, .. }) => {
            Some(*worker)
        }
        Event::Stop(_) => None,
    }
}

fn start(launcher: &Launcher, table: &Table, order: &StartOrder, sender: &Sender<Event>) -> Result<Worker> {
    let (number, memory) = (next_number(), memory::limit(order));
    Worker::start(launcher, &table.worker, number, History::default(), memory, &[], sender.clone())
}

/// Waits for the end of a worker that was asked to end, and ends it when it has not within `patience`.
fn wait_for_end(worker: &Worker, launcher: &Launcher, events: &mut Happenings, patience: Duration) {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        match events.next(worker, Duration::from_millis(100)) {
            Some(Event::Ended(_)) => return,
            // Its process is on its way out; the launcher would look for that now and then only.
            Some(Event::Closed { .. }) => launcher.kill(worker.number),
            _ => {}
        }
    }
    launcher.kill(worker.number);
}

/// Starts the worker of each table by its order, all at once; waits until each has attached or given up, lets a canary fly for each, and ends
/// them.
pub fn try_modules(
    launcher: &Launcher,
    modules: &[(Table, StartOrder)],
    sender: &Sender<Event>,
    events: &mut Happenings,
) -> Result<Vec<Trial>> {
    let mut workers = Vec::new();
    for (table, order) in modules {
        let worker = start(launcher, table, order, sender)?;
        worker.send(&ToWorker::Start(order.clone()))?;
        workers.push(worker);
    }
    let mut plans = Vec::new();
    for worker in &workers {
        plans.push(wait_for_plan(worker, events)?);
    }
    let mut trials = Vec::new();
    for ((worker, plan), (table, order)) in workers.iter().zip(plans).zip(modules) {
        trials.push(match plan {
            Ok(plan) => {
                let canary = fly_twice(worker, launcher, table, order, &plan, events);
                Trial::Attached(plan, canary.map_err(|error| format!("{error:#}")))
            }
            Err(why) => Trial::Failed(why),
        });
    }
    workers.iter_mut().for_each(Worker::stop);
    for worker in &workers {
        wait_for_end(worker, launcher, events, Duration::from_secs(2));
    }
    Ok(trials)
}

/// Starts a worker of `table` that only tries every hook.
pub fn try_hooks(
    launcher: &Launcher,
    table: &Table,
    order: &StartOrder,
    sender: &Sender<Event>,
    events: &mut Happenings,
) -> Result<Vec<TriedHook>> {
    let mut worker = start(launcher, table, order, sender)?;
    let deadline = Instant::now() + PATIENCE;
    worker.send(&ToWorker::TryHooks(order.clone()))?;
    while Instant::now() < deadline {
        match events.next(&worker, Duration::from_millis(100)) {
            Some(Event::Packet { received: Received::Frame(bytes), .. }) => {
                if let ToSupervisor::Tried(tried) = wire::decode(&bytes)? {
                    worker.stop();
                    wait_for_end(&worker, launcher, events, Duration::from_secs(5));
                    return Ok(tried);
                }
            }
            Some(Event::Ended(ended)) => anyhow::bail!("the worker ended: {}", ended.how),
            Some(Event::Stop(reason)) => anyhow::bail!("{reason}"),
            _ => {}
        }
    }
    anyhow::bail!("the worker has not tried its hooks within {} s", PATIENCE.as_secs())
}

/// The worker's plan, or why there is none.
fn wait_for_plan(worker: &Worker, events: &mut Happenings) -> Result<Result<Plan, String>> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let Some(event) = events.next(worker, Duration::from_millis(100)) else { continue };
        match event {
            Event::Packet { received: Received::Frame(bytes), .. } => match wire::decode(&bytes)? {
                ToSupervisor::Ready(plan, _) => return Ok(Ok(plan)),
                ToSupervisor::Failed { cause, .. } => return Ok(Err(cause)),
                _ => {}
            },
            Event::Ended(ended) => return Ok(Err(format!("the worker ended: {}", ended.how))),
            Event::Stop(reason) => return Ok(Err(reason)),
            Event::Packet { .. } | Event::Closed { .. } => {}
        }
    }
    Ok(Err(format!("the worker has not attached within {} s", PATIENCE.as_secs())))
}

/// A second canary where the first was not counted whole, or not possible: on kernels that preempt programs, or that lose events by chance, and
/// on hosts that are busy, one may be unlucky. What is wrong is wrong each time.
fn fly_twice(
    worker: &Worker,
    launcher: &Launcher,
    table: &Table,
    order: &StartOrder,
    plan: &Plan,
    events: &mut Happenings,
) -> Result<Option<Outcome>> {
    let mut merged_epoch = 0;
    let first = fly(worker, launcher, table, order, plan, events, &mut merged_epoch);
    if let Ok(outcome) = &first
        && outcome.as_ref().is_none_or(|outcome| outcome.wrong().is_empty())
    {
        return first;
    }
    fly(worker, launcher, table, order, plan, events, &mut merged_epoch).or(first)
}

/// Closes epochs after `merged_epoch`, and looks for the canary in them; `None` for a module without one.
fn fly(
    worker: &Worker,
    launcher: &Launcher,
    table: &Table,
    order: &StartOrder,
    plan: &Plan,
    events: &mut Happenings,
    merged_epoch: &mut u64,
) -> Result<Option<Outcome>> {
    let mut canary = Canary::new(table, plan, order.load_mode, order.apps, canary::PERIOD);
    if !canary.is_due() {
        return Ok(None);
    }
    canary.start(launcher)?;
    let deadline = Instant::now() + CANARY_PATIENCE;
    let mut last = None;
    while Instant::now() < deadline {
        worker.send(&ToWorker::Collect { tick: *merged_epoch, merged_epoch: *merged_epoch })?;
        let Some(snapshot) = wait_for_snapshot(events, worker)? else { break };
        *merged_epoch = snapshot.epoch;
        let at_once = canary.observe(&snapshot)?;
        last = canary.seen();
        if let Some(outcome) = canary.outcome() {
            return Ok(Some(outcome));
        }
        if !at_once {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(last)
}

fn wait_for_snapshot(events: &mut Happenings, worker: &Worker) -> Result<Option<shared::snapshot::Snapshot>> {
    loop {
        match events.next(worker, CANARY_PATIENCE) {
            Some(Event::Packet { received: Received::Frame(bytes), .. }) => match wire::decode(&bytes)? {
                ToSupervisor::Snapshot(snapshot) => return Ok(Some(snapshot)),
                ToSupervisor::Failed { cause, .. } => anyhow::bail!("{cause}"),
                _ => {}
            },
            Some(Event::Ended(_)) => anyhow::bail!("the worker ended while it counted"),
            Some(Event::Stop(reason)) => anyhow::bail!("{reason}"),
            Some(_) => {}
            None => return Ok(None),
        }
    }
}
