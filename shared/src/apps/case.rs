//! One program that one process executed, as the rows of a snapshot, or /proc, tell of it.

use super::facts::{Comm, CommandLine, Start, is_later};
use super::groups::GroupId;
use super::processes::Process;
use super::procfs::Stat;
use crate::snapshot::Identity;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    New,
    Open,
    Decided,
}

/// Whose group a new process inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parent {
    Unknown,
    /// As the table remembers it.
    Remembered(u32),
    Case(usize),
}

/// One program that one process executed.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub tgid: u32,
    pub start: Start,
    pub group: GroupId,
    pub generation: Option<u32>,
    pub parent_tgid: u32,
    pub comm: Comm,
    pub comm_of_thread: bool,
    pub ended: bool,
    /// Steps from the row that asked for it; 0 for rows and the scan of /proc.
    pub distance: u32,
    pub inherited: GroupId,
    pub command_line: CommandLine,
    pub parent: Parent,
    pub state: State,
    /// The next case of the same process id.
    pub next: Option<usize>,
}

impl Case {
    /// What a row tells. `other` is the group until it is decided.
    pub fn of_row(row: &Identity, other: GroupId) -> Self {
        Self {
            tgid: row.tgid,
            start: Start::of_row(row.start_ns),
            group: other,
            generation: Some(row.generation),
            parent_tgid: row.parent_tgid,
            comm: Comm::new(row.name()),
            comm_of_thread: row.comm_of_thread,
            ended: row.ended,
            distance: 0,
            inherited: other,
            command_line: CommandLine::Unread,
            parent: Parent::Unknown,
            state: State::New,
            next: None,
        }
    }

    /// What /proc tells.
    pub fn of_stat(tgid: u32, stat: &Stat, other: GroupId, distance: u32) -> Self {
        Self {
            tgid,
            start: Start::Boot(stat.start_boot_ns),
            group: other,
            generation: None,
            parent_tgid: stat.parent_tgid,
            comm: stat.comm,
            comm_of_thread: false,
            ended: false,
            distance,
            inherited: other,
            command_line: CommandLine::Unread,
            parent: Parent::Unknown,
            state: State::New,
            next: None,
        }
    }

    /// Process and count of its execs, if a row told it.
    pub fn program(&self) -> Option<(u32, u32)> {
        self.generation.map(|generation| (self.tgid, generation))
    }

    /// What the table is to remember.
    pub fn to_process(&self, now: u32) -> Process {
        Process {
            start: self.start,
            generation: self.generation,
            comm: self.comm,
            inherited: self.inherited,
            group: self.group,
            command_line: self.command_line,
            ended: false,
            heard_at: now,
        }
    }

    /// True when `process`, of the same id, is what came after this case.
    pub fn is_older_than(&self, process: &Process) -> bool {
        if !process.is_same(self.start) {
            return process.start.is_after(self.start);
        }
        match (self.generation, process.generation) {
            (Some(own), Some(remembered)) => is_later(remembered, own),
            (None, Some(_)) => true,
            _ => false,
        }
    }

    /// True when both are of the same process, not just of the same id.
    pub fn is_sibling(&self, other: &Case) -> bool {
        self.tgid == other.tgid && self.start.is_same(other.start, false)
    }

    pub fn is_same_program(&self, other: &Case) -> bool {
        self.is_sibling(other) && self.generation == other.generation
    }

    pub fn is_successor_of(&self, other: &Case) -> bool {
        let is_later_program =
            matches!((self.generation, other.generation), (Some(a), Some(b)) if is_later(a, b));
        self.start.is_after(other.start) || self.is_sibling(other) && is_later_program
    }
}

/// True when `child` has executed nothing since a parent with this count of execs and this name created it.
/// Only rows with an exact start tell: with the others the count is the process id's own, and a child does
/// not get its parent's.
pub(super) fn is_copy(child: &Case, parent_generation: Option<u32>, parent_comm: Comm) -> bool {
    let is_inherited_count = matches!(child.start, Start::Monotonic(_));
    let is_same_program = child.generation.is_some() && child.generation == parent_generation;
    is_inherited_count && is_same_program && !child.comm_of_thread && child.comm == parent_comm
}
