//! Epochs: closes one, reads its rows, and clears them once they are merged.
//!
//! In: the maps of a module. Out: [`Snapshot`]s, each epoch exactly once as long as the supervisor acknowledges what it merged: until
//! then the same snapshot is given again, so a worker may be interrupted anywhere.

use std::io;

use nix::time::{ClockId, clock_gettime};
use shared::snapshot::{Baseline, CommandLine, Missed, Snapshot};

use crate::bpf::MapHandle;
use crate::flows::Flows;
use crate::hash::Hash;
use crate::join::join_rows;
use crate::mapping::MappedRows;
use crate::quiescence::Quiescence;
use crate::rows::{EXTRA_COUNTERS, RawRow, SLOTS, first_slot, row_size, spill_row};

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
    /// Hashes may be read by batches.
    pub batches: bool,
    /// Whose first word tells the programs the epoch's parity.
    pub epoch: MapHandle,
    /// That word in odd epochs; it is 0 in even ones.
    pub odd_epoch: u64,
    /// The array of rows, or the one value that holds them all.
    pub rows: MapHandle,
    /// The same, mapped, where its rows are claimed.
    pub mapped: Option<MappedRows>,
    /// The hash of rows; absent without applications.
    pub overflow: Option<Hash>,
    /// The hash of command lines, where they are recorded.
    pub command_lines: Option<Hash>,
    /// Traffic by peer, where it is counted.
    pub flows: Option<Flows>,
}

impl Maps {
    /// Whether anything is counted by epoch: without applications only flows are.
    fn have_epochs(&self) -> bool {
        self.overflow.is_some() || self.flows.is_some()
    }

    /// Values that the rows of all CPUs take without applications.
    fn rows_without_apps(&self) -> usize {
        if self.rows.value_size() == row_size(self.counters) { self.cpus } else { 1 }
    }
}

/// Tells the programs which epoch it is. Only one byte of the word changes, so that none sees half a change.
fn write_epoch(maps: &Maps, epoch: u64) -> io::Result<()> {
    let word = if epoch & 1 == 1 { maps.odd_epoch } else { 0 };
    maps.epoch.update(&0_u32.to_ne_bytes(), &word.to_ne_bytes())
}

/// Whether the programs count in an odd epoch.
fn is_odd(maps: &Maps) -> io::Result<bool> {
    let mut word = [0; 8];
    maps.epoch.lookup(&0_u32.to_ne_bytes(), &mut word)?;
    Ok(u64::from_ne_bytes(word) == maps.odd_epoch)
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
}

/// A snapshot that may not be merged yet, and where its rows are.
#[derive(Debug)]
struct Pending {
    snapshot: Snapshot,
    rows: Vec<usize>,
    overflow_keys: Vec<u8>,
    command_line_keys: Vec<u8>,
    /// Rows of the snapshot, by number, whose process gave itself their name.
    renamed: Vec<usize>,
}

impl Pending {
    fn new(snapshot: Snapshot) -> Self {
        Pending {
            snapshot,
            rows: Vec::new(),
            overflow_keys: Vec::new(),
            command_line_keys: Vec::new(),
            renamed: Vec::new(),
        }
    }
}

impl Pending {
    fn take(&mut self, row: RawRow<'_>, counters: usize) {
        if row.is_renamed() {
            self.renamed.push(self.snapshot.identities.len());
        }
        self.snapshot.identities.push(row.identity());
        self.snapshot.values.extend(row.counters().take(counters));
        self.snapshot.missed.failed_reads += row.counters().nth(counters + 1).unwrap_or(0);
    }
}

impl Drain {
    /// Starts in epoch 1; the programs may be counting already.
    pub fn new(maps: Maps, quiescence: Quiescence) -> Result<Self, ReadError> {
        write_epoch(&maps, 1).map_err(failed("write", "epoch"))?;
        let totals = vec![0; maps.counters + EXTRA_COUNTERS];
        Ok(Drain { maps, quiescence, epoch: 1, pending: None, totals })
    }

    /// Goes on with the maps of another worker, wherever that was stopped.
    ///
    /// `merged`: the newest epoch that the supervisor has added to its totals, 0 when none; `baseline`: of that epoch. The epoch in the kernel is
    /// either the next, and then rows of the merged one may be left, which count no more; or the one after it, and then the next is closed
    /// and was not merged: it is given at the first `collect`.
    pub fn adopt(
        maps: Maps,
        quiescence: Quiescence,
        merged: u64,
        baseline: &Baseline,
    ) -> Result<Self, ReadError> {
        let mut totals = baseline.totals.clone();
        totals.resize(maps.counters + EXTRA_COUNTERS, 0);
        let mut drain = Drain { maps, quiescence, epoch: merged + 1, pending: None, totals };
        if !drain.maps.have_epochs() {
            return Ok(drain);
        }
        if is_odd(&drain.maps).map_err(failed("read", "epoch"))? == (drain.epoch & 1 == 1) {
            if merged > 0 {
                drain.clear_all(merged)?;
            }
        } else {
            drain.wait_until_quiet()?;
            drain.read_closed()?;
            drain.epoch += 1;
        }
        Ok(drain)
    }

    /// What the next worker needs, if it needs it.
    pub fn maps(&self) -> (&Maps, &Quiescence) {
        (&self.maps, &self.quiescence)
    }

    /// Does once everything that an epoch will need of the kernel, and changes nothing.
    pub fn try_maps(&self) -> io::Result<()> {
        write_epoch(&self.maps, self.epoch)?;
        self.quiescence.wait()?;
        self.maps.rows.lookup(&0_u32.to_ne_bytes(), &mut vec![0; self.maps.rows.value_size()])?;
        self.maps.overflow.iter().chain(&self.maps.command_lines).try_for_each(Hash::try_once)?;
        self.maps.flows.iter().try_for_each(Flows::try_once)
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
        if self.maps.have_epochs() {
            self.flip()?;
        }
        let snapshot = self.read_closed()?;
        self.epoch += 1;
        Ok(snapshot)
    }

    /// Lets the programs count in the next epoch, and waits until none counts in this one.
    fn flip(&self) -> Result<(), ReadError> {
        write_epoch(&self.maps, self.epoch + 1).map_err(failed("write", "epoch"))?;
        self.wait_until_quiet()
    }

    fn wait_until_quiet(&self) -> Result<(), ReadError> {
        self.quiescence.wait().map_err(failed("wait for the programs of", "epoch"))
    }

    /// Reads the epoch that is quiet.
    fn read_closed(&mut self) -> Result<Snapshot, ReadError> {
        if self.maps.overflow.is_none() {
            return self.read_totals();
        }
        let mut pending = Pending::new(self.empty_snapshot());
        self.read_rows(&mut pending)?;
        self.read_overflow(&mut pending)?;
        self.read_command_lines(&mut pending)?;
        self.read_flows(&mut pending.snapshot)?;
        join_rows(&mut pending.snapshot, &pending.renamed, self.maps.counters);
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
            command_lines: Vec::new(),
            flows: Vec::new(),
            missed: Missed::default(),
            baseline: Baseline::default(),
        }
    }

    /// Rows of the array: claimed slots, then the spill row, of each CPU's quiet lane.
    fn read_rows(&self, pending: &mut Pending) -> Result<(), ReadError> {
        let parity = (self.epoch & 1) as usize;
        let mut row = vec![0; row_size(self.maps.counters)];
        for cpu in 0..self.maps.cpus {
            let Some(mapped) = &self.maps.mapped else {
                let lane = cpu * 2 + parity;
                let found = self.maps.rows.lookup(&(lane as u32).to_ne_bytes(), &mut row);
                if found.map_err(failed("read", "rows"))? {
                    self.take_spill(RawRow(&row), lane, pending);
                }
                continue;
            };
            let first = first_slot(cpu, parity);
            for index in first..first + SLOTS {
                if mapped.is_claimed(index) {
                    mapped.read(index, &mut row);
                    pending.take(RawRow(&row), self.maps.counters);
                    pending.rows.push(index);
                }
            }
            let spill = spill_row(cpu, parity);
            mapped.read(spill, &mut row);
            self.take_spill(RawRow(&row), spill, pending);
        }
        Ok(())
    }

    fn read_overflow(&mut self, pending: &mut Pending) -> Result<(), ReadError> {
        let (epoch, counters) = (self.epoch, self.maps.counters);
        let Some(map) = &mut self.maps.overflow else { return Ok(()) };
        let each = |key: &[u8], value: &[u8]| {
            pending.take(RawRow(value), counters);
            pending.overflow_keys.extend_from_slice(key);
        };
        map.read(|key| is_quiet(key, epoch), each).map_err(failed("read", "overflow"))
    }

    fn read_command_lines(&mut self, pending: &mut Pending) -> Result<(), ReadError> {
        let epoch = self.epoch;
        let Some(map) = &mut self.maps.command_lines else { return Ok(()) };
        let Pending { snapshot, command_line_keys, .. } = pending;
        let each = |key: &[u8], value: &[u8]| {
            snapshot.command_lines.extend(command_line(key, value));
            command_line_keys.extend_from_slice(key);
        };
        map.read(|key| is_quiet(key, epoch), each).map_err(failed("read", "command_lines"))
    }

    fn read_flows(&mut self, snapshot: &mut Snapshot) -> Result<(), ReadError> {
        let Some(flows) = &mut self.maps.flows else { return Ok(()) };
        (snapshot.flows, snapshot.missed.no_flow) =
            flows.read(self.epoch).map_err(failed("read", "flows"))?;
        Ok(())
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
        if let Some(map) = &mut self.maps.overflow {
            map.delete(&pending.overflow_keys).map_err(failed("clear", "overflow"))?;
        }
        if let Some(map) = &mut self.maps.command_lines {
            map.delete(&pending.command_line_keys).map_err(failed("clear", "command_lines"))?;
        }
        if let Some(flows) = &mut self.maps.flows {
            flows.clear().map_err(failed("clear", "flows"))?;
        }
        Ok(())
    }

    /// Frees every row of a merged epoch, when it is not known which ones are free already.
    fn clear_all(&mut self, epoch: u64) -> Result<(), ReadError> {
        let parity = (epoch & 1) as usize;
        let zero = vec![0; self.maps.rows.value_size()];
        // Without applications the rows are not those of an epoch.
        let cpus = if self.maps.overflow.is_some() { self.maps.cpus } else { 0 };
        for cpu in 0..cpus {
            let Some(mapped) = &self.maps.mapped else {
                let lane = (cpu * 2 + parity) as u32;
                self.maps.rows.update(&lane.to_ne_bytes(), &zero).map_err(failed("clear", "rows"))?;
                continue;
            };
            let first = first_slot(cpu, parity);
            (first..first + SLOTS).filter(|&row| mapped.is_claimed(row)).for_each(|row| mapped.clear(row));
            mapped.clear(spill_row(cpu, parity));
        }
        for (map, name) in
            [(&mut self.maps.overflow, "overflow"), (&mut self.maps.command_lines, "command_lines")]
        {
            if let Some(map) = map {
                map.clear(|key| is_quiet(key, epoch)).map_err(failed("clear", name))?;
            }
        }
        if let Some(flows) = &mut self.maps.flows {
            flows.clear_all(epoch).map_err(failed("clear", "flows"))?;
        }
        Ok(())
    }

    /// Without applications: the CPUs' rows only grow, so an epoch is what they grew by. Flows have epochs all the same.
    fn read_totals(&mut self) -> Result<Snapshot, ReadError> {
        let mut sums = vec![0_u64; self.totals.len()];
        // A value holds the row of one CPU, or those of all.
        let mut rows = vec![0; self.maps.rows.value_size()];
        for key in 0..self.maps.rows_without_apps() {
            self.maps.rows.lookup(&(key as u32).to_ne_bytes(), &mut rows).map_err(failed("read", "rows"))?;
            for row in rows.chunks(row_size(self.maps.counters)) {
                for (sum, value) in sums.iter_mut().zip(RawRow(row).counters()) {
                    *sum += value;
                }
            }
        }
        let grown: Vec<u64> =
            sums.iter().zip(&self.totals).map(|(now, before)| now.saturating_sub(*before)).collect();
        self.totals = sums;
        let mut snapshot = self.empty_snapshot();
        snapshot.unattributed.copy_from_slice(&grown[..self.maps.counters]);
        snapshot.missed.failed_reads = grown[self.maps.counters + 1];
        self.read_flows(&mut snapshot)?;
        snapshot.baseline.totals.clone_from(&self.totals);
        self.pending = Some(Pending::new(snapshot.clone()));
        Ok(snapshot)
    }
}

/// Whether a key (`struct row_key`: tgid, generation, lane) is of `epoch`, by its parity.
fn is_quiet(key: &[u8], epoch: u64) -> bool {
    u64::from(key[8] & 1) == epoch & 1
}

/// `struct command_line` of common/command_line.h: length in user memory, then as much of the text as there is room for.
fn command_line(key: &[u8], value: &[u8]) -> Option<CommandLine> {
    let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (length, room) = (word(value, 0)? as usize, value.len() - 4);
    let text = value[4..4 + length.min(room)].to_vec();
    Some(CommandLine { tgid: word(key, 0)?, generation: word(key, 4)?, text, complete: length <= room })
}

/// CLOCK_MONOTONIC in nanoseconds.
fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned())
}
