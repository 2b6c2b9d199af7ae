//! Merging: what epochs added up to, for the system and for each application group.
//!
//! In: snapshots, each epoch once. Out: counters that only grow, also when a worker is replaced.

use std::path::Path;

use shared::apps::ProcessTable;
use shared::snapshot::{Baseline, Missed, Snapshot};

/// Counters of a row beside those of the table.
const EXTRA_COUNTERS: usize = 2;

/// A snapshot that does not fit the module's table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MergeError {
    /// Wrong number of counters.
    #[error("a snapshot of {rows} rows with {values} values; {counters} counters belong to each")]
    Shape {
        /// Rows.
        rows: usize,
        /// Values of all rows.
        values: usize,
        /// Counters of the table.
        counters: usize,
    },
    /// Not the epoch after the last one.
    #[error("epoch {got} after epoch {merged}")]
    Order {
        /// The snapshot's.
        got: u64,
        /// The newest merged.
        merged: u64,
    },
}

/// Everything that one module has counted since the supervisor started.
#[derive(Debug)]
pub struct Totals {
    counters: usize,
    system: Vec<u64>,
    /// Counters of each group, one after the other, by group index; empty without applications.
    groups: Vec<u64>,
    /// Groups that were ever charged with anything.
    seen: Vec<bool>,
    missed: Missed,
    /// Operations that the last canary did, and that were counted.
    canary: (u64, u64),
    merged_epoch: u64,
    baseline: Baseline,
    assigned: Vec<shared::apps::GroupId>,
}

impl Totals {
    /// Zero. `groups`: number of application groups, 0 without applications.
    pub fn new(counters: usize, groups: usize) -> Self {
        Totals {
            counters,
            system: vec![0; counters],
            groups: vec![0; counters * groups],
            seen: vec![false; groups],
            missed: Missed::default(),
            canary: (0, 0),
            merged_epoch: 0,
            baseline: Baseline::default(),
            assigned: Vec::new(),
        }
    }

    /// Everything is attached anew: epochs are counted from 1 again.
    pub fn attached_anew(&mut self) {
        self.merged_epoch = 0;
        self.baseline = Baseline::default();
    }

    /// Of the newest epoch that is in the totals.
    pub fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    /// The last canary did `done` operations, of which `counted` were counted.
    pub fn set_canary(&mut self, done: u64, counted: u64) {
        self.canary = (done, counted);
    }

    /// What the last canary did, and what of it was counted.
    pub fn canary(&self) -> (u64, u64) {
        self.canary
    }

    /// The newest epoch that is in the totals.
    pub fn merged_epoch(&self) -> u64 {
        self.merged_epoch
    }

    /// Adds one epoch. Returns `false` for an epoch that is in already, which changes nothing.
    ///
    /// Fails, and changes nothing, when the snapshot is not of this module's shape or leaves out an epoch.
    pub fn merge(
        &mut self,
        snapshot: &Snapshot,
        processes: Option<&mut ProcessTable>,
    ) -> Result<bool, MergeError> {
        self.check(snapshot)?;
        if snapshot.epoch == self.merged_epoch {
            return Ok(false);
        }
        self.merged_epoch = snapshot.epoch;
        self.baseline.clone_from(&snapshot.baseline);
        for row in snapshot.values.chunks_exact(self.counters).chain([snapshot.unattributed.as_slice()]) {
            add(&mut self.system, row);
        }
        self.missed.add(&snapshot.missed);
        if let Some(processes) = processes {
            self.charge_groups(snapshot, processes);
        }
        Ok(true)
    }

    fn check(&self, snapshot: &Snapshot) -> Result<(), MergeError> {
        let (rows, values) = (snapshot.identities.len(), snapshot.values.len());
        if values != rows * self.counters
            || snapshot.unattributed.len() != self.counters
            || snapshot.baseline.totals.len() > self.counters + EXTRA_COUNTERS
        {
            return Err(MergeError::Shape { rows, values, counters: self.counters });
        }
        if snapshot.epoch != self.merged_epoch && snapshot.epoch != self.merged_epoch + 1 {
            return Err(MergeError::Order { got: snapshot.epoch, merged: self.merged_epoch });
        }
        Ok(())
    }

    fn charge_groups(&mut self, snapshot: &Snapshot, processes: &mut ProcessTable) {
        let mut assigned = std::mem::take(&mut self.assigned);
        for line in &snapshot.command_lines {
            // A line that was cut is better read whole, as long as the process is there.
            if line.complete || !Path::new("/proc").join(line.tgid.to_string()).exists() {
                processes.remember_command_line(line.tgid, line.generation, &line.text);
            }
        }
        processes.assign(&snapshot.identities, &mut assigned);
        for (group, row) in assigned.iter().zip(snapshot.values.chunks_exact(self.counters)) {
            self.charge(group.index(), row);
        }
        // What has no process belongs to no known group.
        self.charge(processes.groups().other().index(), &snapshot.unattributed);
        self.assigned = assigned;
    }

    fn charge(&mut self, group: usize, row: &[u64]) {
        if row.iter().any(|&value| value != 0) {
            self.seen[group] = true;
            add(&mut self.groups[group * self.counters..][..self.counters], row);
        }
    }

    /// A counter of the whole system.
    pub fn system(&self, slot: usize) -> u64 {
        self.system[slot]
    }

    /// A counter of one group.
    pub fn group(&self, group: usize, slot: usize) -> u64 {
        self.groups[group * self.counters + slot]
    }

    /// Groups to draw: those that were ever charged.
    pub fn groups_seen(&self) -> impl Iterator<Item = usize> {
        self.seen.iter().enumerate().filter_map(|(group, &seen)| seen.then_some(group))
    }

    /// Makes a group drawn although it has done nothing yet.
    pub fn expect_group(&mut self, group: usize) {
        self.seen[group] = true;
    }

    /// Losses since the start.
    pub fn missed(&self) -> Missed {
        self.missed
    }
}

fn add(sums: &mut [u64], row: &[u64]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum = sum.wrapping_add(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::apps::AppsGroups;
    use shared::snapshot::Identity;

    fn row(tgid: u32, name: &str) -> Identity {
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name.as_bytes());
        Identity {
            tgid,
            parent_tgid: 1,
            generation: 0,
            start_ns: 5,
            comm,
            comm_of_thread: false,
            ended: false,
        }
    }

    fn snapshot(epoch: u64) -> Snapshot {
        Snapshot {
            epoch,
            taken_at_ns: epoch,
            identities: vec![row(10, "cat"), row(11, "dog")],
            values: vec![1, 2, 30, 40],
            unattributed: vec![500, 0],
            command_lines: Vec::new(),
            flows: Vec::new(),
            missed: Missed { no_row: 500, ..Missed::default() },
            baseline: Baseline::default(),
        }
    }

    fn processes() -> ProcessTable {
        let (groups, _) = AppsGroups::parse(b"cats: cat\n", Path::new("apps_groups.conf"));
        ProcessTable::new(groups, "/nonexistent")
    }

    #[test]
    fn groups_add_up_to_the_system() {
        let mut processes = processes();
        let groups = processes.groups().groups().len();
        let mut totals = Totals::new(2, groups);
        assert_eq!(totals.merge(&snapshot(1), Some(&mut processes)), Ok(true));
        for slot in 0..2 {
            let sum: u64 = (0..groups).map(|group| totals.group(group, slot)).sum();
            assert_eq!(sum, totals.system(slot));
        }
        let cats = processes.groups().groups().iter().position(|name| name == "cats").unwrap();
        assert_eq!((totals.group(cats, 0), totals.group(cats, 1)), (1, 2));
        assert_eq!((totals.system(0), totals.system(1)), (531, 42));
    }

    #[test]
    fn an_epoch_counts_once_and_none_may_be_left_out() {
        let mut totals = Totals::new(2, 0);
        assert_eq!(totals.merge(&snapshot(1), None), Ok(true));
        assert_eq!(totals.merge(&snapshot(1), None), Ok(false));
        assert_eq!(totals.system(0), 531);
        assert_eq!(totals.merge(&snapshot(3), None), Err(MergeError::Order { got: 3, merged: 1 }));
        totals.attached_anew();
        assert_eq!(totals.merge(&snapshot(1), None), Ok(true));
        assert_eq!(totals.system(0), 1062);
    }

    #[test]
    fn a_snapshot_of_another_shape_changes_nothing() {
        let mut totals = Totals::new(2, 0);
        let mut wrong = snapshot(1);
        wrong.values.pop();
        assert!(matches!(totals.merge(&wrong, None), Err(MergeError::Shape { .. })));
        assert_eq!(totals.system(0), 0);
    }
}
