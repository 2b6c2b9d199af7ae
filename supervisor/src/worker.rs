//! One worker process as the supervisor sees it: started, told what to do, given up, buried.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ipc_channel::ipc::IpcBytesSender;
use launcher::client::Launcher;
use launcher::{Ended, Memory, packets};
use shared::wire::{self, ToWorker};

use crate::events::Event;

/// Longest time for a worker to load and attach; a hundred kprobes on a slow machine take some seconds.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// Longest time for a snapshot, and for taking over: a worker that is stopped or runs in circles is noticed within three intervals. Doubled
/// with each one that was too slow, for machines that are as slow as that.
const PATIENCE: Duration = Duration::from_millis(2500);

/// Longest time between two attempts to start a worker. They never end.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Longest time after workers that somebody else killed: what is attached counts on meanwhile, and its tables fill.
const MAX_DELAY_AFTER_KILLS: Duration = Duration::from_secs(1);

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Started; loading and attaching, or taking over.
    Starting {
        /// When it is given up.
        until: Instant,
    },
    /// Counting. `owes`: it owes a snapshot, and when it is given up.
    Ready {
        /// Until when.
        owes: Option<Instant>,
    },
    /// Given up or gone; its process or its channel is not seen to be closed yet. Nothing that it says counts.
    Ending,
    /// Gone; the next one is started then.
    BackingOff {
        /// When.
        until: Instant,
    },
}

/// What became of the workers before, since the last one that delivered a snapshot.
#[derive(Debug, Clone, Copy, Default)]
pub struct History {
    /// Ended, for any reason.
    pub failures: u32,
    /// Ended because they did not do what they were asked for.
    pub faults: u32,
}

impl History {
    /// Longest time for what takes a worker no time.
    pub fn patience(self) -> Duration {
        PATIENCE * (1 << self.faults.min(5))
    }
}

/// A number for each worker that is ever started.
pub fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A module's worker.
#[derive(Debug)]
pub struct Worker {
    /// What it is doing.
    pub state: State,
    /// Number among all workers that were ever started; ties an event to the right one.
    pub number: u64,
    orders: Option<IpcBytesSender>,
    /// One for each thing that it sent and that was dealt with: the next one is taken then, so that its flood stays with it.
    permits: Sender<()>,
    history: History,
    delivered: bool,
    /// It did not do what it was asked for, or something else.
    at_fault: bool,
    /// It ended in the middle of something.
    was_busy: bool,
    /// How its process ended.
    ended: Option<Ended>,
    channel_is_closed: bool,
}

impl Worker {
    /// Starts the worker of `module`. Its messages arrive in `events` under `number`.
    ///
    /// `memory`: what it may use; `held`: descriptors that it takes over.
    pub fn start(
        launcher: &Launcher,
        module: &str,
        number: u64,
        history: History,
        memory: Memory,
        held: &[OwnedFd],
        events: Sender<Event>,
    ) -> Result<Self> {
        let ends = launcher.start_worker(number, module, memory, held)?;
        let (permits, wait) = channel();
        let receiver = packets::Receiver::new(ends.packets, wire::MAX_FRAME);
        thread::Builder::new()
            .name(format!("worker {number}"))
            .spawn(move || forward(receiver, number, &events, &wait))
            .context("cannot start the thread that listens to a worker")?;
        let patience = if held.is_empty() { START_PATIENCE } else { history.patience() };
        Ok(Worker {
            state: State::Starting { until: Instant::now() + patience },
            number,
            orders: Some(ends.orders),
            permits,
            history,
            delivered: false,
            at_fault: false,
            was_busy: false,
            ended: None,
            channel_is_closed: false,
        })
    }

    /// Sends an order. A worker that cannot be reached is about to be reported as closed.
    pub fn send(&self, order: &ToWorker) -> Result<()> {
        let orders = self.orders.as_ref().context("the worker is given up")?;
        orders.send(&wire::encode(order)?).context("the worker cannot be reached")
    }

    /// What it sent last is dealt with.
    pub fn permit_next(&self) {
        // Its thread may have ended.
        let _ = self.permits.send(());
    }

    /// A snapshot is asked for.
    pub fn owes_snapshot(&mut self) {
        self.state = State::Ready { owes: Some(Instant::now() + self.history.patience()) };
    }

    /// It delivered a snapshot: what went wrong before does not count any more.
    pub fn delivered(&mut self) {
        self.delivered = true;
        self.history = History::default();
        self.state = State::Ready { owes: None };
    }

    /// What the next worker of this module should know.
    pub fn history(&self) -> History {
        self.history
    }

    /// Whether it did not do what it was asked for within its time.
    pub fn is_late(&self) -> bool {
        match self.state {
            State::Starting { until } | State::Ready { owes: Some(until) } => Instant::now() >= until,
            _ => false,
        }
    }

    /// Ends it, if it lives. From here on nothing that it says counts, so whatever it has not delivered yet is delivered by the next.
    ///
    /// `at_fault`: it is ended for what it does or does not do.
    pub fn give_up(&mut self, at_fault: bool, launcher: &Launcher) {
        self.at_fault = at_fault;
        self.was_busy = !matches!(self.state, State::Ready { owes: None });
        self.orders = None;
        self.state = State::Ending;
        launcher.kill(self.number);
    }

    /// Its channel is closed: everything that it sent has been dealt with.
    pub fn channel_closed(&mut self) {
        self.channel_is_closed = true;
    }

    /// Its process has ended.
    pub fn process_ended(&mut self, ended: Ended) {
        self.ended = Some(ended);
    }

    /// How it ended, once it is given up and nothing of it is left; then the time of the next one is set: at once after one that worked, else
    /// after a time that doubles, and never not at all.
    pub fn bury(&mut self) -> Option<Burial> {
        if self.state != State::Ending || !self.channel_is_closed {
            return None;
        }
        let Ended { how, started, .. } = self.ended.take()?;
        // Somebody else's SIGKILL is no fault of its own, nor that there was no process to be had.
        let is_innocent = !started || how.ends_with("SIGKILL");
        let at_fault = !self.delivered && (self.at_fault || (self.was_busy && !is_innocent));
        let delay = match (self.delivered, at_fault) {
            (true, _) => Duration::ZERO,
            (false, true) => delay_after(Duration::from_secs(1), self.history.faults, MAX_DELAY),
            (false, false) => {
                delay_after(Duration::from_millis(50), self.history.failures, MAX_DELAY_AFTER_KILLS)
            }
        };
        self.history.failures += 1;
        self.history.faults += u32::from(at_fault);
        self.state = State::BackingOff { until: Instant::now() + delay };
        Some(Burial { how, at_fault })
    }

    /// The next one could not even be started.
    pub fn postpone(&mut self) {
        let delay = delay_after(Duration::from_secs(1), self.history.failures, MAX_DELAY);
        self.history.failures += 1;
        self.state = State::BackingOff { until: Instant::now() + delay };
    }

    /// Asks the worker to end.
    pub fn stop(&mut self) {
        let _ = self.send(&ToWorker::Shutdown);
        self.orders = None;
        self.state = State::Ending;
    }

    /// Whether its process is gone.
    pub fn is_gone(&self) -> bool {
        self.ended.is_some() || matches!(self.state, State::BackingOff { .. })
    }
}

/// What became of a worker.
#[derive(Debug)]
pub struct Burial {
    /// How its process ended.
    pub how: String,
    /// It failed in what it was asked to do, before it had ever delivered.
    pub at_fault: bool,
}

/// `first`, then twice as long each time, up to `most`; a quarter of it by chance, so that hosts that were started together do not stay in step.
fn delay_after(first: Duration, failures: u32, most: Duration) -> Duration {
    let delay = first.saturating_mul(1 << failures.min(16)).min(most);
    let chance = RandomState::new().hash_one(0) % 256;
    delay.mul_f64(0.75 + 0.25 * chance as f64 / 256.0)
}

/// A worker's thread: passes on what it sends, one thing at a time, until it ends.
fn forward(mut receiver: packets::Receiver, worker: u64, events: &Sender<Event>, permits: &Receiver<()>) {
    let why = loop {
        match receiver.receive() {
            Ok(Some(received)) => {
                if events.send(Event::Packet { worker, received }).is_err() || permits.recv().is_err() {
                    return;
                }
            }
            Ok(None) => break "its channel is closed".to_owned(),
            Err(error) => break format!("{error:#}"),
        }
    };
    let _ = events.send(Event::Closed { worker, why });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute() {
        for (failures, seconds) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
            let delay = delay_after(Duration::from_secs(1), failures as u32, MAX_DELAY).as_secs_f64();
            assert!(
                (0.75..=1.0).contains(&(delay / f64::from(seconds))),
                "{delay} s after {failures} failures"
            );
        }
    }
}
