//! What a worker holds in the kernel, whether it attached it itself or took it over: descriptors, without aya.
//!
//! Nothing here detaches: a program runs as long as anybody holds its link, and the supervisor holds it, too.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::bpf;
use crate::loader::Kprobe;

/// How descriptors show in /proc/self/fd that keep a program attached: links, raw tracepoints (before 5.7) and perf events.
const KEEPERS: &[&str] = &["anon_inode:bpf_link", "anon_inode:bpf-raw-tracepoint", "anon_inode:[perf_event]"];

/// Programs that are attached, and what keeps them so.
#[derive(Debug)]
pub struct Attached {
    /// Every program.
    pub programs: Vec<OwnedFd>,
    /// kprobes, which tell what they miss.
    pub kprobes: Vec<Kprobe>,
    /// Whatever else keeps a program attached.
    pub others: Vec<OwnedFd>,
}

impl Attached {
    /// How often the kernel has skipped a program at an entry, because it was already running on that CPU; all programs, since they were
    /// attached.
    pub fn recursion_misses(&self) -> u64 {
        recursion_misses(self.programs.iter().map(AsFd::as_fd)) + misses(&self.kprobes, false)
    }

    /// Returns that kretprobes have lost; all together, since they were attached.
    pub fn kretprobe_misses(&self) -> u64 {
        misses(&self.kprobes, true)
    }

    /// Asks once what `recursion_misses` asks for.
    pub fn try_programs(&self) -> io::Result<()> {
        self.programs.first().map_or(Ok(()), |program| bpf::recursion_misses(program.as_fd()).map(drop))
    }
}

/// Sum over programs. A kernel that does not answer has nothing to say about misses either: what it counted so far is 0.
pub fn recursion_misses<'a>(programs: impl Iterator<Item = BorrowedFd<'a>>) -> u64 {
    programs.map(|program| bpf::recursion_misses(program).ok().flatten().unwrap_or(0)).sum()
}

/// Sum over the kprobes at entries or at returns.
pub fn misses(kprobes: &[Kprobe], at_return: bool) -> u64 {
    kprobes.iter().filter(|kprobe| kprobe.is_at_return() == at_return).map(Kprobe::misses).sum()
}

/// A duplicate of every descriptor of this process that keeps a program attached, but for those of `known`.
///
/// Looked up in /proc instead of being asked of aya, which does not give all of them away.
pub fn keepers(known: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        // The directory's own descriptor is gone when it is looked at.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if !known.contains(&fd) && target.to_str().is_some_and(|target| KEEPERS.contains(&target)) {
            found.push(bpf::duplicate(fd)?);
        }
    }
    Ok(found)
}

/// The raw numbers of what the kprobes hold.
pub fn raw_of(kprobes: &[Kprobe]) -> Vec<RawFd> {
    kprobes.iter().flat_map(Kprobe::descriptors).map(|fd| fd.as_raw_fd()).collect()
}
