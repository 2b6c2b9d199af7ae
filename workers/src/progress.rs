//! Ends a worker that loads and runs in circles.
//!
//! Loading has no deadline that would fit all machines: the kernel may take seconds for one program. But of that a worker's own code takes little,
//! so it is given CPU time in user space, for each step anew, and the kernel ends it with SIGVTALRM when that is used up.

use std::time::Duration;

use nix::libc;

/// A step of the work begins, of which the worker's own code may take `limit`; zero: as long as it likes.
pub fn step(limit: Duration) {
    let none = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let value =
        libc::timeval { tv_sec: limit.as_secs().cast_signed(), tv_usec: limit.subsec_micros().into() };
    let timer = libc::itimerval { it_interval: none, it_value: value };
    // SAFETY: `timer` is a live itimerval, which the call only reads; the old value may be left out. Where it fails the supervisor's
    // deadline is left.
    let _ = unsafe { libc::setitimer(libc::ITIMER_VIRTUAL, &raw const timer, std::ptr::null_mut()) };
}

/// The work is done; the supervisor watches what comes then.
pub fn end() {
    step(Duration::ZERO);
}
