//! What a worker counted in one epoch: rows per process, what found no row, and traffic by peer.

use serde::{Deserialize, Serialize};

pub use crate::peer::Protocol;

/// Who a row belongs to, as the kernel recorded it when the row was claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Thread-group id: what user space calls the process id.
    pub tgid: u32,
    /// Thread-group id of the process that created this one; 0 where the kernel could not tell.
    pub parent_tgid: u32,
    /// Changes whenever the process executes another program, so that what it did before stays with its old name.
    pub generation: u32,
    /// Start of the process, nanoseconds of CLOCK_MONOTONIC; 0 where the kernel could not tell.
    pub start_ns: u64,
    /// Name of the program, at most 15 bytes, padded with NUL.
    pub comm: [u8; 16],
    /// True when `comm` is the name of the thread that claimed the row, which may differ from its process's.
    pub comm_of_thread: bool,
    /// True when the process was reaped in this epoch: its id may now be used again.
    pub ended: bool,
}

impl Identity {
    /// The name up to the first NUL.
    pub fn name(&self) -> &[u8] {
        let end = self.comm.iter().position(|&byte| byte == 0).unwrap_or(self.comm.len());
        &self.comm[..end]
    }
}

/// One epoch of one module. Several rows may carry the same process: one for each CPU that it ran on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Number of the epoch, rising by one.
    pub epoch: u64,
    /// When the epoch was closed, nanoseconds of CLOCK_MONOTONIC.
    pub taken_at_ns: u64,
    /// Whose counters `values` holds, in the same order.
    pub identities: Vec<Identity>,
    /// `identities.len()` × counters of the module, row by row, in table order; events (or bytes) of this epoch.
    pub values: Vec<u64>,
    /// Counters of this epoch that found no row of their own, in table order; they belong to no known process.
    pub unattributed: Vec<u64>,
    /// Programs that were executed, where the kernel recorded how.
    pub command_lines: Vec<CommandLine>,
    /// Traffic by peer and by port, each once; empty for modules that count none.
    pub flows: Vec<Flow>,
    /// Losses and near-losses of this epoch.
    pub missed: Missed,
    /// Where the kernel's counters that only grow stood when the epoch was closed.
    pub baseline: Baseline,
}

/// Counters of the kernel that are never cleared, at the end of an epoch: the next epoch is what they grow by.
///
/// The supervisor keeps that of the newest epoch it has merged, for a worker that goes on where this one stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Without applications: the sums of the CPUs' rows.
    pub totals: Vec<u64>,
    /// Program runs that the kernel skipped.
    pub recursion: u64,
    /// Returns that kretprobes have lost.
    pub kretprobe: u64,
}

/// Traffic with one peer, or on one port of this host, in one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// With whom.
    pub key: FlowKey,
    /// How much.
    pub traffic: Traffic,
}

/// What the kernel adds traffic up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowKey {
    /// Who began it.
    pub direction: Direction,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Outbound: the peer's port; inbound: the port of this host. 0 where the kernel could not tell, or had no room.
    pub port: u16,
    /// Outbound: the peer's address, IPv4 as `::ffff:a.b.c.d`; inbound, or where the kernel could not tell: `::`.
    pub address: [u8; 16],
}

impl FlowKey {
    /// Whether this is the rest: traffic with a peer that is not known.
    pub fn is_unknown(&self) -> bool {
        self.port == 0
    }
}

/// Who began a connection, or sends the first datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Somebody else: this host serves.
    Inbound,
    /// A program of this host.
    Outbound,
}

/// What was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes that were accepted for sending.
    pub sent_bytes: u64,
    /// Bytes that programs received.
    pub received_bytes: u64,
    /// Calls that sent something: datagrams for UDP.
    pub sent_packets: u64,
    /// Calls that received something: datagrams for UDP.
    pub received_packets: u64,
    /// TCP segments sent once more.
    pub retransmits: u64,
}

impl Traffic {
    /// Adds what was moved besides; wraps like the kernel's counters.
    pub fn add(&mut self, more: &Traffic) {
        self.sent_bytes = self.sent_bytes.wrapping_add(more.sent_bytes);
        self.received_bytes = self.received_bytes.wrapping_add(more.received_bytes);
        self.sent_packets = self.sent_packets.wrapping_add(more.sent_packets);
        self.received_packets = self.received_packets.wrapping_add(more.received_packets);
        self.retransmits = self.retransmits.wrapping_add(more.retransmits);
    }

    /// Bytes in both directions.
    pub fn bytes(&self) -> u64 {
        self.sent_bytes.saturating_add(self.received_bytes)
    }
}

/// The arguments of one execution, as the kernel recorded them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// The process.
    pub tgid: u32,
    /// Its generation from this execution on.
    pub generation: u32,
    /// Arguments, each ended by NUL.
    pub text: Vec<u8>,
    /// False when there was more than the kernel had room for.
    pub complete: bool,
}

/// Events of one epoch that could not be counted, or not where they belong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Events counted in `unattributed` because every table was full: right in the totals, `other` in the groups.
    pub no_row: u64,
    /// Program runs that the kernel skipped because the program was already running on that CPU: not counted.
    pub recursion: u64,
    /// Returns that a kretprobe had no instance for: results not counted.
    pub kretprobe: u64,
    /// Reads of kernel or user memory that failed: the event is counted, its detail is not.
    pub failed_reads: u64,
    /// Transfers counted with an unknown peer because the table of flows was full.
    pub no_flow: u64,
}

impl Missed {
    /// Adds the losses of a later epoch; wraps like every counter of ours.
    pub fn add(&mut self, later: &Missed) {
        // All fields by name: a new one that is forgotten here does not compile.
        let Missed { no_row, recursion, kretprobe, failed_reads, no_flow } = *later;
        self.no_row = self.no_row.wrapping_add(no_row);
        self.recursion = self.recursion.wrapping_add(recursion);
        self.kretprobe = self.kretprobe.wrapping_add(kretprobe);
        self.failed_reads = self.failed_reads.wrapping_add(failed_reads);
        self.no_flow = self.no_flow.wrapping_add(no_flow);
    }
}
