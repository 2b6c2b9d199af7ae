//! How a long-lived process of ours uses its heap.

#[cfg(target_env = "gnu")]
use nix::libc;

/// Blocks from this size on are mapped one by one, bytes; glibc begins there, too.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: libc::c_int = 128 << 10;

/// Gives large blocks back to the kernel when they are freed.
///
/// glibc raises the limit with each large block that is freed (mallopt(3), M_MMAP_THRESHOLD), so that after one second with very many peers or
/// processes its snapshot's megabytes would stay in the heap for good.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator; no memory of ours is involved. If it is refused, only memory is lost.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
}
