//! What the bytes of a row mean: `struct row` of `probe-objects/common/rows.h`. Pure.

use shared::snapshot::Identity;

/// Bytes before the counters.
pub const HEADER: usize = 48;

/// Counters after the table's own: events without a row, and failed reads.
pub const EXTRA_COUNTERS: usize = 2;

/// Bytes of a key of the hashes: `struct row_key`.
pub const KEY: usize = 16;

/// Most bytes of a command line that are recorded: `COMMAND_LINE` of common/command_line.h.
pub const COMMAND_LINE: usize = 1024;

/// Slots of a CPU in one epoch, not counting its spill row.
pub const SLOTS: usize = 256;

/// Rows of a CPU in the mapped array: slots of even and of odd epochs, then a spill row of each.
pub const ROWS_PER_CPU: usize = 2 * SLOTS + 2;

/// Rows in the global `cpu_rows`; further CPUs share them.
pub const CPU_ROWS: usize = 256;

/// The first slot of a CPU in the epochs of one parity.
pub fn first_slot(cpu: usize, parity: usize) -> usize {
    cpu * ROWS_PER_CPU + parity * SLOTS
}

/// The spill row of a CPU in the epochs of one parity.
pub fn spill_row(cpu: usize, parity: usize) -> usize {
    cpu * ROWS_PER_CPU + 2 * SLOTS + parity
}

/// Words of the map `control`.
pub mod control {
    /// Where a task's ids are, for objects without BTF.
    pub const TASK_IDS_OFFSET: u32 = 1;
    /// Where a task's name is, for objects without BTF.
    pub const TASK_COMM_OFFSET: u32 = 2;
    /// Events that programs for several events count.
    pub const SHARED_EVENTS: u32 = 3;
    /// Whether traffic is counted by peer.
    pub const FLOWS: u32 = 4;
}

const COMM_OF_THREAD: u32 = 1;
const ENDED: u32 = 2;
const RENAMED: u32 = 4;

/// Bytes of a row with `counters` counters of the table.
pub fn row_size(counters: usize) -> usize {
    HEADER + (counters + EXTRA_COUNTERS) * 8
}

/// A row as the kernel wrote it.
#[derive(Clone, Copy)]
pub struct RawRow<'a>(pub &'a [u8]);

impl RawRow<'_> {
    /// Who claimed it.
    pub fn identity(self) -> Identity {
        let flags = self.u32_at(28);
        let mut comm = [0; 16];
        comm.copy_from_slice(&self.0[32..48]);
        Identity {
            start_ns: self.u64_at(8),
            tgid: self.u32_at(16),
            parent_tgid: self.u32_at(20),
            generation: self.u32_at(24),
            comm,
            comm_of_thread: flags & COMM_OF_THREAD != 0,
            ended: flags & ENDED != 0,
        }
    }

    /// Whether the process gave itself the name of this row.
    pub fn is_renamed(self) -> bool {
        self.u32_at(28) & RENAMED != 0
    }

    /// Every counter: the table's, then events without a row, then failed reads.
    pub fn counters(self) -> impl Iterator<Item = u64> {
        (HEADER..self.0.len()).step_by(8).map(move |at| self.u64_at(at))
    }

    fn u64_at(self, at: usize) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.0[at..at + 8]);
        u64::from_ne_bytes(word)
    }

    fn u32_at(self, at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.0[at..at + 4]);
        u32::from_ne_bytes(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_the_c_side_lays_it_out() {
        let mut bytes = vec![0_u8; row_size(2)];
        bytes[0] = 1;
        bytes[8..16].copy_from_slice(&77_u64.to_ne_bytes());
        bytes[16..20].copy_from_slice(&4242_u32.to_ne_bytes());
        bytes[20..24].copy_from_slice(&1_u32.to_ne_bytes());
        bytes[24..28].copy_from_slice(&9_u32.to_ne_bytes());
        bytes[28..32].copy_from_slice(&2_u32.to_ne_bytes());
        bytes[32..35].copy_from_slice(b"cat");
        for (n, at) in (HEADER..row_size(2)).step_by(8).enumerate() {
            bytes[at..at + 8].copy_from_slice(&(n as u64 + 10).to_ne_bytes());
        }
        let row = RawRow(&bytes);
        let identity = row.identity();
        assert_eq!(
            (identity.start_ns, identity.tgid, identity.parent_tgid, identity.generation),
            (77, 4242, 1, 9)
        );
        assert_eq!(identity.name(), b"cat");
        assert!(identity.ended && !identity.comm_of_thread);
        assert_eq!(row.counters().collect::<Vec<_>>(), [10, 11, 12, 13]);
    }
}
