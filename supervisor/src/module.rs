//! One module in the supervisor: its worker, what it has counted, and its charts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use anyhow::{Result, bail};
use shared::apps::ProcessTable;
use shared::host::{HostFacts, explain_text};
use shared::snapshot::Snapshot;
use shared::table::Table;
use shared::wire::{self, LogLevel, Plan, PlannedEvent, StartOrder, ToSupervisor, ToWorker};

use crate::canary::Canary;
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
    /// Looks whether everything is counted, after each attachment and hourly.
    canary: Option<Canary>,
    /// What was found on this host: for the causes of failures.
    facts: Arc<HostFacts>,
    /// The worker's program, which is the canary's, too.
    program: PathBuf,
}

impl Module {
    /// Starts the first worker of a module. `groups`: number of application groups, 0 without applications.
    pub fn start(
        table: Table,
        order: StartOrder,
        groups: usize,
        program: &Path,
        events: &Sender<Event>,
        facts: Arc<HostFacts>,
    ) -> Result<Self> {
        let worker = Worker::start(program, &table.worker, next_number(), 0, events.clone())?;
        let totals = Totals::new(table.counters().count(), groups);
        Ok(Module {
            table,
            order,
            worker,
            totals,
            charts: None,
            viewer: None,
            fresh: false,
            canary: None,
            facts,
            program: program.to_owned(),
        })
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

    /// Whether its worker is still loading for the first time, or its first canary is in the air.
    pub fn is_starting(&self) -> bool {
        self.worker.failures_in_a_row() == 0
            && (matches!(self.worker.state, State::Starting { .. })
                || self.canary.as_ref().is_some_and(Canary::is_under_way))
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
        // If one is started now, this epoch ends before its deeds.
        self.start_canary();
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
                let is_new = self.totals.merge(&snapshot, processes)?;
                if is_new {
                    self.fresh = true;
                    if let Some(viewer) = &mut self.viewer {
                        viewer.add(&snapshot.flows, snapshot.taken_at_ns);
                    }
                }
                self.worker.delivered();
                if is_new {
                    self.look_for_canary(&snapshot);
                }
                Ok(false)
            }
            ToSupervisor::Log { level: LogLevel::Info, text } => {
                log::line(LogLevel::Info, self.name(), text);
                Ok(false)
            }
            ToSupervisor::Log { level, text } => {
                let why =
                    explain_text(&text, &self.facts).map(|told| format!("; {}; {}", told.cause, told.fix));
                log::line(level, self.name(), text + &why.unwrap_or_default());
                Ok(false)
            }
            ToSupervisor::Failed { stage, cause, hint } => match explain_text(&cause, &self.facts) {
                Some(told) => bail!("{stage} failed: {cause}; {}; {}", told.cause, told.fix),
                None => bail!("{stage} failed: {cause}; {hint}"),
            },
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
        let (mode, apps) = (self.order.load_mode, self.order.apps);
        self.canary = Some(Canary::new(&self.table, plan, mode, apps));
        // At once, so that its deeds are behind us when the first interval begins.
        self.collect(0);
    }

    /// Starts a canary if it is time for one.
    fn start_canary(&mut self) {
        let Some(canary) = self.canary.as_mut().filter(|canary| canary.is_due()) else { return };
        if let Err(error) = canary.start(&self.program) {
            log::line(LogLevel::Warning, self.name(), format!("no canary: {error:#}"));
        }
    }

    fn look_for_canary(&mut self, snapshot: &Snapshot) {
        let Some(canary) = &mut self.canary else { return };
        let (observed, outcome) = (canary.observe(snapshot), canary.outcome());
        match observed {
            Ok(true) => self.collect(0),
            Ok(false) => {}
            Err(error) => log::line(LogLevel::Warning, self.name(), format!("no canary: {error:#}")),
        }
        let Some(outcome) = outcome else { return };
        let (done, counted) = outcome.operations();
        self.totals.set_canary(done, counted);
        let wrong = outcome.wrong();
        if wrong.is_empty() {
            let text = format!("canary: {counted} of {done} operations of our own were counted");
            log::line(LogLevel::Info, self.name(), text);
        } else {
            let text = format!("canary: {}; run `ebpf.plugin --check`", wrong.join(", "));
            log::line(LogLevel::Warning, self.name(), text);
        }
    }

    /// The worker's channel is closed, or the worker must end: buries it. The next one starts later.
    pub fn lost(&mut self, why: &str) {
        if matches!(self.worker.state, State::BackingOff { .. }) {
            return; // buried already, when it said why
        }
        self.canary = None;
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
        ToSupervisor::Tried(_) => "Tried",
        ToSupervisor::Snapshot(_) => "Snapshot",
        ToSupervisor::Log { .. } => "Log",
        ToSupervisor::Failed { .. } => "Failed",
    }
}
