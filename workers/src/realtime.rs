//! Keeps a worker from being preempted while it handles maps, on kernels that preempt the kernel's own code.
//!
//! During bpf(2) on a map the kernel skips every kprobe and perf program on that CPU (`bpf_disable_instrumentation`). A task that is preempted
//! there, as kernels with full or lazy preemption do, extends that to whole time slices of others, whose events are then not counted. A
//! real-time task is not preempted for ordinary ones.

use std::io;

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

/// The lowest real-time priority is above every ordinary task.
const PRIORITY: libc::c_int = 1;

/// Longest time on a CPU without waiting, µs: a worker that spins is ended by the kernel, not endured. Draining a full table takes less.
const LONGEST_RUN_US: u64 = 400_000;

/// Makes this thread a real-time one, if it may be: with CAP_SYS_NICE, or CAP_SYS_RESOURCE. Children are ordinary again.
///
/// Fails, and changes nothing that matters, where it may not; then what the kernel skips is drawn, as ever.
pub fn enter() -> io::Result<()> {
    // Without CAP_SYS_NICE the limit decides; that it cannot be raised shows below.
    let _ = setrlimit(Resource::RLIMIT_RTPRIO, PRIORITY as u64, PRIORITY as u64);
    setrlimit(Resource::RLIMIT_RTTIME, LONGEST_RUN_US, LONGEST_RUN_US)?;
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: `parameters` is a live sched_param, which the call only reads; 0 is this thread.
    let result = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
