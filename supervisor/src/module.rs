//! One module in the supervisor: its worker, what it has counted, and its charts.

use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::Instant;

use anyhow::{Result, bail};
use shared::apps::ProcessTable;
use shared::table::Table;
use shared::wire::{self, LogLevel, Plan, PlannedEvent, StartOrder, ToSupervisor, ToWorker};

use crate::chart::{Chart, Charts};
use crate::events::Event;
use crate::log;
use crate::totals::Totals;
use crate::viewer::Viewer;
use crate::worker::{State, Worker};

/// A module that is switched on.
#[derive(Debug)]
pub struct Module {
    table: Table,
    order: StartOrder,
    worker: Worker,
    totals: Totals,
    charts: Option<Charts>,
    /// Draws traffic by peer and by port; `None` for modules that count none, or are told not to.
    viewer: Option<Viewer>,
    /// There are totals that are not drawn yet.
    fresh: bool,
}

impl Module {
    /// Starts the first worker of a module. `groups`: number of application groups, 0 without applications.
    pub fn start(
        table: Table,
        order: StartOrder,
        groups: usize,
        program: &Path,
        events: &Sender<Event>,
    ) -> Result<Self> {
        let worker = Worker::start(program, &table.worker, next_number(), 0, events.clone())?;
        let totals = Totals::new(table.counters().count(), groups);
        Ok(Module { table, order, worker, totals, charts: None, viewer: None, fresh: false })
    }

    /// The module's name.
    pub fn name(&self) -> &str {
        &self.table.module
    }

    /// The number of its present worker.
    pub fn worker_number(&self) -> u64 {
        self.worker.number
    }

    /// Makes groups that have processes already drawn from the start, so that their first burst is not their first value.
    pub fn expect_groups(&mut self, groups: &[shared::apps::GroupId]) {
        groups.iter().for_each(|group| self.totals.expect_group(group.index()));
    }

    /// Draws flows, too.
    pub fn show_flows(&mut self, viewer: Viewer) {
        self.viewer = Some(viewer);
    }

    /// Whether its worker is still loading for the first time.
    pub fn is_starting(&self) -> bool {
        matches!(self.worker.state, State::Starting { .. }) && self.worker.failures_in_a_row() == 0
    }

    /// Whether it owes a snapshot.
    pub fn is_collecting(&self) -> bool {
        matches!(self.worker.state, State::Ready { collecting: true })
    }

    /// The worker arrived: tells it what to do.
    pub fn connected(&mut self, orders: ipc_channel::ipc::IpcBytesSender) {
        self.worker.connected(orders);
        if let Err(error) = self.worker.send(&ToWorker::Start(self.order.clone())) {
            log::line(LogLevel::Warning, self.name(), format!("{error:#}"));
        }
    }

    /// Asks for the epoch that ends now, unless the last one is still owed.
    pub fn collect(&mut self, tick: u64) {
        if !matches!(self.worker.state, State::Ready { collecting: false }) {
            return;
        }
        let order = ToWorker::Collect { tick, merged_epoch: self.totals.merged_epoch() };
        if self.worker.send(&order).is_ok() {
            self.worker.state = State::Ready { collecting: true };
        }
    }

    /// A frame from the present worker. Returns whether its charts are new. Fails when the worker must end.
    pub fn receive(&mut self, frame: &[u8], processes: Option<&mut ProcessTable>) -> Result<bool> {
        match wire::decode(frame)? {
            ToSupervisor::Ready(plan) if matches!(self.worker.state, State::Starting { .. }) => {
                self.ready(&plan);
                Ok(true)
            }
            ToSupervisor::Snapshot(snapshot) if self.is_collecting() => {
                if self.totals.merge(&snapshot, processes)? {
                    self.fresh = true;
                    if let Some(viewer) = &mut self.viewer {
                        viewer.add(&snapshot.flows, snapshot.taken_at_ns);
                    }
                }
                self.worker.delivered();
                Ok(false)
            }
            ToSupervisor::Log { level, text } => {
                log::line(level, self.name(), text);
                Ok(false)
            }
            ToSupervisor::Failed { stage, cause, hint } => bail!("{stage} failed: {cause}; {hint}"),
            message => bail!("a message out of turn: {}", kind(&message)),
        }
    }

    fn ready(&mut self, plan: &Plan) {
        self.worker.state = State::Ready { collecting: false };
        let counted = plan.events.iter().filter(|event| !event.attached.is_empty()).count();
        let text = format!(
            "{} of {} events are counted, {} objects, {} kB of maps",
            counted,
            plan.events.len(),
            plan.flavour,
            plan.map_bytes / 1000,
        );
        log::line(LogLevel::Info, self.name(), text);
        let hooks: Vec<String> =
            plan.events.iter().map(|event| format!("{} {}", event.event, kinds(event))).collect();
        log::line(LogLevel::Info, self.name(), format!("hooks: {}", hooks.join(", ")));
        // A later worker may have a poorer plan; what the agent was told stays.
        if self.charts.is_none() {
            self.charts = Some(Charts::new(&self.table, self.order.load_mode, plan, self.order.apps));
            if let Some(viewer) = &mut self.viewer {
                viewer.announce(&self.table, self.order.load_mode, plan);
            }
        }
    }

    /// The worker's channel is closed, or the worker must end: buries it. The next one starts later.
    pub fn lost(&mut self, why: &str) {
        if matches!(self.worker.state, State::BackingOff { .. }) {
            return; // buried already, when it said why
        }
        let end = self.worker.bury();
        log::line(
            LogLevel::Error,
            self.name(),
            format!("worker {} ended ({end}): {why}", self.worker.number),
        );
    }

    /// Starts the next worker when its time has come, and notices one that never arrived.
    pub fn tend(&mut self, program: &Path, events: &Sender<Event>) {
        if let State::Starting { until } = self.worker.state {
            // One that died before it arrived is reported by its thread.
            if !self.worker.died_before_arriving() && Instant::now() >= until {
                self.lost("it has not started in time");
            }
            return;
        }
        let State::BackingOff { until } = self.worker.state else {
            return;
        };
        if Instant::now() < until {
            return;
        }
        let failures = self.worker.failures_in_a_row();
        match Worker::start(program, &self.table.worker, next_number(), failures, events.clone()) {
            Ok(worker) => {
                self.worker = worker;
                self.totals.worker_replaced();
            }
            Err(error) => {
                log::line(LogLevel::Error, self.name(), format!("{error:#}"));
                self.worker.bury();
            }
        }
    }

    /// The charts with the newest totals, if there are any since the last call, or if `always`.
    pub fn draw(&mut self, names: &[String], always: bool) -> Option<[&[Chart]; 2]> {
        if !std::mem::take(&mut self.fresh) && !always {
            return None;
        }
        let charts = self.charts.as_mut()?;
        charts.refresh(&self.totals, names);
        let of_flows = self.viewer.as_mut().map_or(&[][..], Viewer::draw);
        Some([&charts.charts, of_flows])
    }

    /// Ends the worker.
    pub fn stop(&mut self) {
        self.worker.stop(std::time::Duration::from_millis(500));
    }
}

/// A number for each worker that is ever started.
fn next_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Attachments of an event by kind, such as `fexit ×4`.
fn kinds(event: &PlannedEvent) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for attachment in &event.attached {
        let kind = attachment.split(':').next().unwrap_or_default();
        match counts.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((kind, 1)),
        }
    }
    if counts.is_empty() {
        return "none".to_owned();
    }
    counts.iter().map(|(kind, count)| format!("{kind} ×{count}")).collect::<Vec<_>>().join(" + ")
}

fn kind(message: &ToSupervisor) -> &'static str {
    match message {
        ToSupervisor::Ready(_) => "Ready",
        ToSupervisor::Snapshot(_) => "Snapshot",
        ToSupervisor::Log { .. } => "Log",
        ToSupervisor::Failed { .. } => "Failed",
    }
}
