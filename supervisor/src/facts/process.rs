//! Facts about this process and what it runs in: rights, limits, its file, containers and virtual machines.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use shared::host::{Capabilities, Fact, Limit, PluginFile, parse_mounts};

use super::read;

pub(super) fn capabilities() -> Capabilities {
    let set = |set| match caps::read(None, set) {
        Ok(set) => {
            let mut names: Vec<String> = set.iter().map(ToString::to_string).collect();
            names.sort();
            Fact::Is(names)
        }
        Err(error) => Fact::Unknown(error.to_string()),
    };
    Capabilities { effective: set(caps::CapSet::Effective), bounding: set(caps::CapSet::Bounding) }
}

/// A line of /proc/self/status that holds a number; anything but 0 is yes.
pub(super) fn status(name: &str) -> Fact<bool> {
    const FILE: &str = "/proc/self/status";
    let text = match read(FILE) {
        Fact::Is(text) => text,
        Fact::Missing(why) | Fact::Unknown(why) => return Fact::Unknown(why),
    };
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    match line {
        Some(value) => Fact::Is(value.trim() != "0"),
        None => Fact::Unknown(format!("{FILE} has no line {name}")),
    }
}

pub(super) fn limit(resource: Resource) -> Fact<Limit> {
    let number = |value| if value == RLIM_INFINITY { u64::MAX } else { value };
    match getrlimit(resource) {
        Ok((soft, hard)) => Fact::Is(Limit { soft: number(soft), hard: number(hard) }),
        Err(error) => Fact::Unknown(error.to_string()),
    }
}

/// `mounts`: the text of /proc/self/mounts.
pub(super) fn plugin(mounts: &str) -> PluginFile {
    let path = std::env::current_exe().unwrap_or_default();
    let metadata = fs::metadata(&path).ok();
    PluginFile {
        mode: metadata
            .as_ref()
            .map(|metadata| format!("{:04o}", metadata.mode() & 0o7777))
            .unwrap_or_default(),
        owner: metadata.map(|metadata| metadata.uid()).unwrap_or_default(),
        nosuid: is_nosuid(&path, mounts),
        path: path.to_string_lossy().into_owned(),
    }
}

/// The longest mount that `path` lies under decides; of those at one place the last.
fn is_nosuid(path: &Path, mounts: &str) -> bool {
    let under = parse_mounts(mounts).into_iter().filter(|(place, ..)| path.starts_with(place));
    let options = under.max_by_key(|(place, ..)| PathBuf::from(place).components().count());
    options.is_some_and(|(_, _, options)| options.split(',').any(|option| option == "nosuid"))
}

pub(super) fn container() -> Fact<String> {
    let files = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];
    if let Some((_, kind)) = files.iter().find(|(file, _)| Path::new(file).exists()) {
        return Fact::Is((*kind).to_owned());
    }
    if let Some(kind) = std::env::var_os("container") {
        return Fact::Is(kind.to_string_lossy().into_owned());
    }
    let text = read("/proc/1/cgroup");
    let words = ["docker", "kubepods", "lxc", "containerd"];
    let found = text.value().and_then(|text| words.iter().find(|word| text.contains(**word)));
    match found {
        Some(word) => Fact::Is((*word).to_owned()),
        None => Fact::Missing("no sign of one".to_owned()),
    }
}

pub(super) fn virtual_machine(release: &str) -> Fact<String> {
    if release.to_lowercase().contains("microsoft") {
        return Fact::Is("WSL2".to_owned());
    }
    for file in ["/sys/hypervisor/type", "/sys/class/dmi/id/sys_vendor"] {
        let known =
            ["xen", "QEMU", "VMware, Inc.", "Amazon EC2", "Google", "Microsoft Corporation", "innotek GmbH"];
        if let Fact::Is(text) = read(file)
            && known.contains(&text.as_str())
        {
            return Fact::Is(text);
        }
    }
    let cpu = read("/proc/cpuinfo");
    match cpu.value().and_then(|text| text.lines().find(|line| line.starts_with("flags"))) {
        Some(flags) if flags.split_ascii_whitespace().any(|flag| flag == "hypervisor") => {
            Fact::Is("a hypervisor, by the CPU's flag".to_owned())
        }
        _ => Fact::Missing("no sign of one".to_owned()),
    }
}
