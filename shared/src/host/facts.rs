//! The facts: one plain value, which can be written to a file on one host and judged on another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Raised when a field changes its meaning; new fields have defaults.
pub const FACTS_VERSION: u32 = 1;

/// One thing that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact<T> {
    /// It is there.
    Is(T),
    /// It is not there, and how that was seen.
    Missing(String),
    /// It could not be found out, and why.
    Unknown(String),
}

impl<T> Fact<T> {
    /// The value, if it is there.
    pub fn value(&self) -> Option<&T> {
        match self {
            Fact::Is(value) => Some(value),
            Fact::Missing(_) | Fact::Unknown(_) => None,
        }
    }

    /// Why there is no value; empty when there is.
    pub fn why(&self) -> &str {
        match self {
            Fact::Is(_) => "",
            Fact::Missing(why) | Fact::Unknown(why) => why,
        }
    }
}

impl<T> Default for Fact<T> {
    fn default() -> Self {
        Fact::Unknown("not looked for".to_owned())
    }
}

/// A file system that the kernel offers, and whether it can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// `tracefs`, `debugfs`, `securityfs`.
    pub kind: String,
    /// Where; `None` when it is not mounted.
    pub place: Option<String>,
    /// Mode and owner of that directory, such as `0700 root`; empty when it is not mounted or cannot be seen.
    pub mode: String,
    /// Whether this process can list it.
    pub readable: bool,
}

/// SELinux on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selinux {
    /// `enforcing` or `permissive`; missing where SELinux is off.
    pub mode: Fact<String>,
    /// The context that this process runs in.
    pub context: Fact<String>,
    /// The newest denials of class `bpf` or of our programs in /var/log/audit/audit.log.
    pub denials: Fact<Vec<String>>,
}

/// Capability sets, as `CAP_BPF`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// In effect.
    pub effective: Fact<Vec<String>>,
    /// That can ever be had.
    pub bounding: Fact<Vec<String>>,
}

/// The plugin's own file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginFile {
    /// Where it is.
    pub path: String,
    /// Mode in octal.
    pub mode: String,
    /// Owner's user id.
    pub owner: u32,
    /// Whether its file system is mounted `nosuid`.
    pub nosuid: bool,
}

/// A resource limit; `u64::MAX` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// In force.
    pub soft: u64,
    /// As far as it may be raised.
    pub hard: u64,
}

/// Numbers of CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpus {
    /// Running now.
    pub online: usize,
    /// As many as the kernel may ever bring up: maps have room for so many.
    pub possible: usize,
}

/// What was found on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostFacts {
    /// Of this format.
    pub version: u32,
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
    /// The text that lists of bad kernels are compared with: /proc/version_signature, else /proc/version, else the release.
    pub version_text: String,
    /// PRETTY_NAME of /etc/os-release.
    pub system: Fact<String>,
    /// /etc/redhat-release.
    pub red_hat: Fact<String>,
    /// The kernel's configuration: option without `CONFIG_` to its value; absent means not set.
    pub config: Fact<BTreeMap<String, String>>,
    /// Where it was read.
    pub config_source: String,
    /// Size of the kernel's BTF in bytes.
    pub btf: Fact<u64>,
    /// Functions in /proc/kallsyms.
    pub symbols: Fact<u64>,
    /// Functions in tracefs' available_filter_functions.
    pub traceable_functions: Fact<u64>,
    /// Whether tracefs offers the tracepoints of system calls.
    pub syscall_tracepoints: Fact<bool>,
    /// tracefs, debugfs, securityfs.
    pub mounts: Vec<Mount>,
    /// Whether the kernel can probe functions through perf.
    pub kprobe_pmu: bool,
    /// debugfs' kprobes/enabled.
    pub kprobes_enabled: Fact<bool>,
    /// The lockdown state in force: `none`, `integrity`, `confidentiality`.
    pub lockdown: Fact<String>,
    /// Security modules that are active.
    pub security_modules: Fact<Vec<String>>,
    /// SELinux.
    pub selinux: Selinux,
    /// What this process may do.
    pub capabilities: Capabilities,
    /// Whether executed programs gain no privileges.
    pub no_new_privs: Fact<bool>,
    /// Whether a seccomp filter is in force.
    pub seccomp: Fact<bool>,
    /// Effective user id.
    pub effective_uid: u32,
    /// The plugin's own file.
    pub plugin: PluginFile,
    /// Settings of the kernel, by the name that sysctl(8) gives them.
    pub settings: BTreeMap<String, Fact<String>>,
    /// RLIMIT_MEMLOCK in bytes.
    pub locked_memory: Fact<Limit>,
    /// RLIMIT_NOFILE.
    pub open_files: Fact<Limit>,
    /// CPUs.
    pub cpus: Cpus,
    /// The container that this process runs in, if it does.
    pub container: Fact<String>,
    /// The virtual machine that this kernel runs in, if it does.
    pub virtual_machine: Fact<String>,
    /// The agent's variables (`NETDATA_…`).
    pub environment: BTreeMap<String, String>,
}

impl HostFacts {
    /// Whether `option` is built in or a module; `None` where the configuration is not known.
    pub fn option(&self, option: &str) -> Option<bool> {
        let config = self.config.value()?;
        Some(config.get(option).is_some_and(|value| value == "y" || value == "m"))
    }

    /// A setting as a number; `None` where it is not known.
    pub fn setting(&self, name: &str) -> Option<i64> {
        self.settings.get(name)?.value()?.parse().ok()
    }

    /// Whether a capability is in effect; `None` where that is not known.
    pub fn has_capability(&self, name: &str) -> Option<bool> {
        Some(self.capabilities.effective.value()?.iter().any(|known| known == name))
    }

    /// Major and minor of the release; (0, 0) where it does not begin with them.
    pub fn kernel_version(&self) -> (u32, u32) {
        let mut words = self.release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        match (words.next(), words.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
            _ => (0, 0),
        }
    }

    /// The mount of a kind of file system, if there is one.
    pub fn mount(&self, kind: &str) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.kind == kind && mount.place.is_some())
    }
}

/// What a kernel's configuration file says.
pub fn parse_config(text: &str) -> BTreeMap<String, String> {
    let settings = text.lines().filter_map(|line| line.trim().strip_prefix("CONFIG_")?.split_once('='));
    settings.map(|(option, value)| (option.to_owned(), value.to_owned())).collect()
}

/// The word in brackets: `none [integrity] confidentiality`.
pub fn lockdown_in_force(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(state, _)| state)
}

/// Place, kind and options of each line of /proc/self/mounts.
pub fn parse_mounts(text: &str) -> Vec<(String, String, String)> {
    let line = |line: &str| {
        let mut words = line.split(' ').skip(1).map(str::to_owned);
        Some((words.next()?, words.next()?, words.next()?))
    };
    text.lines().filter_map(line).collect()
}
