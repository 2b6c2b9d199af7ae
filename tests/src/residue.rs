//! What is in the kernel and among the processes, before and after.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::system::{is_alive, processes, wait_until};

/// Kinds of eBPF objects that `bpftool` lists.
const KINDS: [&str; 3] = ["prog", "map", "link"];
/// Names of our programs, as comm shows them.
const PROGRAMS: [&str; 4] = ["supervisor", "ebpf.plugin", "ebpf-launcher", "ebpf-worker"];

/// Everything that a plugin could leave behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residue {
    objects: BTreeSet<String>,
    processes: BTreeSet<u32>,
}

impl Residue {
    /// Takes stock of this machine: programs, maps and links by id and name, and our processes by pid.
    pub fn now() -> Result<Residue> {
        let mut objects = BTreeSet::new();
        for kind in KINDS {
            for object in list(kind)? {
                let id = object["id"].as_u64().unwrap_or_default();
                let name = object["name"].as_str().or(object["type"].as_str()).unwrap_or("unnamed");
                objects.insert(format!("{kind} {id} ({name})"));
            }
        }
        let ours = processes()?
            .into_values()
            .filter(|process| process.state != 'Z' && PROGRAMS.contains(&process.comm.as_str()));
        Ok(Residue { objects, processes: ours.map(|process| process.pid).collect() })
    }

    /// What is there now and was not there at `self`.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let now = Residue::now()?;
        let objects = now.objects.difference(&self.objects).cloned();
        let processes = now.processes.difference(&self.processes).map(|pid| format!("process {pid}"));
        Ok(objects.chain(processes).collect())
    }

    /// Number of eBPF objects that were made since `self`; tells that a test did attach something.
    pub fn new_objects(&self) -> Result<usize> {
        Ok(Residue::now()?.objects.difference(&self.objects).count())
    }

    /// Waits until nothing new is left. Fails after `limit`, naming what is.
    pub fn wait_gone(&self, limit: Duration) -> Result<()> {
        let mut left = Vec::new();
        let waited = wait_until("everything to be gone", limit, || {
            left = self.leftovers()?;
            Ok(left.is_empty())
        });
        waited.with_context(|| format!("left behind: {}", left.join(", ")))
    }
}

/// Waits until none of `pids` lives. Fails after `limit`.
pub fn wait_dead(pids: &[u32], limit: Duration) -> Result<()> {
    wait_until("the processes to end", limit, || Ok(!pids.iter().any(|&pid| is_alive(pid))))
        .with_context(|| format!("of {pids:?} some live on"))
}

fn list(kind: &str) -> Result<Vec<Value>> {
    let output = Command::new("bpftool")
        .args([kind, "show", "--json"])
        .output()
        .context("cannot run bpftool; install the package bpftool")?;
    ensure!(
        output.status.success(),
        "bpftool {kind} show: {}; it needs root",
        String::from_utf8_lossy(&output.stderr)
    );
    let listed: Value = serde_json::from_slice(&output.stdout).context("bpftool's JSON")?;
    Ok(listed.as_array().cloned().unwrap_or_default())
}
