//! The way of kernels before 4.17, on one that has another: probes are entries of tracefs' `kprobe_events`.
//!
//! An entry outlives whoever made it. So the plugin must remove its own at its end, those of dead plugins at its start, and
//! nobody else's at any time.

use std::fs::{self, OpenOptions};
use std::io::Write;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::cell::Cell;
use super::line::{Line, Outcome};

/// Holds `kprobe` where perf offers kprobes.
const PMUS: &str = "/sys/bus/event_source/devices";
const EVENTS: &str = "/sys/kernel/tracing/kprobe_events";
/// Group of the plugin's entries.
const OURS: &str = "netdata_ebpf/";
/// What a plugin that was killed left behind: no process of that id started at tick 1.
const OF_THE_DEAD: &str = "netdata_ebpf/p_999999_1_999998_do_exit";
/// Somebody else's.
const FOREIGN: &str = "others/p_999999_1_999998_do_exit";

/// The entries during one cell. All PMUs are hidden until it is dropped.
pub struct Entries {
    faults: Vec<String>,
}

impl Entries {
    /// Hides the PMUs, then adds an entry of a dead plugin and one of somebody else.
    pub fn prepare() -> Result<Entries> {
        let options = None::<&str>;
        mount(Some("none"), PMUS, Some("tmpfs"), MsFlags::MS_RDONLY, options)
            .context("cannot hide the PMUs")?;
        let entries = Entries { faults: Vec::new() };
        for name in [OF_THE_DEAD, FOREIGN] {
            command(&format!("p:{name} do_exit"))?;
        }
        Ok(entries)
    }

    /// While the plugin counts.
    pub fn look(&mut self) -> Result<()> {
        let names = names()?;
        if names.iter().filter(|name| name.starts_with(OURS)).count() < 10 {
            self.faults.push(format!("the plugin counts by other means: {names:?}"));
        }
        if names.iter().any(|name| name == OF_THE_DEAD) {
            self.faults.push("the entry of a dead plugin is still there".to_owned());
        }
        Ok(())
    }

    /// After the plugin's end.
    pub fn finish(mut self, kernel: &str, cell: &Cell) -> Result<Line> {
        let left = names()?;
        if left != [FOREIGN] {
            self.faults.push(format!("left: {left:?}, must be: {FOREIGN}"));
        }
        command(&format!("-:{FOREIGN}"))?;
        let outcome = match self.faults.is_empty() {
            true => Outcome::Exact,
            false => Outcome::Wrong(self.faults.join("; ")),
        };
        Ok(Line {
            kernel: kernel.to_owned(),
            cell: cell.name(),
            event: "entries made and removed, of a dead plugin too, nobody else's".to_owned(),
            hook: "-".to_owned(),
            outcome,
        })
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        // A process may have a file open there: gone for all others at once, for it when it closes.
        if let Err(error) = umount2(PMUS, MntFlags::MNT_DETACH) {
            eprintln!("kernel-cells: {PMUS} stays hidden: {error}");
        }
    }
}

fn command(text: &str) -> Result<()> {
    let mut file =
        OpenOptions::new().append(true).open(EVENTS).with_context(|| format!("cannot open {EVENTS}"))?;
    file.write_all(text.as_bytes()).with_context(|| format!("`{text}` is refused by {EVENTS}"))
}

/// GROUP/EVENT of each entry.
fn names() -> Result<Vec<String>> {
    let text = fs::read_to_string(EVENTS).with_context(|| format!("cannot read {EVENTS}"))?;
    let name = |line: &str| Some(line.split_once(':')?.1.split_ascii_whitespace().next()?.to_owned());
    Ok(text.lines().filter_map(name).collect())
}
