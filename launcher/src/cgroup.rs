//! A cgroup for each program, where we may make some: bounds what its workers take, kernel memory of the maps included.
//!
//! May means: systemd has given away the cgroup of the unit that we run in (`Delegate=`), and has put the unit's processes into one below it
//! (`DelegateSubgroup=`), since a cgroup with processes cannot bound its children. Ours are made beside that one. Nobody else writes there, and we
//! write nowhere else: each cgroup has one writer. A program's cgroup outlives its workers, as its maps do, and ends with the launcher.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::Memory;

/// In a cgroup's name, before the supervisor's process id and the module.
const PREFIX: &str = "ebpf.plugin-";

/// What systemd writes on a cgroup that it gives away: the first for everybody to read, where cgroups take it (5.7), the second for root.
const MARKS: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// µs of CPU time in each half second: half a CPU, for what is one thread. Loading takes 1 to 2 s of CPU time, so 4 s at most. A collection takes
/// some ms of each second; a long period, so that one of up to 250 ms is not interrupted, with locks of the kernel held or hooks off on its CPU.
const CPU_MAX: &str = "250000 500000";

/// A worker has one thread, and two more while it tries what the kernel does (`workers/src/loader/preemption.rs`). It forks nothing.
const PIDS_MAX: &str = "4";

/// More programs than there are.
const MOST_MODULES: usize = 8;

/// The cgroup that was given to us, and what was made in it.
#[derive(Debug)]
pub struct Cgroups {
    unit: PathBuf,
    supervisor: Pid,
    controllers: Vec<&'static str>,
    /// Controllers that cannot be used, and why.
    missing: Vec<String>,
    made: BTreeSet<PathBuf>,
}

impl Cgroups {
    /// Looks where cgroups can be made for the workers of `supervisor`, and removes those of plugins that are dead. Fails with the reason why not.
    pub fn find(supervisor: Pid) -> Result<Self> {
        let read = |file: &str| fs::read_to_string(file).with_context(|| format!("cannot read {file}"));
        let own = directory(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?);
        let own = own.context("no cgroup v2 of this process can be seen")?;
        let (unit, name) = (own.parent().unwrap_or(&own), own.file_name().unwrap_or_default());
        if is_delegated(&own) {
            bail!("{} is delegated, but has processes itself: DelegateSubgroup= is missing", own.display());
        }
        // The manager of a user's units has a delegated cgroup, too, whose writer it is, and so have containers (scopes).
        let is_service = unit.extension().is_some_and(|kind| kind == "service");
        if !is_delegated(unit) || !is_service || name.to_string_lossy().contains('.') {
            bail!("{} is not the subgroup of a unit with Delegate=", own.display());
        }
        let mut found = Cgroups {
            unit: unit.to_owned(),
            supervisor,
            controllers: Vec::new(),
            missing: Vec::new(),
            made: BTreeSet::new(),
        };
        for controller in ["memory", "cpu", "pids"] {
            match write(&unit.join("cgroup.subtree_control"), &format!("+{controller}")) {
                Ok(()) => found.controllers.push(controller),
                Err(error) => found.missing.push(format!("{error:#}")),
            }
        }
        // One reason is enough: it is the same for all.
        ensure!(!found.controllers.is_empty(), "{}", found.missing[0]);
        found.remove_those_of_the_dead();
        Ok(found)
    }

    /// Where they are and what they limit, as text.
    pub fn describe(&self) -> String {
        let what = format!("cgroups in {} ({})", self.unit.display(), self.controllers.join(", "));
        [what].into_iter().chain(self.missing.iter().cloned()).collect::<Vec<_>>().join("; ")
    }

    /// Makes the cgroup of `module` with its limits, or sets those of the one that is there. Returns the file by which a process enters it.
    pub fn prepare(&mut self, module: &str, memory: Memory) -> Result<PathBuf> {
        // The name comes from a process of fewer rights.
        ensure!(
            module.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
            "no module is called `{module}`"
        );
        let cgroup = self.unit.join(format!("{PREFIX}{}-{module}", self.supervisor));
        ensure!(
            self.made.len() < MOST_MODULES || self.made.contains(&cgroup),
            "there are no more than {MOST_MODULES} modules"
        );
        match fs::create_dir(&cgroup) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot make {}", cgroup.display()));
            }
            _ => {}
        }
        self.made.insert(cgroup.clone());
        for (controller, file, value) in limits(memory) {
            if self.controllers.contains(&controller) {
                write(&cgroup.join(file), &value)?;
            }
        }
        Ok(cgroup.join("cgroup.procs"))
    }

    /// Removes all that were made; `false` while there are processes in some.
    pub fn remove(&mut self) -> bool {
        self.made
            .retain(|cgroup| fs::remove_dir(cgroup).is_err_and(|error| error.kind() != ErrorKind::NotFound));
        self.made.is_empty()
    }

    /// What cannot be removed now may be at the next start.
    fn remove_those_of_the_dead(&self) {
        for entry in fs::read_dir(&self.unit).into_iter().flatten().flatten() {
            let owner = entry.file_name().to_str().and_then(owner);
            if owner.is_some_and(|pid| kill(pid, None) == Err(Errno::ESRCH)) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Moves this process; `procs` is what [`Cgroups::prepare`] returned.
pub fn enter(procs: &Path) -> Result<()> {
    write(procs, "0")
}

/// Controller, file and value of each limit.
fn limits(memory: Memory) -> [(&'static str, &'static str, String); 3] {
    [
        ("memory", "memory.max", memory.own_bytes.saturating_add(memory.kernel_bytes).to_string()),
        ("cpu", "cpu.max", CPU_MAX.to_owned()),
        ("pids", "pids.max", PIDS_MAX.to_owned()),
    ]
}

/// The supervisor that a cgroup of this name was made for.
fn owner(name: &str) -> Option<Pid> {
    let pid: i32 = name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()?;
    (pid > 0).then(|| Pid::from_raw(pid))
}

/// The directory of this process's cgroup, from the texts of /proc/self/cgroup and /proc/self/mountinfo; `None` where no mount shows it.
fn directory(cgroup: &str, mountinfo: &str) -> Option<PathBuf> {
    let own = Path::new(cgroup.lines().find_map(|line| line.strip_prefix("0::"))?);
    // As seen from a namespace that it is not in.
    if own.components().any(|component| component == Component::ParentDir) {
        return None;
    }
    let place = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut words = mount.split(' ').skip(3);
        let (root, place) = (words.next()?, words.next()?);
        let below = own.strip_prefix(root).ok().filter(|_| kind.starts_with("cgroup2 "))?;
        Some(Path::new(place).join(below))
    };
    // Of mounts at one place the last one is seen.
    mountinfo.lines().rev().find_map(place)
}

fn is_delegated(cgroup: &Path) -> bool {
    MARKS.iter().any(|mark| {
        let mut value = [0; 2];
        matches!(rustix::fs::getxattr(cgroup, *mark, &mut value[..]), Ok(1)) && value[0] == b'1'
    })
}

/// Writes to a file of the kernel's, which exists or does not.
fn write(file: &Path, value: &str) -> Result<()> {
    let written =
        OpenOptions::new().write(true).open(file).and_then(|mut file| file.write_all(value.as_bytes()));
    written.with_context(|| format!("cannot write {value} to {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
        31 25 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn of(cgroup: &str, mountinfo: &str) -> Option<String> {
        directory(cgroup, mountinfo).map(|found| found.display().to_string())
    }

    #[test]
    fn the_own_cgroup_is_found_in_the_mount_that_shows_it() {
        let own = "0::/system.slice/netdata.service/agent\n";
        let whole = "/sys/fs/cgroup/system.slice/netdata.service/agent";
        assert_eq!(of(own, MOUNTS).as_deref(), Some(whole));
        // Beside the hierarchies of version 1.
        let hybrid = "31 25 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(of("1:cpu:/x\n0::/a\n", hybrid).as_deref(), Some("/sys/fs/cgroup/unified/a"));
        // Mounts of parts, as in containers.
        let part = "31 25 0:28 /system.slice /cg rw master:1 - cgroup2 cgroup rw\n";
        assert_eq!(of(own, part).as_deref(), Some("/cg/netdata.service/agent"));
        assert_eq!(of("0::/user.slice/x\n", part), None);
        assert_eq!(of(own, &part.replace("/system.slice", "/..")), None);
        // From outside of its namespace, or without version 2.
        assert_eq!(of("0::/../a\n", MOUNTS), None);
        assert_eq!(of("4:memory:/a\n", MOUNTS), None);
        assert_eq!(of(own, "25 30 0:23 / /sys rw - sysfs sysfs rw\n"), None);
    }

    #[test]
    fn names_tell_whose_a_cgroup_is() {
        assert_eq!(owner("ebpf.plugin-17-network-viewer"), Some(Pid::from_raw(17)));
        for other in ["agent", ".control", "ebpf.plugin", "ebpf.plugin--1-process", "ebpf.plugin-0-process"] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn memory_is_the_workers_own_and_the_kernels() {
        let limits = limits(Memory { own_bytes: 1 << 30, kernel_bytes: 1 << 20 });
        assert_eq!(limits[0], ("memory", "memory.max", (1_u64 << 30 | 1 << 20).to_string()));
    }
}
