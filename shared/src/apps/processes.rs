//! Decides which group each process belongs to, and remembers it.
//!
//! **The rule.** A process belongs to the group of the first pattern that matches its name or command line;
//! else to the group that its parent had when it was created; else to `other`. The processes 0 and 1 are
//! `other`. When a process executes another program or is renamed, it is matched again; if nothing matches
//! then, it has the group that it inherited.
//!
//! Netdata's apps.plugin also gives parents the group of their children ("bottom-up merge"). We do not, on
//! purpose: the group of a process would depend on what it started, and change in hindsight, after its
//! counters are charged.
//!
//! **Whom to believe.** Names, parents and times are what the kernel recorded when it counted. `/proc` is
//! read only for what the kernel could not tell, and never for a process that has ended, as its id may be
//! another's by now: parents that never did anything, names where only a thread's is known, command lines.
//! The parent is the one at the time of the process's first row, so a process that was orphaned before
//! inherits from who adopted it.
//!
//! **Cost.** A known process costs one hash look-up. Memory: about 100 bytes for each of at most
//! [`MAX_PROCESSES`]; what finds no place is decided anew each time.
//!
//! A command line in `/proc` is memory of that process, and whoever maps it from a stalled file system (FUSE)
//! makes its readers wait; [`ProcessTable::remember_command_line`] takes one that the kernel recorded, and is
//! preferred.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;

use super::case::Case;
use super::facts::{Comm, CommandLine, Start};
use super::groups::{AppsGroups, GroupId};
use super::matcher::Hit;
use super::procfs;
use super::resolve::Cases;
use crate::snapshot::Identity;

/// Most processes that are remembered: 8 times the kernel's classic `pid_max`; about 26 MB when full.
pub const MAX_PROCESSES: usize = 262_144;
/// Ended processes are kept for this many calls, as parents of those that have not been heard of yet.
const KEEP_ENDED_CALLS: u32 = 16;
/// Calls in which the modules' snapshots of one epoch arrive, after that of the module that told the end.
const SAME_EPOCH_CALLS: u32 = 2;
/// Most ended processes that are kept.
const MAX_ENDED: usize = 65_536;
/// Most command lines that wait for their process.
const MAX_COMMAND_LINES: usize = 65_536;
/// A process that no row named for this many calls is looked up in /proc: its end may have been missed.
const STALE_CALLS: u32 = 600;
/// Look-ups of stale processes in one call, and when there is no place for a new process.
const CHECKS_PER_CALL: usize = 32;
const CHECKS_WHEN_FULL: usize = 1024;

/// What is known of a process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub start: Start,
    /// `None` as long as only /proc has told of it.
    pub generation: Option<u32>,
    pub comm: Comm,
    /// The group of its parent when it was created.
    pub inherited: GroupId,
    pub group: GroupId,
    pub command_line: CommandLine,
    /// Reaped: the id may be used again.
    pub ended: bool,
    /// Call of `assign` that last named it.
    pub heard_at: u32,
}

impl Process {
    /// True when a row with this start may be of this process.
    pub fn is_same(&self, start: Start) -> bool {
        self.start.is_same(start, self.ended)
    }
}

/// Groups of all processes that were heard of.
#[derive(Debug)]
pub struct ProcessTable {
    groups: AppsGroups,
    proc_root: PathBuf,
    limit: usize,
    processes: HashMap<u32, Process>,
    /// By process and generation, with the call that came before it.
    command_lines: HashMap<(u32, u32), (Option<Hit>, u32)>,
    /// In the order of their ends: process and the call that told it.
    ended: VecDeque<(u32, u32)>,
    /// Processes still to be checked in this round, and when the round began.
    unchecked: Vec<u32>,
    round_began: u32,
    /// Call that last found the table full.
    made_room_at: Option<u32>,
    /// Calls of `assign`.
    now: u32,
    cases: Cases,
    /// Row and case of what this call has to decide.
    undecided: Vec<(usize, usize)>,
}

impl ProcessTable {
    /// A table that knows no process. `proc_root`: `/proc`, or where the host's is mounted.
    pub fn new(groups: AppsGroups, proc_root: impl Into<PathBuf>) -> Self {
        Self {
            groups,
            proc_root: proc_root.into(),
            limit: MAX_PROCESSES,
            processes: HashMap::new(),
            command_lines: HashMap::new(),
            ended: VecDeque::new(),
            unchecked: Vec::new(),
            round_began: 0,
            made_room_at: None,
            now: 0,
            cases: Cases::default(),
            undecided: Vec::new(),
        }
    }

    /// The groups that processes are put into.
    pub fn groups(&self) -> &AppsGroups {
        &self.groups
    }

    /// Number of processes that are remembered, including some that have ended.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// True when no process is remembered.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Learns all processes of /proc, so that parents that never do anything are known. To be called once, at
    /// start.
    ///
    /// Returns the groups that have processes, in file order. Fails when /proc cannot be listed; the table
    /// works then, too, but has to ask for each unknown parent.
    pub fn seed(&mut self) -> io::Result<Vec<GroupId>> {
        self.cases.clear();
        for tgid in procfs::list(&self.proc_root)? {
            if let Some(stat) = procfs::read_stat(&self.proc_root, tgid) {
                self.cases.add(Case::of_stat(tgid, &stat, self.groups.other(), 0));
            }
        }
        self.cases.resolve(&self.groups, &self.processes, &self.command_lines, &self.proc_root);
        let mut used: Vec<GroupId> = self.cases.iter().map(|case| case.group).collect();
        used.sort_unstable();
        used.dedup();
        self.commit();
        Ok(used)
    }

    /// Takes the command line that the kernel recorded when a process executed a program; `text`: arguments
    /// separated by NUL or space. To be called before the `assign` whose rows first carry that generation.
    pub fn remember_command_line(&mut self, tgid: u32, generation: u32, text: &[u8]) {
        let is_full = self.command_lines.len() >= MAX_COMMAND_LINES;
        if is_full || text.is_empty() || !self.groups.reads_command_lines() {
            return;
        }
        let mut text = text[..text.len().min(procfs::MAX_COMMAND_LINE_BYTES as usize)].to_vec();
        procfs::spaces_for_nul(&mut text);
        self.command_lines.insert((tgid, generation), (self.groups.match_command_line(&text), self.now));
    }

    /// Finds the group of each row of one snapshot. `out` is emptied and gets one group for each identity, in
    /// order.
    ///
    /// Rows may stand in any order; several may be of the same process. Ended processes are forgotten after
    /// the call, except as parents of children that are first heard of within the next calls.
    pub fn assign(&mut self, identities: &[Identity], out: &mut Vec<GroupId>) {
        self.now = self.now.wrapping_add(1);
        out.clear();
        self.cases.clear();
        self.undecided.clear();
        for (row, identity) in identities.iter().enumerate() {
            let known = self.known_group(identity);
            out.push(known.unwrap_or(self.groups.other()));
            if known.is_none() {
                let case = self.cases.add(Case::of_row(identity, self.groups.other()));
                self.undecided.push((row, case));
            }
        }
        if !self.undecided.is_empty() {
            self.cases.resolve(&self.groups, &self.processes, &self.command_lines, &self.proc_root);
            for &(row, case) in &self.undecided {
                out[row] = self.cases.group(case);
            }
            self.commit();
        }
        for identity in identities.iter().filter(|identity| identity.ended) {
            self.bury(identity);
        }
        self.forget_ended();
        self.sweep();
    }

    /// The group of a row that says nothing new.
    fn known_group(&mut self, row: &Identity) -> Option<GroupId> {
        if row.tgid <= 1 {
            return Some(self.groups.other());
        }
        let process = self.processes.get_mut(&row.tgid)?;
        let start = Start::of_row(row.start_ns);
        // Where starts are not known, the rows of one epoch that a second module counted come after the end.
        let has_just_ended = process.ended && self.now.wrapping_sub(process.heard_at) <= SAME_EPOCH_CALLS;
        let is_same_process = process.is_same(start) || has_just_ended && start == Start::Unknown;
        let is_same_name = process.comm.as_bytes() == row.name();
        let is_same_program = match process.generation {
            Some(generation) => generation == row.generation && (row.comm_of_thread || is_same_name),
            None => is_same_name && !row.comm_of_thread,
        };
        if !is_same_program || !is_same_process {
            return None;
        }
        process.generation = Some(row.generation);
        process.start = process.start.better_of(start);
        if !process.ended {
            process.heard_at = self.now;
        }
        Some(process.group)
    }

    /// Remembers what was decided.
    fn commit(&mut self) {
        for at in 0..self.cases.len() {
            let case = self.cases.get(at);
            if let Some(program) = case.program() {
                self.command_lines.remove(&program);
            }
            let Some(process) = self.processes.get_mut(&case.tgid) else {
                let process = case.to_process(self.now);
                self.insert(case.tgid, process);
                continue;
            };
            if case.is_older_than(process) {
                continue;
            }
            let mut newer = case.to_process(self.now);
            if process.is_same(case.start) {
                newer.start = process.start.better_of(case.start);
                newer.ended = process.ended;
            }
            *process = newer;
        }
    }

    fn insert(&mut self, tgid: u32, process: Process) {
        if self.processes.len() >= self.limit {
            self.make_room();
        }
        if self.processes.len() < self.limit {
            self.processes.insert(tgid, process);
        }
    }

    fn bury(&mut self, row: &Identity) {
        let Some(process) = self.processes.get_mut(&row.tgid) else {
            return;
        };
        let start = Start::of_row(row.start_ns);
        // Without an exact start, the program that ended tells the process from one that has got its id in
        // the same epoch.
        let is_told_by_start = start != Start::Unknown && process.start == start;
        let is_told_by_program = process.is_same(start) && process.generation == Some(row.generation);
        if !process.ended && (is_told_by_start || is_told_by_program) {
            process.ended = true;
            self.ended.push_back((row.tgid, self.now));
        }
    }

    fn forget_ended(&mut self) {
        while let Some(&(tgid, at)) = self.ended.front() {
            if self.now.wrapping_sub(at) < KEEP_ENDED_CALLS && self.ended.len() <= MAX_ENDED {
                break;
            }
            self.ended.pop_front();
            self.remove_ended(tgid);
        }
    }

    /// Removes a process unless its id has been given to another since.
    fn remove_ended(&mut self, tgid: u32) {
        if self.processes.get(&tgid).is_some_and(|process| process.ended) {
            self.processes.remove(&tgid);
        }
    }

    /// Drops some processes whose end was missed, and command lines whose process never came.
    fn sweep(&mut self) {
        if self.unchecked.is_empty() {
            if self.now.wrapping_sub(self.round_began) < STALE_CALLS {
                return;
            }
            self.begin_round();
        }
        self.check(CHECKS_PER_CALL, STALE_CALLS);
    }

    fn begin_round(&mut self) {
        let now = self.now;
        self.round_began = now;
        self.unchecked.extend(self.processes.keys());
        self.command_lines.retain(|_, &mut (_, at)| now.wrapping_sub(at) < STALE_CALLS);
    }

    /// Asks /proc about at most `checks` processes that were not heard of for `stale_calls`.
    fn check(&mut self, checks: usize, stale_calls: u32) {
        let mut left = checks;
        // Those heard of lately cost a look-up only, so more of them may be passed over.
        for _ in 0..checks * 32 {
            if left == 0 {
                return;
            }
            let Some(tgid) = self.unchecked.pop() else { return };
            let is_stale = |process: &Process| self.now.wrapping_sub(process.heard_at) >= stale_calls;
            if !self.processes.get(&tgid).is_some_and(is_stale) {
                continue;
            }
            left -= 1;
            if !procfs::may_exist(&self.proc_root, tgid) {
                self.processes.remove(&tgid);
            }
        }
    }

    /// Asks /proc once in a call at most: the next call may try again.
    fn make_room(&mut self) {
        while let Some((tgid, _)) = self.ended.pop_front() {
            self.remove_ended(tgid);
        }
        if self.processes.len() < self.limit || self.made_room_at == Some(self.now) {
            return;
        }
        self.made_room_at = Some(self.now);
        if self.unchecked.is_empty() {
            self.begin_round();
        }
        self.check(CHECKS_WHEN_FULL, 1);
    }
}

#[cfg(test)]
mod tests;
