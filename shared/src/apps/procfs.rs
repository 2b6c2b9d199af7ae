//! The three things that we read of a process in `/proc`: who it is, how it was called, whether it is there.
//!
//! Everything goes through `proc_root`, so that tests read a tree of their own.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::facts::Comm;

/// Netdata's apps.plugin looks at this much of a command line (`MAX_CMDLINE`).
pub(crate) const MAX_COMMAND_LINE_BYTES: u64 = 16_384;
/// `/proc/PID/stat` has 52 numbers and a name.
const MAX_STAT_BYTES: u64 = 4096;
/// Unit of times in `/proc`, on every architecture: USER_HZ is 100.
pub(crate) const TICK_NS: u64 = 10_000_000;

/// What `/proc/PID/stat` says, of the little that we need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Name of the process: of its first thread.
    pub comm: Comm,
    /// Who is its parent now: the creator, or who adopted it.
    pub parent_tgid: u32,
    /// Start, nanoseconds of CLOCK_BOOTTIME rounded down to [`TICK_NS`].
    pub start_boot_ns: u64,
}

/// Reads `/proc/TGID/stat`; `None` when there is no such process, or nothing that can be understood.
pub(crate) fn read_stat(proc_root: &Path, tgid: u32) -> Option<Stat> {
    let mut text = Vec::with_capacity(512);
    let file = File::open(proc_root.join(format!("{tgid}/stat"))).ok()?;
    file.take(MAX_STAT_BYTES).read_to_end(&mut text).ok()?;
    parse_stat(&text)
}

/// Format: `PID (NAME) STATE PPID …`, field 22 is the start; proc(5). The name may hold spaces and
/// parentheses, so it ends at the last one.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')')?;
    let name = text.get(open + 1..close)?;
    let rest = std::str::from_utf8(&text[close + 1..]).ok()?;

    // `state` is field 3, the first after the name.
    let mut fields = rest.split_ascii_whitespace().skip(1);
    let parent_tgid = fields.next()?.parse().ok()?;
    let start_ticks: u64 = fields.nth(17)?.parse().ok()?;
    let start_boot_ns = start_ticks.saturating_mul(TICK_NS);
    Some(Stat { comm: Comm::new(name), parent_tgid, start_boot_ns })
}

/// Reads the command line into `text`: the arguments, each followed by a space. False when there is none to
/// read; a kernel thread's is empty.
pub(crate) fn read_command_line(proc_root: &Path, tgid: u32, text: &mut Vec<u8>) -> bool {
    text.clear();
    let Ok(file) = File::open(proc_root.join(format!("{tgid}/cmdline"))) else {
        return false;
    };
    if file.take(MAX_COMMAND_LINE_BYTES).read_to_end(text).is_err() {
        return false;
    }
    spaces_for_nul(text);
    !text.is_empty()
}

/// Separates arguments as patterns expect it.
pub(crate) fn spaces_for_nul(text: &mut [u8]) {
    for byte in text.iter_mut().filter(|byte| **byte == 0) {
        *byte = b' ';
    }
}

/// False only when there surely is no such process.
pub(crate) fn may_exist(proc_root: &Path, tgid: u32) -> bool {
    proc_root.join(tgid.to_string()).try_exists().unwrap_or(true)
}

/// Every process of `/proc`: thread-group leaders, for other threads have no directory there.
pub(crate) fn list(proc_root: &Path) -> io::Result<Vec<u32>> {
    let describe = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot list the processes in {}: {error}", proc_root.display()))
    };
    let entries = fs::read_dir(proc_root).map_err(describe)?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_spaces_and_parentheses() {
        let text = b"42 (a) (b ) c) S 7 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 123 0 0\n";
        let expected = Stat { comm: Comm::new(b"a) (b ) c"), parent_tgid: 7, start_boot_ns: 1_230_000_000 };
        assert_eq!(parse_stat(text), Some(expected));
    }

    #[test]
    fn rubbish_is_nothing() {
        for text in
            [&b""[..], b"1", b"1 (", b"1 )(", b"1 (a)", b"1 (a) S x", b"1 (a) S 1 2 3", b"1 (a) \xff 1"]
        {
            assert_eq!(parse_stat(text), None, "{text:?}");
        }
    }

    #[test]
    fn this_process_can_be_read() {
        let root = Path::new("/proc");
        let own = std::process::id();
        assert!(list(root).unwrap().contains(&own));
        assert!(read_stat(root, own).unwrap().start_boot_ns > 0);
        let mut text = Vec::new();
        assert!(read_command_line(root, own, &mut text));
        assert!(!text.contains(&0));
        assert!(may_exist(root, own));
        assert!(!may_exist(root, u32::MAX));
        assert_eq!(read_stat(root, u32::MAX), None);
    }
}
