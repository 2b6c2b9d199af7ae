//! One worker process: started, met, told what to do, buried, and started again.
//!
//! Workers are started by the main thread only: the kernel kills a worker when the thread that started it ends.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender};
use serde::{Deserialize, Serialize};
use shared::wire::{self, ToWorker};

use crate::events::Event;
use crate::temporary;

/// Longest time for a worker to arrive, load and attach; a hundred kprobes on a slow machine take some seconds.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// Longest time between two attempts to start a worker.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// How long a worker that is given up may take to end by itself, so that its own exit status is seen.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What a worker sends when it arrives: the supervisor's ends of two channels. The worker's own type of this name has the same fields.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    to_worker: IpcBytesSender,
    from_worker: IpcBytesReceiver,
}

/// What a worker is doing.
#[derive(Debug)]
pub enum State {
    /// Started; loading and attaching.
    Starting {
        /// When it is given up.
        until: Instant,
    },
    /// Counting. `collecting`: it owes a snapshot.
    Ready {
        /// A `Collect` is under way.
        collecting: bool,
    },
    /// Ended; the next one is started then.
    BackingOff {
        /// When.
        until: Instant,
    },
}

/// A module's worker, and those that come after it.
#[derive(Debug)]
pub struct Worker {
    /// What it is doing.
    pub state: State,
    /// Number among all workers that were ever started; ties an event to the right one.
    pub number: u64,
    child: Option<Child>,
    orders: Option<IpcBytesSender>,
    rendezvous: String,
    failures_in_a_row: u32,
    delivered: bool,
}

impl Worker {
    /// Starts the worker of `module`. `program`: ebpf-worker. Its messages arrive in `events` under `number`.
    pub fn start(
        program: &Path,
        module: &str,
        number: u64,
        failures_in_a_row: u32,
        events: Sender<Event>,
    ) -> Result<Self> {
        temporary::check()?;
        let (server, rendezvous) = IpcOneShotServer::<Hello>::new().context("cannot make a rendezvous")?;
        let child = Command::new(program)
            .args([module, &rendezvous, &std::process::id().to_string()])
            .stdin(Stdio::null())
            // Standard output is the protocol; a worker must not reach it.
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        thread::Builder::new()
            .name(format!("worker {number}"))
            .spawn(move || forward(server, number, &events))
            .context("cannot start the thread that listens to a worker")?;
        Ok(Worker {
            state: State::Starting { until: Instant::now() + START_PATIENCE },
            number,
            child: Some(child),
            orders: None,
            rendezvous,
            failures_in_a_row,
            delivered: false,
        })
    }

    /// The worker arrived.
    pub fn connected(&mut self, orders: IpcBytesSender) {
        self.orders = Some(orders);
    }

    /// Sends an order. A worker that cannot be reached is about to be reported as closed.
    pub fn send(&self, order: &ToWorker) -> Result<()> {
        let orders = self.orders.as_ref().context("the worker has not arrived")?;
        orders.send(&wire::encode(order)?).context("the worker cannot be reached")
    }

    /// It delivered a snapshot: what went wrong before does not count any more.
    pub fn delivered(&mut self) {
        self.delivered = true;
        self.failures_in_a_row = 0;
        self.state = State::Ready { collecting: false };
    }

    /// How many workers of this module have failed one after the other.
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    /// Ends the process if it still runs, and decides when the next one starts: at once after one that worked, else after a time that doubles.
    ///
    /// Returns how it ended, as text.
    pub fn bury(&mut self) -> String {
        self.orders = None;
        let end = self
            .child
            .take()
            .map_or_else(|| "it never started".to_owned(), |child| end_of(child, LAST_WORDS));
        let delay =
            if self.delivered { Duration::from_millis(200) } else { delay_after(self.failures_in_a_row) };
        self.failures_in_a_row += 1;
        self.state = State::BackingOff { until: Instant::now() + delay };
        end
    }

    /// Whether the process has ended without ever arriving; then the thread that waits for it is told so.
    pub fn died_before_arriving(&mut self) -> bool {
        if self.orders.is_some() {
            return false;
        }
        let ended = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)) | Err(_)));
        if ended {
            // Somebody has to arrive, or the thread waits for ever; it then finds the channel closed.
            drop(IpcSender::<Hello>::connect(std::mem::take(&mut self.rendezvous)));
        }
        ended
    }

    /// Asks the worker to end, and ends it when it has not within `patience`.
    pub fn stop(&mut self, patience: Duration) {
        let _ = self.send(&ToWorker::Shutdown);
        self.orders = None;
        if let Some(child) = self.child.take() {
            end_of(child, patience);
        }
    }
}

/// 1, 2, 4, … seconds.
fn delay_after(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(6)).min(MAX_DELAY)
}

/// Waits for the end of a process for `patience`, then kills it.
fn end_of(mut child: Child, patience: Duration) -> String {
    let deadline = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.to_string(),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Ok(None) => break,
            Err(error) => return format!("unknown: {error}"),
        }
    }
    let _ = child.kill();
    child.wait().map_or_else(|error| format!("unknown: {error}"), |status| status.to_string())
}

/// A worker's thread: waits for it to arrive, then passes on what it sends, until it ends.
fn forward(server: IpcOneShotServer<Hello>, worker: u64, events: &Sender<Event>) {
    if let Ok((_, Hello { to_worker, from_worker })) = server.accept()
        && events.send(Event::Connected { worker, orders: to_worker }).is_ok()
    {
        while let Ok(bytes) = from_worker.recv() {
            if events.send(Event::Frame { worker, bytes }).is_err() {
                return;
            }
        }
    }
    let _ = events.send(Event::Closed { worker });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute() {
        let seconds: Vec<u64> = (0..9).map(|failures| delay_after(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
