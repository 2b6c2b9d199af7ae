//! The canary: after every attachment, and hourly, a process of our own does a known number of things, and the snapshots must show them.
//!
//! It is started, an epoch is closed, it gets the word and does its deeds, ends, and the next epoch is closed: its row then holds the deeds and
//! nothing else. What the kernel tells late (released tasks, by RCU) may come in the epochs after.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use launcher::Memory;
use launcher::client::Launcher;
use serde::Serialize;
use shared::canary::{Deed, FromCanary, MESSAGE_BYTES, Ports, deeds};
use shared::config::LoadMode;
use shared::snapshot::Snapshot;
use shared::table::Table;
use shared::wire::{self, Plan};

use crate::worker::next_number;

/// Most memory of a canary, which is in no cgroup.
const MEMORY: Memory = Memory { own_bytes: 256 << 20, kernel_bytes: 0 };

/// Between two canaries.
pub const PERIOD: Duration = Duration::from_secs(3600);

/// Longest wait for the process to come up, and to do its deeds. A tick is never held up for longer.
const PATIENCE: Duration = Duration::from_millis(400);

/// Epochs in which its deeds may arrive: an RCU grace period on a busy machine, as often as `--check` looks.
const EPOCHS: u32 = 20;

/// One counter: what was done and what was counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The counter.
    pub counter: String,
    /// What the canary did.
    pub done: u64,
    /// What was counted of it.
    pub counted: u64,
}

/// What became of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// By counter, those of the mode that are counted at all.
    pub counts: Vec<Count>,
    /// Without rows for processes nothing but the whole system's counts can be seen: at least as many must be there.
    pub whole_system: bool,
}

impl Outcome {
    /// Operations done and counted; bytes left out.
    pub fn operations(&self) -> (u64, u64) {
        let calls = self.counts.iter().filter(|count| !count.counter.ends_with("_bytes"));
        calls.fold((0, 0), |(done, counted), count| (done + count.done, counted + count.counted))
    }

    /// Counters that do not say what was done, as text; empty when all is well.
    pub fn wrong(&self) -> Vec<String> {
        let wrong = self.counts.iter().filter(|count| count.counted != count.done);
        wrong.map(|count| format!("{} {} instead of {}", count.counter, count.counted, count.done)).collect()
    }
}

/// A canary's process.
#[derive(Debug)]
struct Bird {
    tgid: u32,
    ports: Ports,
    word: UnixStream,
}

impl Bird {
    fn start(launcher: &Launcher, module: &str) -> Result<Self> {
        let name = format!("{}{module}", launcher::CANARY);
        let ends = launcher.start_worker(next_number(), &name, MEMORY, &[])?;
        let mut word = UnixStream::from(ends.packets);
        word.set_read_timeout(Some(PATIENCE)).context("cannot set a limit for the canary")?;
        match hear(&mut word).context("the canary does not come up")? {
            FromCanary::Ready { tgid, ports } => Ok(Bird { tgid, ports, word }),
            FromCanary::Cannot(why) => bail!("{why}"),
            FromCanary::Done => bail!("the canary is done before it began"),
        }
    }

    /// Lets it do its deeds; it has ended, or is just about to, when this returns. If it is dropped instead it ends without them.
    fn release(mut self) -> Result<u32> {
        self.word.write_all(b"g").context("the canary cannot be told to go")?;
        match hear(&mut self.word).context("the canary has not done its deeds in time")? {
            FromCanary::Done => {}
            FromCanary::Cannot(why) => bail!("{why}"),
            FromCanary::Ready { .. } => bail!("the canary is ready twice"),
        }
        // The end of its socket is its end.
        let _ = self.word.read(&mut [0]);
        Ok(self.tgid)
    }
}

/// What a canary says next. Packets are kept apart: a message is there at once or not at all.
fn hear(word: &mut UnixStream) -> Result<FromCanary> {
    let mut bytes = [0; MESSAGE_BYTES];
    let length = word.read(&mut bytes)?;
    Ok(wire::decode(bytes.get(..length).unwrap_or_default())?)
}

#[derive(Debug)]
enum Stage {
    /// Nothing is under way.
    Resting,
    /// The process waits for the word; an epoch is being closed.
    Armed(Bird),
    /// The deeds are done, and looked for.
    Looking { tgid: u32, counted: Vec<u64>, epochs: u32 },
}

/// A module's canaries.
#[derive(Debug)]
pub struct Canary {
    module: String,
    /// Slot in a row, and what is done.
    wanted: Vec<(usize, &'static Deed)>,
    slots: usize,
    whole_system: bool,
    stage: Stage,
    has_ipv6: bool,
    /// Of the one whose deeds are in no epoch yet.
    ports: Ports,
    period: Duration,
    next: Instant,
    started: Instant,
}

impl Canary {
    /// For what `plan` counts; another one each `period`.
    pub fn new(table: &Table, plan: &Plan, load_mode: LoadMode, apps: bool, period: Duration) -> Self {
        let is_attached =
            |name: &str| plan.events.iter().any(|event| event.event == name && !event.attached.is_empty());
        let of_events =
            table.events.iter().flat_map(|event| event.counters.iter().map(move |counter| (event, counter)));
        let wanted = of_events.enumerate().filter_map(|(slot, (event, counter))| {
            let deed = deeds(&table.module).iter().find(|deed| deed.counter == counter.name)?;
            (is_attached(&event.name) && counter.mode.exists_in(load_mode)).then_some((slot, deed))
        });
        let now = Instant::now();
        Canary {
            module: table.module.clone(),
            wanted: wanted.collect(),
            slots: table.counters().count(),
            whole_system: !apps,
            stage: Stage::Resting,
            has_ipv6: false,
            ports: Ports::default(),
            period,
            next: now,
            started: now,
        }
    }

    /// Whether it is time for the next one.
    pub fn is_due(&self) -> bool {
        !self.wanted.is_empty() && matches!(self.stage, Stage::Resting) && Instant::now() >= self.next
    }

    /// Starts one. An epoch has to be closed now, whose snapshot is to be observed.
    pub fn start(&mut self, launcher: &Launcher) -> Result<()> {
        (self.started, self.next) = (Instant::now(), Instant::now() + self.period);
        let bird = Bird::start(launcher, &self.module)?;
        (self.ports, self.has_ipv6) = (bird.ports, bird.ports.has_ipv6());
        self.stage = Stage::Armed(bird);
        Ok(())
    }

    /// Where it talks to itself, if that may be in the next epoch.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Forgets the one that is under way: its worker is gone.
    pub fn cancel(&mut self) {
        self.stage = Stage::Resting;
    }

    /// Whether charts had better wait: it is in the middle of something that takes an instant.
    pub fn is_under_way(&self) -> bool {
        let in_the_middle = match self.stage {
            Stage::Resting => false,
            Stage::Armed(_) => true,
            Stage::Looking { epochs, .. } => epochs == 0,
        };
        in_the_middle && self.started.elapsed() < 3 * PATIENCE
    }

    /// Takes an epoch. `true`: another one should be closed at once.
    pub fn observe(&mut self, snapshot: &Snapshot) -> Result<bool> {
        let stage = std::mem::replace(&mut self.stage, Stage::Resting);
        if !matches!(stage, Stage::Armed(_)) {
            // From here on they may be anybody's.
            self.ports = Ports::default();
        }
        match stage {
            Stage::Resting => Ok(false),
            Stage::Armed(bird) => {
                let tgid = bird.release()?;
                self.stage = Stage::Looking { tgid, counted: vec![0; self.wanted.len()], epochs: 0 };
                Ok(true)
            }
            Stage::Looking { tgid, mut counted, epochs } => {
                self.add(snapshot, tgid, &mut counted);
                self.stage = Stage::Looking { tgid, counted, epochs: epochs + 1 };
                Ok(false)
            }
        }
    }

    /// What came of it, when all is there, or nothing more is waited for.
    pub fn outcome(&mut self) -> Option<Outcome> {
        let Stage::Looking { epochs, .. } = self.stage else { return None };
        let outcome = self.seen().filter(|_| epochs > 0)?;
        if !outcome.wrong().is_empty() && epochs < EPOCHS {
            return None;
        }
        self.stage = Stage::Resting;
        Some(outcome)
    }

    /// What has come of it so far.
    pub fn seen(&self) -> Option<Outcome> {
        let Stage::Looking { counted, .. } = &self.stage else { return None };
        let counts: Vec<Count> = self
            .wanted
            .iter()
            .zip(counted)
            .map(|((_, deed), counted)| {
                let done = deed.done(self.has_ipv6);
                // Others do the same things meanwhile.
                let counted = if self.whole_system { (*counted).min(done) } else { *counted };
                Count { counter: deed.counter.to_owned(), done, counted }
            })
            .collect();
        Some(Outcome { counts, whole_system: self.whole_system })
    }

    fn add(&self, snapshot: &Snapshot, tgid: u32, counted: &mut [u64]) {
        let mut add = |row: &[u64]| {
            for (sum, (slot, _)) in counted.iter_mut().zip(&self.wanted) {
                *sum += row.get(*slot).copied().unwrap_or(0);
            }
        };
        if self.whole_system {
            add(&snapshot.unattributed);
        }
        for (identity, row) in snapshot.identities.iter().zip(snapshot.values.chunks_exact(self.slots)) {
            // Its child has a row of its own.
            if self.whole_system || identity.tgid == tgid || identity.parent_tgid == tgid {
                add(row);
            }
        }
    }
}
