//! One module in the supervisor: its worker, what the workers have attached and counted, and its charts.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use launcher::Ended;
use launcher::client::Launcher;
use launcher::packets::Received;
use shared::apps::ProcessTable;
use shared::host::{HostFacts, explain_text};
use shared::snapshot::Snapshot;
use shared::table::Table;
use shared::wire::{
    self, Adoption, Inventory, LogLevel, Plan, PlannedEvent, StartOrder, ToSupervisor, ToWorker,
};

use crate::canary::{self, Canary};
use crate::chart::{Chart, Charts};
use crate::events::Event;
use crate::log;
use crate::memory;
use crate::totals::Totals;
use crate::viewer::Viewer;
use crate::worker::{History, State, Worker, next_number};

/// Workers that may fail in taking over, one after the other, before everything is attached anew.
const ADOPTION_FAILURES: u32 = 4;

/// Lines for the log that a worker may send at first, and how many more for each snapshot that it is asked for.
const LOG_LINES: u32 = 100;
const LOG_LINES_MORE: u32 = 2;

/// Most characters of a line that a worker sends.
const LOG_LINE_LENGTH: usize = 4000;

/// A module that is switched on.
#[derive(Debug)]
pub struct Module {
    table: Table,
    order: StartOrder,
    worker: Worker,
    /// Descriptors that the present worker has sent and not explained yet.
    arrived: Vec<OwnedFd>,
    /// What the workers have attached; it stays so as long as this is held.
    held: Option<Held>,
    log_lines: u32,
    totals: Totals,
    charts: Option<Charts>,
    /// Draws traffic by peer and by port; `None` for modules that count none, or are told not to.
    viewer: Option<Viewer>,
    /// There are totals that are not drawn yet.
    fresh: bool,
    /// Looks whether everything is counted, after each attachment and hourly.
    canary: Option<Canary>,
    canary_period: Duration,
    /// What was found on this host: for the causes of failures.
    facts: Arc<HostFacts>,
}

/// Everything that keeps a module's programs attached, for the next worker.
#[derive(Debug)]
struct Held {
    descriptors: Vec<OwnedFd>,
    inventory: Inventory,
    /// Workers that failed in taking it over, one after the other.
    failures: u32,
}

impl Module {
    /// Starts the first worker of a module. `groups`: number of application groups, 0 without applications.
    pub fn start(
        table: Table,
        order: StartOrder,
        groups: usize,
        launcher: &Launcher,
        events: &Sender<Event>,
        facts: Arc<HostFacts>,
    ) -> Result<Self> {
        let memory = memory::limit(&order);
        let worker = Worker::start(
            launcher,
            &table.worker,
            next_number(),
            History::default(),
            memory,
            &[],
            events.clone(),
        )?;
        let totals = Totals::new(table.counters().count(), groups);
        let module = Module {
            table,
            order,
            worker,
            arrived: Vec::new(),
            held: None,
            log_lines: LOG_LINES,
            totals,
            charts: None,
            viewer: None,
            fresh: false,
            canary: None,
            canary_period: canary::PERIOD,
            facts,
        };
        module.send_first_order();
        Ok(module)
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

    /// Another time between two canaries than an hour; zero: none at all.
    pub fn repeat_canary(&mut self, period: Duration) {
        self.canary_period = period;
    }

    /// Draws flows, too.
    pub fn show_flows(&mut self, viewer: Viewer) {
        self.viewer = Some(viewer);
    }

    /// Whether its worker is still loading for the first time, or its first canary is in the air.
    pub fn is_starting(&self) -> bool {
        self.worker.history().failures == 0
            && (matches!(self.worker.state, State::Starting { .. })
                || self.canary.as_ref().is_some_and(Canary::is_under_way))
    }

    /// Whether it owes a snapshot.
    pub fn is_collecting(&self) -> bool {
        matches!(self.worker.state, State::Ready { owes: Some(_) })
    }

    /// To take over what is held, or else to load.
    fn send_first_order(&self) {
        let order = match &self.held {
            Some(held) => ToWorker::Adopt(Adoption {
                inventory: held.inventory.clone(),
                merged_epoch: self.totals.merged_epoch(),
                baseline: self.totals.baseline().clone(),
            }),
            None => {
                ToWorker::Start(StartOrder { step: self.worker.history().patience(), ..self.order.clone() })
            }
        };
        // One that is gone already is about to be reported.
        if let Err(error) = self.worker.send(&order) {
            log::line(LogLevel::Warning, self.name(), format!("{error:#}"));
        }
    }

    /// Asks for the epoch that ends now, unless the last one is still owed.
    pub fn collect(&mut self, tick: u64, launcher: &Launcher) {
        if matches!(self.worker.state, State::Ready { owes: None }) {
            // If one is started now, this epoch ends before its deeds.
            self.start_canary(launcher);
            self.ask(tick);
        }
    }

    fn ask(&mut self, tick: u64) {
        if !matches!(self.worker.state, State::Ready { owes: None }) {
            return;
        }
        let order = ToWorker::Collect { tick, merged_epoch: self.totals.merged_epoch() };
        if self.worker.send(&order).is_ok() {
            self.worker.owes_snapshot();
            self.log_lines = (self.log_lines + LOG_LINES_MORE).min(LOG_LINES);
        }
    }

    /// Something from the present worker. Returns whether its charts are new. Fails when the worker must end.
    pub fn receive(
        &mut self,
        received: Received,
        processes: Option<&mut ProcessTable>,
        launcher: &Launcher,
    ) -> Result<bool> {
        let result = match received {
            _ if self.worker.state == State::Ending => Ok(false),
            Received::Frame(frame) => self.receive_frame(&frame, processes, launcher),
            Received::Descriptors(more) if self.is_loading() => {
                self.arrived.extend(more);
                Ok(false)
            }
            Received::Descriptors(_) => Err(anyhow::anyhow!("descriptors out of turn")),
        };
        self.worker.permit_next();
        result
    }

    fn receive_frame(
        &mut self,
        frame: &[u8],
        processes: Option<&mut ProcessTable>,
        launcher: &Launcher,
    ) -> Result<bool> {
        match wire::decode(frame)? {
            ToSupervisor::Ready(plan, inventory) if self.is_loading() => {
                self.hold(inventory)?;
                self.ready(&plan, launcher);
                Ok(true)
            }
            ToSupervisor::Adopted
                if matches!(self.worker.state, State::Starting { .. }) && self.held.is_some() =>
            {
                self.worker.state = State::Ready { owes: None };
                let text = format!(
                    "worker {} goes on after epoch {}; nothing was detached",
                    self.worker.number,
                    self.totals.merged_epoch()
                );
                log::line(LogLevel::Info, self.name(), text);
                Ok(false)
            }
            ToSupervisor::Snapshot(snapshot) if self.is_collecting() => {
                let is_new = self.totals.merge(&snapshot, processes)?;
                if is_new {
                    self.fresh = true;
                    if let Some(viewer) = &mut self.viewer {
                        viewer.keep_together(self.canary.as_ref().map(Canary::ports).unwrap_or_default());
                        viewer.add(&snapshot.flows, snapshot.taken_at_ns);
                    }
                }
                self.worker.delivered();
                if let Some(held) = &mut self.held {
                    held.failures = 0;
                }
                if is_new {
                    self.look_for_canary(&snapshot);
                }
                Ok(false)
            }
            ToSupervisor::Log { level, text } => {
                let Some(left) = self.log_lines.checked_sub(1) else { bail!("it floods the log") };
                self.log_lines = left;
                let why = if level == LogLevel::Info { None } else { explain_text(&text, &self.facts) };
                let why = why.map(|told| format!("; {}; {}", told.cause, told.fix)).unwrap_or_default();
                let text: String = text.chars().take(LOG_LINE_LENGTH).collect();
                log::line(level, self.name(), text + &why);
                Ok(false)
            }
            ToSupervisor::Failed { stage, cause, hint } => {
                let cause: String = cause.chars().take(LOG_LINE_LENGTH).collect();
                match explain_text(&cause, &self.facts) {
                    Some(told) => bail!("{stage} failed: {cause}; {}; {}", told.cause, told.fix),
                    None => bail!("{stage} failed: {cause}; {hint}"),
                }
            }
            message => bail!("a message out of turn: {}", kind(&message)),
        }
    }

    /// Whether its worker is one that loads, and has not said yet that it counts.
    fn is_loading(&self) -> bool {
        matches!(self.worker.state, State::Starting { .. }) && self.held.is_none()
    }

    fn hold(&mut self, inventory: Inventory) -> Result<()> {
        let descriptors = std::mem::take(&mut self.arrived);
        if descriptors.len() != inventory.descriptors() {
            bail!("{} descriptors, {} are described", descriptors.len(), inventory.descriptors());
        }
        self.held = Some(Held { descriptors, inventory, failures: 0 });
        Ok(())
    }

    fn ready(&mut self, plan: &Plan, launcher: &Launcher) {
        self.worker.state = State::Ready { owes: None };
        let counted = plan.events.iter().filter(|event| !event.attached.is_empty()).count();
        let text = format!(
            "{} of {} events are counted, {} objects, {} kB of maps",
            counted,
            plan.events.len(),
            plan.flavour,
            plan.map_bytes / 1000,
        );
        log::line(LogLevel::Info, self.name(), text);
        for objects in &plan.passed_over {
            log::line(LogLevel::Info, self.name(), format!("passed over: {objects}"));
        }
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
        let period = self.canary_period;
        self.canary = (!period.is_zero()).then(|| Canary::new(&self.table, plan, mode, apps, period));
        // At once, so that its deeds are behind us when the first interval begins.
        self.collect(0, launcher);
    }

    /// Starts a canary if it is time for one.
    fn start_canary(&mut self, launcher: &Launcher) {
        let Some(canary) = self.canary.as_mut().filter(|canary| canary.is_due()) else { return };
        if let Err(error) = canary.start(launcher) {
            log::line(LogLevel::Warning, self.name(), format!("no canary: {error:#}"));
        }
    }

    fn look_for_canary(&mut self, snapshot: &Snapshot) {
        let Some(canary) = &mut self.canary else { return };
        let (observed, outcome) = (canary.observe(snapshot), canary.outcome());
        match observed {
            Ok(true) => self.ask(0),
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

    /// The worker must end (`at_fault`), or has ended. The next one starts later.
    pub fn lost(&mut self, why: &str, at_fault: bool, launcher: &Launcher) {
        if matches!(self.worker.state, State::Ending | State::BackingOff { .. }) {
            return; // when it said why
        }
        self.canary.iter_mut().for_each(Canary::cancel);
        log::line(LogLevel::Error, self.name(), format!("worker {} is given up: {why}", self.worker.number));
        self.worker.give_up(at_fault, launcher);
        self.arrived.clear();
    }

    /// The worker's channel is closed: everything that it sent has been dealt with.
    pub fn channel_closed(&mut self, why: &str, launcher: &Launcher) {
        self.lost(why, false, launcher);
        self.worker.channel_closed();
    }

    /// The worker's process has ended.
    pub fn process_ended(&mut self, ended: Ended) {
        self.worker.process_ended(ended);
    }

    /// Gives up a worker that is late, buries one that is gone, starts the next when its time has come.
    pub fn tend(&mut self, launcher: &Launcher, events: &Sender<Event>) {
        if self.worker.is_late() {
            let why = if self.is_collecting() { "it owes a snapshot" } else { "it has not started in time" };
            self.lost(why, true, launcher);
        }
        if let Some(burial) = self.worker.bury() {
            log::line(
                LogLevel::Info,
                self.name(),
                format!("worker {} ended: {}", self.worker.number, burial.how),
            );
            if burial.at_fault {
                self.adoption_failed();
            }
        }
        if matches!(self.worker.state, State::BackingOff { until } if Instant::now() >= until) {
            self.start_next(launcher, events);
        }
    }

    /// A worker failed before its first snapshot; if that was not the first, what it took over may be the reason.
    fn adoption_failed(&mut self) {
        let Some(held) = &mut self.held else { return };
        held.failures += 1;
        if held.failures < ADOPTION_FAILURES {
            return;
        }
        let text = format!(
            "{ADOPTION_FAILURES} workers failed to go on with what is attached; all is attached anew, and what was not merged is lost"
        );
        log::line(LogLevel::Error, self.name(), text);
        self.held = None;
        self.totals.attached_anew();
    }

    fn start_next(&mut self, launcher: &Launcher, events: &Sender<Event>) {
        if self.held.is_none() {
            self.totals.attached_anew();
        }
        let held = self.held.as_ref().map_or(&[][..], |held| &held.descriptors);
        let (history, memory) = (self.worker.history(), memory::limit(&self.order));
        let module = &self.table.worker;
        match Worker::start(launcher, module, next_number(), history, memory, held, events.clone()) {
            Ok(worker) => {
                self.worker = worker;
                self.log_lines = LOG_LINES;
                self.send_first_order();
            }
            Err(error) => {
                log::line(LogLevel::Error, self.name(), format!("{error:#}"));
                self.worker.postpone();
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

    /// Asks the worker to end. From here on nothing but the worker keeps its programs attached.
    pub fn stop(&mut self) {
        self.held = None;
        self.arrived.clear();
        self.worker.stop();
    }

    /// Whether probes of this module stay in `kprobe_events` unless the worker removes them.
    pub fn has_kprobe_entries(&self) -> bool {
        let kprobes = self.held.iter().flat_map(|held| &held.inventory.kprobes);
        kprobes.into_iter().any(|kprobe| kprobe.entry.is_some())
    }

    /// Whether the worker's process is gone.
    pub fn is_gone(&self) -> bool {
        self.worker.is_gone()
    }
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
        ToSupervisor::Ready(..) => "Ready",
        ToSupervisor::Adopted => "Adopted",
        ToSupervisor::Tried(_) => "Tried",
        ToSupervisor::Snapshot(_) => "Snapshot",
        ToSupervisor::Log { .. } => "Log",
        ToSupervisor::Failed { .. } => "Failed",
    }
}
