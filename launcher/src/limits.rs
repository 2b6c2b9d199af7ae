//! What a worker may use.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::MAX_DESCRIPTORS;

/// Descriptors of a worker beside those that it attaches or takes over.
const OTHER_DESCRIPTORS: u64 = 256;

/// Limits this process. What cannot be limited stays as it is: limits are the second line, the supervisor's deadline is the first.
pub fn set(memory_bytes: u64) {
    lower(Resource::RLIMIT_DATA, memory_bytes);
    // A module that is loaded again for another hook holds two of each for a moment.
    lower(Resource::RLIMIT_NOFILE, 2 * MAX_DESCRIPTORS as u64 + OTHER_DESCRIPTORS);
    // Rows hold names of processes and arguments of programs: not for a file on disk.
    lower(Resource::RLIMIT_CORE, 0);
}

fn lower(resource: Resource, limit: u64) {
    if let Ok((soft, hard)) = getrlimit(resource) {
        let _ = setrlimit(resource, soft.min(limit), hard.min(limit));
    }
}
