//! kprobes and kretprobes: through perf where the kernel offers it (≥ 4.17), else through tracefs' `kprobe_events`.
//!
//! A perf kprobe is gone when its descriptor is closed. An entry of `kprobe_events` stays: its name says whose it is (process id and start of the
//! supervisor, since it outlives a worker, and the worker that made it), it is removed when it is dropped, and entries whose owner is gone are
//! removed at the next start. Nobody else's are touched.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use shared::wire::HeldKprobe;

use super::perf;
use crate::bpf;
use crate::tracefs;

/// The PMU of kprobes.
const PMU: &str = "/sys/bus/event_source/devices/kprobe";

/// Group of our entries in `kprobe_events`.
const GROUP: &str = "netdata_ebpf";

/// Tasks that a kretprobe follows at once, where we may say so: by itself it is one for each possible CPU, or ten, by the kernel's preemption
/// (register_kretprobe). Some 100 B each.
const INSTANCES: &str = "256";

/// Where in a function a probe sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At its start.
    Entry,
    /// At its return.
    Return,
}

/// A probe that is attached; dropping it detaches it.
#[derive(Debug)]
pub struct Kprobe {
    place: Place,
    /// Closed before the entry is removed: the kernel refuses to remove one in use.
    event: Option<OwnedFd>,
    link: Option<OwnedFd>,
    entry: Option<TracefsEntry>,
}

impl Kprobe {
    /// Runs `program` at `place` of `function`.
    pub fn attach(program: BorrowedFd<'_>, function: &str, place: Place) -> Result<Self> {
        if !Path::new(PMU).exists() {
            return Self::through_tracefs(program, function, place);
        }
        let kind = read_number(&format!("{PMU}/type"))?;
        let config = match place {
            Place::Entry => 0,
            Place::Return => 1 << return_bit()?,
        };
        let name = CString::new(function).context("a function's name holds a NUL")?;
        let event = perf::open(kind, config, Some(&name)).context("perf_event_open")?;
        let (event, link) = attach(event, program)?;
        Ok(Kprobe { place, event, link, entry: None })
    }

    fn through_tracefs(program: BorrowedFd<'_>, function: &str, place: Place) -> Result<Self> {
        tracefs::make_visible().context("no kprobe PMU, and tracefs cannot be used")?;
        let entry = TracefsEntry::new(function, place)?;
        let id = entry.id()?;
        let event = perf::open(perf::TRACEPOINT, u64::from(id), None).context("perf_event_open")?;
        let (event, link) = attach(event, program)?;
        Ok(Kprobe { place, event, link, entry: Some(entry) })
    }

    /// One that another worker attached. `entry`: its name in `kprobe_events`, if it has one.
    pub fn of(at_return: bool, event: OwnedFd, link: Option<OwnedFd>, entry: Option<&str>) -> Result<Self> {
        let place = if at_return { Place::Return } else { Place::Entry };
        let entry = match entry {
            None => None,
            Some(name) => {
                tracefs::make_visible().context("tracefs cannot be used")?;
                let root = tracefs::root().context("tracefs is not there")?;
                Some(TracefsEntry { root, name: name.to_owned() })
            }
        };
        Ok(Kprobe { place, event: Some(event), link, entry })
    }

    /// What another worker needs to know of it.
    pub fn describe(&self) -> HeldKprobe {
        HeldKprobe {
            at_return: self.is_at_return(),
            has_link: self.link.is_some(),
            entry: self.entry.as_ref().map(|entry| entry.name.clone()),
        }
    }

    /// What keeps it attached: its event, then its link if it has one.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.event.iter().chain(&self.link).map(AsFd::as_fd)
    }

    /// Whether it is an entry of `kprobe_events`.
    pub fn has_entry(&self) -> bool {
        self.entry.is_some()
    }

    /// Whether it sits at a return.
    pub fn is_at_return(&self) -> bool {
        self.place == Place::Return
    }

    /// Times that the kernel skipped it since it was attached, at a return because no instance was free; 0 where the kernel does not
    /// say (perf: < 6.7).
    pub fn misses(&self) -> u64 {
        self.told_misses().unwrap_or(0)
    }

    /// Whether the kernel tells what it skips.
    pub fn tells_misses(&self) -> bool {
        self.told_misses().is_some()
    }

    fn told_misses(&self) -> Option<u64> {
        match (&self.link, &self.entry) {
            (Some(link), _) => bpf::link_misses(link.as_fd()).ok()?,
            (None, Some(entry)) => entry.misses(),
            (None, None) => None,
        }
    }
}

impl Drop for Kprobe {
    fn drop(&mut self) {
        self.link = None;
        self.event = None;
        self.entry = None;
    }
}

/// By a link, which tells misses (≥ 5.15), else by ioctl.
fn attach(event: OwnedFd, program: BorrowedFd<'_>) -> Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    if let Ok(link) = bpf::create_perf_link(program, event.as_fd()) {
        return Ok((Some(event), Some(link)));
    }
    perf::attach(event.as_fd(), program).context("PERF_EVENT_IOC_SET_BPF")?;
    Ok((Some(event), None))
}

fn read_number(file: &str) -> Result<u32> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    text.trim().parse().with_context(|| format!("{file} does not hold a number"))
}

/// The bit of `config` that asks for a kretprobe: `format/retprobe` says `config:0`.
fn return_bit() -> Result<u32> {
    let file = format!("{PMU}/format/retprobe");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let bit =
        text.trim().strip_prefix("config:").with_context(|| format!("{file} says `{}`", text.trim()))?;
    bit.parse().with_context(|| format!("{file} says `{}`", text.trim()))
}

/// An entry of `kprobe_events`; removed when dropped.
#[derive(Debug)]
struct TracefsEntry {
    root: PathBuf,
    name: String,
}

impl TracefsEntry {
    fn new(function: &str, place: Place) -> Result<Self> {
        let root = tracefs::root().context("tracefs is not there")?;
        if !root.join("kprobe_events").exists() {
            bail!("this kernel has no kprobes (CONFIG_KPROBE_EVENTS is off)");
        }
        remove_entries_of_the_dead(&root);
        let letter = if place == Place::Entry { 'p' } else { 'r' };
        let name = entry_name(letter, &own_mark()?, function);
        let add = |instances: &str| command(&root, &format!("{letter}{instances}:{GROUP}/{name} {function}"));
        let added = match place {
            Place::Entry => add(""),
            // Kernels before 4.12 do not take a number.
            Place::Return => add(INSTANCES).or_else(|_| add("")),
        };
        added.with_context(|| format!("cannot add a probe on `{function}` to kprobe_events"))?;
        Ok(TracefsEntry { root, name })
    }

    fn id(&self) -> Result<u32> {
        let file = self.root.join("events").join(GROUP).join(&self.name).join("id");
        read_number(&file.to_string_lossy())
    }

    /// The third column of this event's line in `kprobe_profile`.
    fn misses(&self) -> Option<u64> {
        let text = fs::read_to_string(self.root.join("kprobe_profile")).ok()?;
        let line = text.lines().find(|line| line.split_ascii_whitespace().next() == Some(&self.name))?;
        line.split_ascii_whitespace().nth(2)?.parse().ok()
    }
}

impl Drop for TracefsEntry {
    fn drop(&mut self) {
        // If this fails the next start removes it, as its owner is gone then.
        let _ = command(&self.root, &format!("-:{GROUP}/{}", self.name));
    }
}

/// A name as the kernel takes it: begins with a letter, goes on with letters, digits and `_`, and is shorter than MAX_EVENT_NAME_LEN, 64
/// (`is_good_name` of kernel/trace/trace_probe.h).
fn entry_name(letter: char, mark: &str, function: &str) -> String {
    let function_word = function.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let mut name = format!("{letter}_{mark}_{function_word}");
    name.truncate(63);
    name
}

fn command(root: &Path, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().append(true).open(root.join("kprobe_events"))?.write_all(text.as_bytes())
}

/// Process id and start time of the supervisor, since no other process ever has both; then this process, so that no two workers make the same.
fn own_mark() -> Result<String> {
    let owner = supervisor().context("cannot read who the supervisor is")?;
    let start = start_of(owner).context("cannot read when the supervisor started")?;
    Ok(format!("{owner}_{start}_{}", std::process::id()))
}

/// The parent of our parent: a worker is started by the launcher, that by the supervisor.
fn supervisor() -> Option<u32> {
    let launcher = std::os::unix::process::parent_id();
    field_of(launcher, 1)
}

/// Field 22 of /proc/PID/stat.
fn start_of(pid: u32) -> Option<u64> {
    field_of(pid, 19)
}

/// The `n`th field of /proc/PID/stat after the state.
fn field_of<T: std::str::FromStr>(pid: u32, n: usize) -> Option<T> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(n)?.parse().ok()
}

/// Removes our entries whose owner is gone; those that are somehow still in use the kernel keeps (EBUSY).
fn remove_entries_of_the_dead(root: &Path) {
    let Ok(text) = fs::read_to_string(root.join("kprobe_events")) else { return };
    for name in entries_of_the_dead(&text, start_of) {
        let _ = command(root, &format!("-:{GROUP}/{name}"));
    }
}

/// Names of our group in the text of `kprobe_events` whose mark is of no living process.
fn entries_of_the_dead(text: &str, start_of: impl Fn(u32) -> Option<u64>) -> Vec<String> {
    let ours = text
        .lines()
        .filter_map(|line| line.split_once(':')?.1.split_ascii_whitespace().next()?.split_once('/'));
    let names = ours.filter(|(group, _)| *group == GROUP).map(|(_, name)| name);
    let is_dead = |name: &&str| {
        let mut words = name.split('_').skip(1);
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        match (number(), number(), number()) {
            // A supervisor that lives may use what a dead worker made; then the kernel refuses to remove it.
            (Some(owner), Some(start), Some(worker)) => {
                start_of(owner as u32) != Some(start) || start_of(worker as u32).is_none()
            }
            _ => false,
        }
    };
    names.filter(is_dead).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entries_of_the_dead_are_removed() {
        let text = "p:netdata_ebpf/p_100_5000_7_vfs_read vfs_read\nr16:netdata_ebpf/r_200_6000_7_vfs_read vfs_read\n\
                    p:netdata_ebpf/p_100_5000_8_vfs_read vfs_read\np:kprobes/p_200_5000_7_x x\np:netdata_ebpf/by_hand vfs_write\n";
        let alive = |pid| [100, 7].contains(&pid).then_some(5000);
        assert_eq!(entries_of_the_dead(text, alive), ["r_200_6000_7_vfs_read", "p_100_5000_8_vfs_read"]);
        let reused = |pid| [200, 7, 8].contains(&pid).then_some(6001);
        assert_eq!(entries_of_the_dead(text, reused).len(), 3);
    }

    #[test]
    fn names_begin_with_a_letter_and_are_short_enough() {
        assert_eq!(entry_name('r', "1_2_3", "do.isra.0"), "r_1_2_3_do_isra_0");
        assert_eq!(entry_name('p', "4194304_99999999999_4194304", &"f".repeat(90)).len(), 63);
    }

    #[test]
    fn a_process_knows_its_own_start() {
        assert!(start_of(std::process::id()).is_some_and(|start| start > 0));
    }
}
