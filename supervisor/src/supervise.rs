//! The main loop: at every aligned interval asks all workers, waits half an interval at most, prints what came.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use launcher::client::Launcher;
use launcher::packets::Received;
use shared::apps::ProcessTable;

use crate::boundaries::{Boundaries, COLLECTING};
use crate::breaker::Breaker;
use crate::chart::Chart;
use crate::events::{self, Event};
use crate::log;
use crate::module::Module;

/// Longest wait for the workers' first charts before the first interval begins.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How often a worker's end or its next start is looked for while nothing else happens.
const TENDING: Duration = Duration::from_millis(100);

/// Most events that are handled before deadlines are looked at: more than can wait where each worker sends one thing at a time.
const WAITING: u32 = 16;

/// Longest time for workers to end when they are asked to, and then for the launcher to end them.
const END_PATIENCE: Duration = Duration::from_millis(400);
/// The same where probes are entries of `kprobe_events` (kernels before 4.17), which would stay: removing one takes the kernel some grace periods,
/// up to a tenth of a second, and more on an emulated CPU.
const ENTRIES_PATIENCE: Duration = Duration::from_secs(60);

/// Where charts go.
pub trait Output {
    /// Draws charts: those of one module, all with their newest values. Fails when nobody looks any more.
    fn publish(&mut self, charts: &[Chart]) -> io::Result<()>;

    /// Everything of this interval is published.
    fn end_of_interval(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the loop works with.
pub struct Supervisor<O> {
    /// The modules that are switched on.
    pub modules: Vec<Module>,
    /// Decides which group a process belongs to; `None` without applications.
    pub processes: Option<ProcessTable>,
    /// Where charts go.
    pub output: O,
    /// Seconds between two samples.
    pub update_every: Duration,
    /// End after so many intervals.
    pub iterations: Option<u64>,
    /// Starts and ends workers.
    pub launcher: Launcher,
    /// The mark of the first attachment.
    pub breaker: Option<Breaker>,
    /// When to end, where nothing may be attached before.
    pub rest: Option<Instant>,
    /// For new workers.
    pub sender: Sender<Event>,
    /// Everything that happens.
    pub events: Receiver<Event>,
}

/// Why the loop ended.
struct Stop(String);

impl<O: Output> Supervisor<O> {
    /// Runs until somebody or something ends it; then ends the workers. Returns the reason.
    pub fn run(mut self) -> String {
        let Stop(reason) = match self.intervals() {
            Ok(()) => Stop("all intervals are done".to_owned()),
            Err(stop) => stop,
        };
        self.end();
        reason
    }

    /// Lets the workers end, and ends those that do not.
    fn end(mut self) {
        let entries = self.modules.iter().any(Module::has_kprobe_entries);
        if entries {
            events::allow_longer_end(ENTRIES_PATIENCE);
        }
        self.modules.iter_mut().for_each(Module::stop);
        let deadline = Instant::now() + if entries { ENTRIES_PATIENCE } else { END_PATIENCE };
        while !self.modules.iter().all(Module::is_gone)
            && let Some(left) = deadline.checked_duration_since(Instant::now())
        {
            match self.events.recv_timeout(left) {
                Ok(Event::Ended(ended)) => {
                    if let Some(module) = self.module_of(ended.worker) {
                        module.process_ended(ended);
                    }
                }
                Ok(Event::Packet { worker, received }) => drop(self.receive(worker, received)),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.launcher.stop(END_PATIENCE);
        self.breaker.iter_mut().for_each(|breaker| breaker.tend(true));
    }

    fn intervals(&mut self) -> Result<(), Stop> {
        self.handle_until(Instant::now() + START_PATIENCE, |modules| {
            modules.iter().any(Module::is_starting)
        })?;
        let mut boundaries = Boundaries::new(self.update_every);
        let mut tick = 0;
        while self.iterations.is_none_or(|last| tick < last) {
            // Every second, however seldom charts are drawn: rows in the kernel are for what is active in one.
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let boundary = boundaries.next(since_epoch, Instant::now());
            self.handle_until(boundary.at, |_| true)?;
            self.collect(tick + 1)?;
            if !boundary.ends_interval {
                continue;
            }
            tick += 1;
            self.draw(false)?;
            self.output.end_of_interval().map_err(gone)?;
            self.breaker.iter_mut().for_each(|breaker| breaker.tend(false));
            if self.rest.is_some_and(|end| Instant::now() >= end) {
                return Err(Stop("programs may be attached again, by the next start".to_owned()));
            }
        }
        Ok(())
    }

    /// Asks every worker for an epoch, and waits half a collecting interval for the answers.
    fn collect(&mut self, tick: u64) -> Result<(), Stop> {
        for module in &mut self.modules {
            module.collect(tick, &self.launcher);
        }
        let deadline = Instant::now() + COLLECTING / 2;
        self.handle_until(deadline, |modules| modules.iter().any(Module::is_collecting))
    }

    /// Handles what happens until `deadline`, or until `wanted` says that there is nothing more to wait for.
    fn handle_until(&mut self, deadline: Instant, wanted: impl Fn(&[Module]) -> bool) -> Result<(), Stop> {
        let mut handled = 0;
        while wanted(&self.modules) {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return Ok(());
            };
            // What has come while nobody read our output is not late.
            if handled < WAITING
                && let Ok(event) = self.events.try_recv()
            {
                self.handle(event)?;
                handled += 1;
                continue;
            }
            handled = 0;
            for module in &mut self.modules {
                module.tend(&self.launcher, &self.sender);
            }
            match self.events.recv_timeout(left.min(TENDING)) {
                Ok(event) => self.handle(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Stop("nothing can happen any more".to_owned()));
                }
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Stop(reason) => return Err(Stop(reason)),
            Event::Packet { worker, received } => self.receive(worker, received)?,
            Event::Closed { worker, why } => {
                if let Some(module) = self.modules.iter_mut().find(|module| module.worker_number() == worker)
                {
                    module.channel_closed(&why, &self.launcher);
                }
            }
            Event::Ended(ended) => {
                if let Some(module) = self.module_of(ended.worker) {
                    module.process_ended(ended);
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, worker: u64, received: Received) -> Result<(), Stop> {
        let Some(module) = self.modules.iter_mut().find(|module| module.worker_number() == worker) else {
            return Ok(()); // of a worker that was buried
        };
        match module.receive(received, self.processes.as_mut(), &self.launcher) {
            // Announced at once: whatever is counted from here on comes after the first zero.
            Ok(true) => self.draw(true)?,
            Ok(false) => {}
            Err(error) => module.lost(&format!("{error:#}"), true, &self.launcher),
        }
        Ok(())
    }

    fn module_of(&mut self, worker: u64) -> Option<&mut Module> {
        self.modules.iter_mut().find(|module| module.worker_number() == worker)
    }

    fn draw(&mut self, always: bool) -> Result<(), Stop> {
        let names = self.processes.as_ref().map_or(&[][..], |processes| processes.groups().groups());
        for module in &mut self.modules {
            if let Some(charts) = module.draw(names, always) {
                charts.iter().try_for_each(|charts| self.output.publish(charts)).map_err(gone)?;
            }
        }
        Ok(())
    }
}

fn gone(error: io::Error) -> Stop {
    if error.kind() != io::ErrorKind::BrokenPipe {
        log::error(format!("cannot write to standard output: {error}"));
    }
    Stop(format!("standard output: {error}"))
}
