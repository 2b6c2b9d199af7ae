//! An array map, mapped: rows are read and cleared without a system call.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The rows of a `BPF_F_MMAPABLE` array (≥ 5.5).
#[derive(Debug)]
pub struct MappedRows {
    start: NonNull<AtomicU64>,
    bytes: NonZeroUsize,
    words_per_row: usize,
    rows: usize,
}

// SAFETY: the mapping belongs to this value alone, is shared memory of plain words accessed atomically only, and is unmapped once, at drop.
unsafe impl Send for MappedRows {}

impl MappedRows {
    /// Maps all `rows` rows of `row_size` bytes, a multiple of eight, as the kernel rounds them up.
    pub fn new(map: BorrowedFd<'_>, rows: usize, row_size: usize) -> io::Result<Self> {
        assert!(row_size.is_multiple_of(8), "rows are made of words");
        let bytes = NonZeroUsize::new((rows * row_size).next_multiple_of(4096))
            .ok_or_else(|| io::Error::other("a map without rows"))?;
        // SAFETY: a new shared mapping at an address that the kernel chooses; `bytes` is the array's length rounded up to pages, which is
        // what array_map_mmap allows, so that every access below stays inside.
        let start = unsafe {
            mmap(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, map, 0)
        }?;
        Ok(MappedRows { start: start.cast(), bytes, words_per_row: row_size / 8, rows })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the first word of a row, its owner, is set.
    pub fn is_claimed(&self, row: usize) -> bool {
        self.word(row, 0).load(Ordering::Acquire) != 0
    }

    /// Copies a row.
    pub fn read(&self, row: usize, to: &mut [u8]) {
        for (n, bytes) in to.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&self.word(row, n).load(Ordering::Relaxed).to_ne_bytes());
        }
    }

    /// Makes a row free: its owner last, so that nobody claims a row that still holds numbers.
    pub fn clear(&self, row: usize) {
        for n in (0..self.words_per_row).rev() {
            self.word(row, n).store(0, Ordering::Release);
        }
    }

    fn word(&self, row: usize, word: usize) -> &AtomicU64 {
        assert!(row < self.rows && word < self.words_per_row);
        // SAFETY: inside the mapping by the assertion, aligned because rows are made of words, alive as long as `self`; the kernel
        // changes the words at the same time only by atomic operations.
        unsafe { self.start.add(row * self.words_per_row + word).as_ref() }
    }
}

impl Drop for MappedRows {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no reference into it outlives `self`.
        let _ = unsafe { munmap(self.start.cast(), self.bytes.get()) };
    }
}
