//! Signals as a program expects them, whatever who started it has made of them.

use anyhow::{Context, Result};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

/// Undoes what is inherited: the kernel reaps children by itself where SIGCHLD is ignored, and one that ignores the others is held by no limit.
const WITH_DEFAULT: [Signal; 3] = [Signal::SIGCHLD, Signal::SIGVTALRM, Signal::SIGXCPU];

/// Blocks no signal, and ignores none that the launcher or its workers count on.
pub fn reset() -> Result<()> {
    for number in WITH_DEFAULT {
        // SAFETY: the default action runs no code of ours.
        unsafe { signal(number, SigHandler::SigDfl) }.with_context(|| format!("cannot reset {number}"))?;
    }
    SigSet::empty().thread_set_mask().context("cannot unblock signals")
}
