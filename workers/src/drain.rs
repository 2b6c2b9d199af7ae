//! Epochs: closes one, reads its rows, and clears them once they are merged.
//!
//! In: the maps of a module. Out: [`Snapshot`]s, each epoch exactly once as long as the supervisor acknowledges what it merged: until
//! then the same snapshot is given again, so a worker may be interrupted anywhere.

use std::collections::HashMap;
use std::io;

use nix::time::{ClockId, clock_gettime};
use shared::snapshot::{Identity, Missed, Snapshot};

use crate::bpf::MapHandle;
use crate::mapping::MappedRows;
use crate::quiescence::Quiescence;
use crate::rows::{EXTRA_COUNTERS, RawRow, SLOTS, control, row_size};

/// Entries of the hash read by one system call.
const BATCH: usize = 512;

/// Why an epoch could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} map `{map}`")]
pub struct ReadError {
    action: &'static str,
    map: &'static str,
    source: io::Error,
}

fn failed(action: &'static str, map: &'static str) -> impl FnOnce(io::Error) -> ReadError {
    move |source| ReadError { action, map, source }
}

/// The maps that a module counts in.
#[derive(Debug)]
pub struct Maps {
    /// Counters of the table.
    pub counters: usize,
    /// Possible CPUs.
    pub cpus: usize,
    /// Words for the programs.
    pub control: MapHandle,
    /// The array of rows.
    pub rows: MapHandle,
    /// The same, mapped, where its rows are claimed.
    pub mapped: Option<MappedRows>,
    /// The hash of rows; absent without applications.
    pub overflow: Option<MapHandle>,
}

/// Drains one module's maps.
#[derive(Debug)]
pub struct Drain {
    maps: Maps,
    quiescence: Quiescence,
    /// The epoch that events are counted in now.
    epoch: u64,
    pending: Option<Pending>,
    /// Without applications: each CPU's row as it was last sent, since those rows are never cleared.
    totals: Vec<u64>,
    batches: bool,
    keys: Vec<u8>,
    values: Vec<u8>,
}

/// A snapshot that may not be merged yet, and where its rows are.
#[derive(Debug)]
struct Pending {
    snapshot: Snapshot,
    rows: Vec<usize>,
    keys: Vec<u8>,
}

impl Drain {
    /// Starts in epoch 1; the programs may be counting already.
    pub fn new(maps: Maps, quiescence: Quiescence) -> Result<Self, ReadError> {
        maps.control
            .update(&control::EPOCH.to_ne_bytes(), &1_u64.to_ne_bytes())
            .map_err(failed("write", "control"))?;
        let totals = vec![0; maps.counters + EXTRA_COUNTERS];
        let (keys, values) = match &maps.overflow {
            Some(map) => (vec![0; BATCH * map.key_size()], vec![0; BATCH * map.value_size()]),
            None => (Vec::new(), Vec::new()),
        };
        Ok(Drain { maps, quiescence, epoch: 1, pending: None, totals, batches: true, keys, values })
    }

    /// Counters of the table.
    pub fn counters(&self) -> usize {
        self.maps.counters
    }

    /// Does once everything that an epoch will need of the kernel, and changes nothing.
    pub fn try_maps(&self) -> io::Result<()> {
        let epoch = control::EPOCH.to_ne_bytes();
        self.maps.control.update(&epoch, &self.epoch.to_ne_bytes())?;
        self.quiescence.wait()?;
        self.maps.rows.lookup(&0_u32.to_ne_bytes(), &mut vec![0; self.maps.rows.value_size()])?;
        if let Some(map) = &self.maps.overflow {
            map.next_key(None)?;
            map.delete(&vec![0xff; map.key_size()])?;
        }
        Ok(())
    }

    /// What happened in the epoch that this call closes; or the last one again when it is not merged yet.
    ///
    /// `merged_epoch`: the newest epoch that the supervisor has added to its totals, 0 before the first.
    pub fn collect(&mut self, merged_epoch: u64) -> Result<Snapshot, ReadError> {
        if let Some(pending) = self.pending.take() {
            if merged_epoch < pending.snapshot.epoch {
                let again = pending.snapshot.clone();
                self.pending = Some(pending);
                return Ok(again);
            }
            self.clear(&pending)?;
        }
        let snapshot = if self.maps.overflow.is_some() { self.close_epoch()? } else { self.read_totals()? };
        self.epoch += 1;
        Ok(snapshot)
    }

    fn close_epoch(&mut self) -> Result<Snapshot, ReadError> {
        let next = (self.epoch + 1).to_ne_bytes();
        self.maps.control.update(&control::EPOCH.to_ne_bytes(), &next).map_err(failed("write", "control"))?;
        self.quiescence.wait().map_err(failed("wait for the programs of", "control"))?;
        let mut pending = Pending { snapshot: self.empty_snapshot(), rows: Vec::new(), keys: Vec::new() };
        self.read_rows(&mut pending)?;
        self.read_overflow(&mut pending)?;
        let snapshot = pending.snapshot.clone();
        self.pending = Some(pending);
        Ok(snapshot)
    }

    fn empty_snapshot(&self) -> Snapshot {
        Snapshot {
            epoch: self.epoch,
            taken_at_ns: now_ns(),
            identities: Vec::new(),
            values: Vec::new(),
            unattributed: vec![0; self.maps.counters],
            missed: Missed::default(),
        }
    }

    /// Rows of the array: claimed slots, then the spill row, of each CPU's quiet lane.
    fn read_rows(&self, pending: &mut Pending) -> Result<(), ReadError> {
        let parity = (self.epoch & 1) as usize;
        let mut row = vec![0; row_size(self.maps.counters)];
        for cpu in 0..self.maps.cpus {
            let lane = cpu * 2 + parity;
            let Some(mapped) = &self.maps.mapped else {
                let found = self.maps.rows.lookup(&(lane as u32).to_ne_bytes(), &mut row);
                if found.map_err(failed("read", "rows"))? {
                    self.take_spill(RawRow(&row), lane, pending);
                }
                continue;
            };
            let first = lane * (SLOTS + 1);
            for index in first..first + SLOTS {
                if mapped.is_claimed(index) {
                    mapped.read(index, &mut row);
                    self.take(RawRow(&row), pending);
                    pending.rows.push(index);
                }
            }
            mapped.read(first + SLOTS, &mut row);
            self.take_spill(RawRow(&row), first + SLOTS, pending);
        }
        Ok(())
    }

    fn read_overflow(&mut self, pending: &mut Pending) -> Result<(), ReadError> {
        if self.batches {
            match self.read_overflow_in_batches(pending) {
                Ok(()) => return Ok(()),
                // EINVAL: no such command (< 5.6).
                Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => self.batches = false,
                Err(error) => return Err(failed("read", "overflow")(error)),
            }
        }
        self.read_overflow_by_key(pending).map_err(failed("read", "overflow"))
    }

    fn read_overflow_in_batches(&mut self, pending: &mut Pending) -> io::Result<()> {
        let Some(map) = &self.maps.overflow else {
            return Ok(());
        };
        let (key_size, value_size) = (map.key_size(), map.value_size());
        let mut position = None;
        loop {
            let (count, ended) = match map.lookup_batch(&mut position, &mut self.keys, &mut self.values) {
                // A bucket that is fuller than the buffers: try again with twice the room.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOSPC) => {
                    self.keys.resize(self.keys.len() * 2, 0);
                    self.values.resize(self.values.len() * 2, 0);
                    continue;
                }
                result => result?,
            };
            for n in 0..count {
                let key = &self.keys[n * key_size..(n + 1) * key_size];
                let value = &self.values[n * value_size..(n + 1) * value_size];
                if self.is_quiet(key) {
                    self.take(RawRow(value), pending);
                    pending.keys.extend_from_slice(key);
                }
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn read_overflow_by_key(&self, pending: &mut Pending) -> io::Result<()> {
        let Some(map) = &self.maps.overflow else {
            return Ok(());
        };
        let mut value = vec![0; map.value_size()];
        let mut key = map.next_key(None)?;
        while let Some(this) = key {
            if self.is_quiet(&this) && map.lookup(&this, &mut value)? {
                self.take(RawRow(&value), pending);
                pending.keys.extend_from_slice(&this);
            }
            key = map.next_key(Some(&this))?;
        }
        Ok(())
    }

    /// Whether a key of the hash (`struct row_key`: tgid, generation, lane) is of the epoch that was closed.
    fn is_quiet(&self, key: &[u8]) -> bool {
        u64::from(key[8] & 1) == self.epoch & 1
    }

    fn take(&self, row: RawRow<'_>, pending: &mut Pending) {
        let Pending { snapshot, .. } = pending;
        snapshot.identities.push(row.identity());
        snapshot.values.extend(row.counters().take(self.maps.counters));
        snapshot.missed.failed_reads += row.counters().nth(self.maps.counters + 1).unwrap_or(0);
    }

    fn take_spill(&self, row: RawRow<'_>, index: usize, pending: &mut Pending) {
        let mut any = 0;
        for (n, value) in row.counters().enumerate() {
            any |= value;
            match n.checked_sub(self.maps.counters) {
                None => pending.snapshot.unattributed[n] += value,
                Some(0) => pending.snapshot.missed.no_row += value,
                Some(_) => pending.snapshot.missed.failed_reads += value,
            }
        }
        if any != 0 {
            pending.rows.push(index);
        }
    }

    /// Frees the rows of a merged epoch, before their lane is written again.
    fn clear(&mut self, pending: &Pending) -> Result<(), ReadError> {
        for &index in &pending.rows {
            match &self.maps.mapped {
                Some(mapped) => mapped.clear(index),
                None => self
                    .maps
                    .rows
                    .update(&(index as u32).to_ne_bytes(), &vec![0; self.maps.rows.value_size()])
                    .map_err(failed("clear", "rows"))?,
            }
        }
        let Some(map) = &self.maps.overflow else {
            return Ok(());
        };
        if pending.keys.is_empty() || (self.batches && map.delete_batch(&pending.keys).is_ok()) {
            return Ok(());
        }
        pending
            .keys
            .chunks(map.key_size())
            .try_for_each(|key| map.delete(key))
            .map_err(failed("clear", "overflow"))
    }

    /// Without applications: the CPUs' rows only grow, so an epoch is what they grew by.
    fn read_totals(&mut self) -> Result<Snapshot, ReadError> {
        let mut sums = vec![0_u64; self.totals.len()];
        let mut row = vec![0; row_size(self.maps.counters)];
        for cpu in 0..self.maps.cpus {
            self.maps.rows.lookup(&(cpu as u32).to_ne_bytes(), &mut row).map_err(failed("read", "rows"))?;
            for (sum, value) in sums.iter_mut().zip(RawRow(&row).counters()) {
                *sum += value;
            }
        }
        let grown: Vec<u64> = sums.iter().zip(&self.totals).map(|(now, before)| now - before).collect();
        self.totals = sums;
        let mut snapshot = self.empty_snapshot();
        snapshot.unattributed.copy_from_slice(&grown[..self.maps.counters]);
        snapshot.missed.failed_reads = grown[self.maps.counters + 1];
        self.pending = Some(Pending { snapshot: snapshot.clone(), rows: Vec::new(), keys: Vec::new() });
        Ok(snapshot)
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned())
}

/// Rows of one process joined: a process has one for each CPU that it ran on. Keeps the first row's place.
pub fn join_rows(snapshot: &mut Snapshot, counters: usize) {
    let mut places: HashMap<(u32, u32), usize> = HashMap::with_capacity(snapshot.identities.len());
    let mut kept: Vec<Identity> = Vec::with_capacity(snapshot.identities.len());
    let mut values: Vec<u64> = Vec::with_capacity(snapshot.values.len());
    for (identity, row) in snapshot.identities.drain(..).zip(snapshot.values.chunks(counters)) {
        let place = *places.entry((identity.tgid, identity.generation)).or_insert(kept.len());
        let Some(same) = kept.get_mut(place) else {
            kept.push(identity);
            values.extend_from_slice(row);
            continue;
        };
        same.ended |= identity.ended;
        if same.comm_of_thread && !identity.comm_of_thread {
            same.comm = identity.comm;
            same.comm_of_thread = false;
        }
        if same.start_ns == 0 {
            same.start_ns = identity.start_ns;
        }
        // The row made at the fork names the creator; one made after the creator's end names whoever adopted the orphan.
        if same.parent_tgid <= 1 && identity.parent_tgid != 0 {
            same.parent_tgid = identity.parent_tgid;
        }
        for (sum, value) in values[place * counters..].iter_mut().zip(row) {
            *sum += value;
        }
    }
    snapshot.identities = kept;
    snapshot.values = values;
}
