//! What tells one process, and one program of a process, from another: name, start, count of execs, command
//! line.

use super::matcher::Hit;
use super::procfs::TICK_NS;

/// Name of a program, at most 15 bytes; what is left is zero. The kernel leaves the end of longer, older
/// names there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Comm([u8; 16]);

impl Comm {
    /// The name up to its first NUL, cut to 15 bytes.
    pub fn new(name: &[u8]) -> Self {
        let mut comm = [0; 16];
        for (to, &from) in comm[..15].iter_mut().zip(name.iter().take_while(|&&byte| byte != 0)) {
            *to = from;
        }
        Self(comm)
    }

    /// The name without padding.
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        &self.0[..end]
    }
}

/// When a process was started, by the clock of who told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Unknown,
    /// Nanoseconds of CLOCK_MONOTONIC, exact: from the kernel's row.
    Monotonic(u64),
    /// Nanoseconds of CLOCK_BOOTTIME, rounded down to a tick: from /proc.
    Boot(u64),
}

impl Start {
    pub fn of_row(start_ns: u64) -> Self {
        if start_ns == 0 { Self::Unknown } else { Self::Monotonic(start_ns) }
    }

    /// True when `later`, the start of a row with the same process id, may be that of the process that
    /// started at `self`. A process that has ended is recognised by its exact start only.
    pub fn is_same(self, later: Self, ended: bool) -> bool {
        match (self, later) {
            (Self::Monotonic(a), Self::Monotonic(b)) => a == b,
            (Self::Boot(a), Self::Boot(b)) => a == b,
            // The monotonic clock stands still while the machine sleeps, so it is never ahead of the other.
            (Self::Boot(boot), Self::Monotonic(start)) => !ended && start < boot.saturating_add(TICK_NS),
            (Self::Monotonic(_), Self::Boot(_)) | (Self::Unknown, _) | (_, Self::Unknown) => !ended,
        }
    }

    /// The more exact of two starts of the same process.
    pub fn better_of(self, other: Self) -> Self {
        match (self, other) {
            (_, Self::Monotonic(_)) | (Self::Unknown, _) => other,
            _ => self,
        }
    }

    pub fn is_after(self, other: Self) -> bool {
        matches!((self, other), (Self::Monotonic(a), Self::Monotonic(b)) if a > b)
    }
}

/// Which `*text*` pattern a command line matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandLine {
    /// Not known: the name stands in for it.
    Unread,
    /// Known; the first match, if any.
    Read(Option<Hit>),
}

/// True when exec count `a` is after `b`. The kernel's programs keep 31 bits of it
/// (probe-objects/common/task.h).
pub(crate) fn is_later(a: u32, b: u32) -> bool {
    let distance = a.wrapping_sub(b) & 0x7fff_ffff;
    distance != 0 && distance < 0x4000_0000
}
