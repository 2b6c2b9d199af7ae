//! `--check`: what works on this host, why not, and how to fix it.
//!
//! Facts and rules first, then a trial: each worker that the configuration asks for is started, attaches, tells what it could attach, and ends.

use std::fmt::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use shared::host::{Finding, Grade};
use shared::wire::{self, LogLevel, Plan, StartOrder, ToSupervisor, ToWorker};

use crate::events::Event;
use crate::worker::Worker;

/// Longest time for a worker to load and attach; kprobes on a slow machine take some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a module's worker could do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trial {
    /// It attached, as the plan says.
    Attached(Plan),
    /// It could not, and why.
    Failed(String),
}

/// Everything that `--check` tells.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether the plugin can run here.
    pub can_run: bool,
    /// What the facts say.
    pub findings: Vec<Finding>,
    /// What the workers could do, by module.
    pub trials: Vec<(String, Trial)>,
}

impl Report {
    /// Puts facts and trials together: the trial has the last word.
    pub fn new(findings: Vec<Finding>, trials: Vec<(String, Trial)>) -> Self {
        let can_run =
            !trials.is_empty() && trials.iter().all(|(_, trial)| matches!(trial, Trial::Attached(_)));
        Report { can_run, findings, trials }
    }

    /// For people. `quiet`: only what is wrong, so nothing at all where everything works.
    pub fn text(&self, quiet: bool) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out, quiet);
        out
    }

    fn write(&self, out: &mut String, quiet: bool) -> fmt::Result {
        for finding in self.findings.iter().filter(|finding| !quiet || finding.grade == Grade::Bad) {
            let mark = match finding.grade {
                Grade::Good => "ok  ",
                Grade::Note => "note",
                Grade::Bad => "BAD ",
            };
            writeln!(out, "{mark} {:<14} {}", finding.subject, finding.text)?;
            if !finding.fix.is_empty() {
                writeln!(out, "     {:<14} → {}", "", finding.fix)?;
            }
        }
        for (module, trial) in &self.trials {
            write_trial(out, module, trial, quiet)?;
        }
        if !quiet {
            let verdict =
                if self.can_run { "this host can run the plugin" } else { "this host cannot run the plugin" };
            writeln!(out, "{verdict}")?;
        }
        Ok(())
    }
}

fn write_trial(out: &mut String, module: &str, trial: &Trial, quiet: bool) -> fmt::Result {
    let plan = match trial {
        Trial::Failed(cause) => return writeln!(out, "BAD  {module}: {cause}"),
        Trial::Attached(plan) => plan,
    };
    if !quiet {
        writeln!(out, "ok   {module}: {} objects, {} kB of maps", plan.flavour, plan.map_bytes / 1000)?;
    }
    for event in &plan.events {
        if event.attached.is_empty() {
            let reasons = if event.refused.is_empty() {
                "no hook suits the options".to_owned()
            } else {
                event.refused.join("; ")
            };
            writeln!(out, "note {module}/{} is not counted: {reasons}", event.event)?;
        } else if !quiet {
            writeln!(out, "       {:<14} {}", event.event, event.attached.join(" "))?;
            for reason in &event.refused {
                writeln!(out, "       {:<14}   not {reason}", "")?;
            }
        }
    }
    Ok(())
}

/// Starts the worker of `module` by `order`, waits until it has attached or given up, and ends it.
pub fn try_module(
    program: &Path,
    module: &str,
    order: &StartOrder,
    sender: &Sender<Event>,
    events: &Receiver<Event>,
) -> Result<Trial> {
    let mut worker = Worker::start(program, module, 0, 0, sender.clone())?;
    let outcome = wait_for_plan(&mut worker, order, events)?;
    worker.stop(Duration::from_secs(2));
    Ok(outcome)
}

fn wait_for_plan(worker: &mut Worker, order: &StartOrder, events: &Receiver<Event>) -> Result<Trial> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        worker.died_before_arriving();
        let Ok(event) = events.recv_timeout(Duration::from_millis(100)) else { continue };
        match event {
            Event::Connected { orders, .. } => {
                worker.connected(orders);
                worker.send(&ToWorker::Start(order.clone()))?;
            }
            Event::Frame { bytes, .. } => match wire::decode(&bytes)? {
                ToSupervisor::Ready(plan) => return Ok(Trial::Attached(plan)),
                ToSupervisor::Failed { cause, hint, .. } => {
                    return Ok(Trial::Failed(format!("{cause}; {hint}")));
                }
                ToSupervisor::Log { level: LogLevel::Error, text } => return Ok(Trial::Failed(text)),
                ToSupervisor::Log { .. } | ToSupervisor::Snapshot(_) => {}
            },
            Event::Closed { .. } => return Ok(Trial::Failed(format!("the worker ended: {}", worker.bury()))),
            Event::Stop(reason) => return Ok(Trial::Failed(reason)),
        }
    }
    Ok(Trial::Failed(format!("the worker has not attached within {} s", PATIENCE.as_secs())))
}
