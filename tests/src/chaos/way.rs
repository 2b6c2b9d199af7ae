//! Ways to end a worker.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Chance;
use crate::system::{is_alive, wait_until};

/// A stopped worker is noticed within three intervals; patience doubles when several are stopped before they have delivered anything.
const NOTICE_LIMIT: Duration = Duration::from_secs(30);

/// A way to end a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// SIGKILL.
    Kill,
    /// SIGSEGV.
    Segv,
    /// SIGABRT.
    Abort,
    /// No more memory than it has: the next allocation aborts.
    OutOfMemory,
    /// SIGSTOP: the supervisor must notice.
    Stop,
}

impl Way {
    /// SIGSTOP seldom, as it takes seconds.
    pub fn by_chance(chance: &mut Chance) -> Way {
        match chance.below(24) {
            0 => Way::Stop,
            1..4 => Way::OutOfMemory,
            4..8 => Way::Segv,
            8..12 => Way::Abort,
            _ => Way::Kill,
        }
    }

    /// Ends process `pid`. Returns the way that did it: memory may be enough for long.
    pub fn end(self, pid: u32) -> Result<Way> {
        let send = |signal| {
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        };
        match self {
            Way::Kill => send(Signal::SIGKILL),
            Way::Stop => send(Signal::SIGSTOP),
            Way::Abort => send(Signal::SIGABRT),
            // Rust's handler takes the first for a fault and lets it happen again; two at once are one.
            Way::Segv => {
                wait_until("the worker's end", NOTICE_LIMIT, || {
                    send(Signal::SIGSEGV);
                    Ok(!is_alive(pid))
                })?;
            }
            Way::OutOfMemory => {
                no_more_memory(pid);
            }
        }
        let limit = if self == Way::OutOfMemory { Duration::from_secs(2) } else { NOTICE_LIMIT };
        match wait_until("the worker's end", limit, || Ok(!is_alive(pid))) {
            // It may have all the memory that it needs.
            Err(_) if self == Way::OutOfMemory => {
                send(Signal::SIGKILL);
                wait_until("the worker's end", NOTICE_LIMIT, || Ok(!is_alive(pid)))?;
                Ok(Way::Kill)
            }
            waited => waited.map(|()| self).with_context(|| format!("{self:?}")),
        }
    }
}

/// Takes every further allocation from a process.
fn no_more_memory(pid: u32) {
    let limit = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
    for resource in [libc::RLIMIT_DATA, libc::RLIMIT_AS] {
        // SAFETY: reads one live `rlimit` and writes nothing, as the last pointer is null. One that is gone already is no error.
        let _ = unsafe { libc::prlimit(pid.cast_signed(), resource, &raw const limit, std::ptr::null_mut()) };
    }
}
