//! Decides the rows of one snapshot that say something new: parents before their children, in whatever order
//! they stand.
//!
//! A [`Case`] is one program that one process executed, with all its rows. What the table remembered before
//! the snapshot stays as it was until every case is decided, because a child belongs to what its parent was
//! when it was created.

use std::collections::HashMap;
use std::path::Path;

use super::case::{Case, Parent, State, is_copy};
use super::facts::{Comm, CommandLine, Start, is_later};
use super::groups::{AppsGroups, GroupId};
use super::matcher::{Hit, first_of};
use super::processes::Process;
use super::procfs;

/// Unknown ancestors of one process that are looked up in /proc.
const MAX_ANCESTORS: u32 = 64;

/// What the decisions are made from.
struct Known<'a> {
    groups: &'a AppsGroups,
    processes: &'a HashMap<u32, Process>,
    command_lines: &'a HashMap<(u32, u32), (Option<Hit>, u32)>,
    proc_root: &'a Path,
}

/// The cases of one snapshot.
#[derive(Debug, Default)]
pub(super) struct Cases {
    cases: Vec<Case>,
    /// First case of each process id; the others follow `next`.
    first: HashMap<u32, usize>,
    /// Cases that wait for their parents.
    waiting: Vec<usize>,
    text: Vec<u8>,
}

impl Cases {
    pub fn clear(&mut self) {
        self.cases.clear();
        self.first.clear();
    }

    pub fn len(&self) -> usize {
        self.cases.len()
    }

    pub fn get(&self, at: usize) -> &Case {
        &self.cases[at]
    }

    pub fn group(&self, at: usize) -> GroupId {
        self.cases[at].group
    }

    pub fn iter(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter()
    }

    /// Adds a row, to the case that says the same if there is one. Returns the number of the case.
    pub fn add(&mut self, mut case: Case) -> usize {
        let same = |at: &usize| {
            let known = &self.cases[*at];
            let is_same_name = known.comm_of_thread == case.comm_of_thread && known.comm == case.comm;
            known.start == case.start && known.generation == case.generation && is_same_name
        };
        let known = self.of_process(case.tgid).find(same);
        if let Some(at) = known {
            self.cases[at].ended |= case.ended;
            if self.cases[at].parent_tgid == 0 {
                self.cases[at].parent_tgid = case.parent_tgid;
            }
            return at;
        }
        let at = self.cases.len();
        case.next = self.first.insert(case.tgid, at);
        self.cases.push(case);
        at
    }

    fn of_process(&self, tgid: u32) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(self.first.get(&tgid).copied(), |&at| self.cases[at].next)
    }

    /// Decides every case. Reads /proc for what neither the rows nor `processes` tell.
    pub fn resolve(
        &mut self,
        groups: &AppsGroups,
        processes: &HashMap<u32, Process>,
        command_lines: &HashMap<(u32, u32), (Option<Hit>, u32)>,
        proc_root: &Path,
    ) {
        let known = Known { groups, processes, command_lines, proc_root };
        for at in 0..self.cases.len() {
            self.complete(at);
        }
        // Ancestors are appended while this runs, decided by the walk that asked for them.
        for at in 0..self.cases.len() {
            self.resolve_from(at, &known);
        }
    }

    /// Takes from other rows of the same process what this one does not tell.
    fn complete(&mut self, at: usize) {
        let case = &self.cases[at];
        let (mut start, mut parent_tgid, mut ended) = (case.start, case.parent_tgid, case.ended);
        for sibling in self.of_process(case.tgid).map(|other| &self.cases[other]) {
            if !case.is_sibling(sibling) {
                continue;
            }
            ended |= sibling.ended;
            if start == Start::Unknown && sibling.generation == case.generation {
                start = sibling.start;
            }
            if parent_tgid == 0 {
                parent_tgid = sibling.parent_tgid;
            }
        }
        let case = &mut self.cases[at];
        (case.start, case.parent_tgid, case.ended) = (start, parent_tgid, ended);
    }

    /// Decides a case after its undecided ancestors, without recursion: a chain may be as long as the
    /// snapshot.
    fn resolve_from(&mut self, at: usize, known: &Known) {
        self.waiting.push(at);
        while let Some(&at) = self.waiting.last() {
            if self.cases[at].state == State::New {
                self.cases[at].state = State::Open;
                self.cases[at].parent = self.find_parent(at, known);
                if let Parent::Case(parent) = self.cases[at].parent
                    && self.cases[parent].state == State::New
                {
                    self.waiting.push(parent);
                    continue;
                }
            }
            if self.cases[at].state == State::Open {
                self.decide(at, known);
            }
            self.waiting.pop();
        }
    }

    /// Who created the process. Not asked of one that the table knows.
    fn find_parent(&mut self, at: usize, known: &Known) -> Parent {
        let case = &self.cases[at];
        if remembered(case, known).is_some() {
            return Parent::Unknown;
        }
        let mut parent_tgid = case.parent_tgid;
        if parent_tgid == 0 && case.generation.is_some() && !case.ended {
            let stat = procfs::read_stat(known.proc_root, case.tgid);
            parent_tgid = stat.map_or(0, |stat| stat.parent_tgid);
        }
        if parent_tgid <= 1 || parent_tgid == case.tgid {
            return Parent::Unknown;
        }
        if let Some(parent) = self.candidate(at, parent_tgid, known) {
            return parent;
        }
        if self.is_reused(parent_tgid, case.start, known) {
            return Parent::Unknown;
        }
        let distance = case.distance + 1;
        if distance > MAX_ANCESTORS {
            return Parent::Unknown;
        }
        let Some(stat) = procfs::read_stat(known.proc_root, parent_tgid) else {
            return Parent::Unknown;
        };
        Parent::Case(self.add(Case::of_stat(parent_tgid, &stat, known.groups.other(), distance)))
    }

    /// Which program under the id `parent_tgid` created the process of case `at`. Of several processes: the
    /// youngest that is older than the child. Of its programs: the one that the child is, or was, a copy of,
    /// else the latest.
    fn candidate(&self, at: usize, parent_tgid: u32, known: &Known) -> Option<Parent> {
        let child = &self.cases[at];
        let mut best: Option<(bool, Start, Option<u32>, Parent)> = None;
        let remembered = known.processes.get(&parent_tgid).map(|process| {
            (process.start, process.generation, process.comm, Parent::Remembered(parent_tgid))
        });
        let in_snapshot = self.of_process(parent_tgid).map(|at| {
            let case = &self.cases[at];
            (case.start, case.generation, case.comm, Parent::Case(at))
        });
        for (start, generation, comm, parent) in remembered.into_iter().chain(in_snapshot) {
            if start.is_after(child.start) {
                continue; // another process, which got the id of the parent
            }
            let is_copied = self
                .of_process(child.tgid)
                .map(|at| &self.cases[at])
                .any(|sibling| sibling.is_sibling(child) && is_copy(sibling, generation, comm));
            let is_better = best.is_none_or(|(best_copied, best_start, best_generation, _)| {
                if start.is_after(best_start) || best_start.is_after(start) {
                    return start.is_after(best_start);
                }
                if is_copied != best_copied {
                    return is_copied;
                }
                match (generation, best_generation) {
                    (Some(own), Some(best)) => !is_later(best, own),
                    (own, best) => own.is_some() || best.is_none(),
                }
            });
            if is_better {
                best = Some((is_copied, start, generation, parent));
            }
        }
        best.map(|(.., parent)| parent)
    }

    /// True when the id belongs to a process that is younger than one that started at `start`; so does what
    /// /proc shows under it.
    fn is_reused(&self, tgid: u32, start: Start, known: &Known) -> bool {
        known.processes.get(&tgid).is_some_and(|process| process.start.is_after(start))
            || self.of_process(tgid).any(|at| self.cases[at].start.is_after(start))
    }

    fn decide(&mut self, at: usize, known: &Known) {
        let inherited = match remembered(&self.cases[at], known) {
            Some(process) => process.inherited,
            None => self.group_of_parent(at, known),
        };
        let comm = self.process_name(at, known);
        self.cases[at].comm = comm;
        let command_line = if known.groups.reads_command_lines() {
            self.command_line(at, known)
        } else {
            CommandLine::Unread
        };
        let by_command_line = match command_line {
            CommandLine::Read(hit) => hit,
            CommandLine::Unread => known.groups.match_command_line(comm.as_bytes()),
        };
        let matched = first_of(known.groups.match_comm(comm.as_bytes()), by_command_line);

        let case = &mut self.cases[at];
        case.inherited = inherited;
        case.command_line = command_line;
        // Of processes 0 and 1 only /proc tells here; rows of theirs are never undecided.
        case.group =
            if case.tgid <= 1 { known.groups.other() } else { matched.map_or(inherited, |hit| hit.group) };
        case.state = State::Decided;
    }

    fn group_of_parent(&self, at: usize, known: &Known) -> GroupId {
        match self.cases[at].parent {
            Parent::Remembered(tgid) => {
                known.processes.get(&tgid).map_or(known.groups.other(), |parent| parent.group)
            }
            // An undecided parent is one of a circle, which only wrong data makes.
            Parent::Case(parent) if self.cases[parent].state == State::Decided => self.cases[parent].group,
            Parent::Case(_) | Parent::Unknown => known.groups.other(),
        }
    }

    /// The name of the process, where the row may tell that of a thread.
    fn process_name(&self, at: usize, known: &Known) -> Comm {
        let case = &self.cases[at];
        if !case.comm_of_thread {
            return case.comm;
        }
        let mut siblings = self.of_process(case.tgid).map(|at| &self.cases[at]);
        if let Some(named) = siblings.find(|sibling| !sibling.comm_of_thread && case.is_same_program(sibling))
        {
            return named.comm;
        }
        let process = remembered(case, known);
        if let Some(process) = process.filter(|process| process.generation == case.generation) {
            return process.comm;
        }
        let stat = if case.ended || !self.is_latest(at) {
            None
        } else {
            procfs::read_stat(known.proc_root, case.tgid)
        };
        let seeded = process.filter(|process| process.generation.is_none());
        stat.map(|stat| stat.comm).or(seeded.map(|process| process.comm)).unwrap_or(case.comm)
    }

    /// What the command line of a case matches, read only if nobody knows it yet.
    fn command_line(&mut self, at: usize, known: &Known) -> CommandLine {
        let case = &self.cases[at];
        if let Some(generation) = case.generation
            && let Some(&(hit, _)) = known.command_lines.get(&(case.tgid, generation))
        {
            return CommandLine::Read(hit);
        }
        if let Some(process) = remembered(case, known) {
            let is_seeded = process.generation.is_none() && process.comm == case.comm;
            if is_seeded || process.generation == case.generation {
                return process.command_line;
            }
        }
        let of_sibling = self
            .of_process(case.tgid)
            .map(|at| &self.cases[at])
            .find(|sibling| sibling.state == State::Decided && case.is_same_program(sibling));
        if let Some(sibling) = of_sibling {
            return sibling.command_line;
        }
        let (generation, comm, of_parent) = match case.parent {
            Parent::Unknown => (None, case.comm, CommandLine::Unread),
            Parent::Case(parent) => {
                let parent = &self.cases[parent];
                (parent.generation, parent.comm, parent.command_line)
            }
            Parent::Remembered(tgid) => {
                known.processes.get(&tgid).map_or((None, case.comm, CommandLine::Unread), |parent| {
                    (parent.generation, parent.comm, parent.command_line)
                })
            }
        };
        if is_copy(case, generation, comm) && of_parent != CommandLine::Unread {
            return of_parent;
        }
        if case.ended || !self.is_latest(at) {
            return CommandLine::Unread; // what /proc tells now is another program's
        }
        if !procfs::read_command_line(known.proc_root, case.tgid, &mut self.text) {
            return CommandLine::Unread;
        }
        CommandLine::Read(known.groups.match_command_line(&self.text))
    }

    /// True when no other row shows that the process has gone on to another program since, or that its id
    /// went to another process.
    fn is_latest(&self, at: usize) -> bool {
        let case = &self.cases[at];
        !self.of_process(case.tgid).any(|other| self.cases[other].is_successor_of(case))
    }
}

/// What the table knows of the process of a case.
fn remembered<'a>(case: &Case, known: &Known<'a>) -> Option<&'a Process> {
    known.processes.get(&case.tgid).filter(|process| process.is_same(case.start))
}
