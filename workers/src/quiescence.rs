//! Waits until every eBPF program that may have seen the old epoch has ended.
//!
//! Programs run as RCU readers, so one grace period is enough. User space asks for one by updating a map of maps: since 4.20 the kernel
//! waits there for running programs, for this very purpose (1ae80cf31938, `maybe_wait_bpf_programs`), however many CPUs there are.
//! Before that, membarrier(2) waits; it returns at once on a machine with one CPU, but there a program of those kernels cannot be
//! interrupted by user space, as programs ran with preemption off until 5.7. Kernels with BTF are newer than both.

use std::io;
use std::os::fd::AsRawFd;

use nix::libc;

use crate::bpf::{self, MapHandle};

/// BPF_MAP_TYPE_ARRAY and BPF_MAP_TYPE_ARRAY_OF_MAPS.
const ARRAY: u32 = 2;
const ARRAY_OF_MAPS: u32 = 12;

/// MEMBARRIER_CMD_GLOBAL of linux/membarrier.h.
const GLOBAL: libc::c_int = 1;

/// A way to wait for a grace period; needs no capability after `new`.
#[derive(Debug)]
pub struct Quiescence {
    /// The kernel may be one whose map updates do not wait.
    membarrier: bool,
    outer: MapHandle,
    inner: MapHandle,
}

impl Quiescence {
    /// Makes the two small maps. `has_btf`: the kernel is at least 5.2, so that an update waits.
    pub fn new(has_btf: bool) -> io::Result<Self> {
        use std::os::fd::AsFd;
        let inner = bpf::create_map(ARRAY, 4, 8, 1, None)?;
        let outer = bpf::create_map(ARRAY_OF_MAPS, 4, 4, 1, Some(inner.as_fd()))?;
        let outer = MapHandle::new(outer.as_fd(), 4, 4)?;
        Ok(Quiescence { membarrier: !has_btf, outer, inner: MapHandle::new(inner.as_fd(), 4, 8)? })
    }

    /// The way of another worker, by its two maps.
    pub fn of(outer: MapHandle, inner: MapHandle, membarrier: bool) -> Self {
        Quiescence { membarrier, outer, inner }
    }

    /// The map of maps.
    pub fn outer(&self) -> &MapHandle {
        &self.outer
    }

    /// The map in it.
    pub fn inner(&self) -> &MapHandle {
        &self.inner
    }

    /// Whether membarrier(2) is called, too.
    pub fn calls_membarrier(&self) -> bool {
        self.membarrier
    }

    /// Returns when every program that started before the call has ended.
    pub fn wait(&self) -> io::Result<()> {
        if self.membarrier {
            // SAFETY: no pointer is passed; the call only waits. A kernel without it (< 4.3) answers ENOSYS, and nothing better is known.
            let _ = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
        }
        self.outer.update(&0_u32.to_ne_bytes(), &self.inner.fd().as_raw_fd().to_ne_bytes())
    }
}
