//! The canary: a process of our own that does a known number of operations, so that what is counted can be held against what was done.
//!
//! `ebpf-worker canary MODULE` does them; the supervisor looks for them in the snapshots. This is the list that both go by.

/// What a canary does, by counter: name, how often (or how many bytes), and whether that counter exists in `return` mode only.
pub type Deed = (&'static str, u64, bool);

/// Size of each read of the canary.
pub const READ_BYTES: usize = 8;
/// Size of each write of the canary.
pub const WRITE_BYTES: usize = 5;

/// The canary of the program `process`: four files opened and closed, three reads and writes, a name removed that does not exist (twice),
/// a process, a thread, and of each a few that fail.
const PROCESS: [Deed; 16] = [
    ("open", 6, false),
    ("open_error", 2, true),
    ("close", 5, false),
    ("close_error", 1, true),
    ("read", 4, false),
    ("read_error", 1, true),
    ("read_bytes", 3 * READ_BYTES as u64, false),
    ("write", 4, false),
    ("write_error", 1, true),
    ("write_bytes", 3 * WRITE_BYTES as u64, false),
    ("unlink", 2, false),
    ("unlink_error", 2, true),
    ("fork", 1, false),
    ("thread", 1, false),
    // The thread, the child and the canary itself.
    ("exit", 3, false),
    ("release", 3, false),
];

/// What the canary of `module` does; empty for a module that has none.
pub fn deeds(module: &str) -> &'static [Deed] {
    match module {
        "process" => &PROCESS,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn every_deed_has_its_counter_in_the_table() {
        let table = Table::of("process").unwrap();
        for (counter, _, returns) in deeds("process") {
            let known = table.counters().find(|known| known.name == *counter);
            let known = known.unwrap_or_else(|| panic!("{counter} is no counter"));
            assert_eq!(known.mode == crate::table::Mode::Return, *returns, "{counter}");
        }
    }
}
