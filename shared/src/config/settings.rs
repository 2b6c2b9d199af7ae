//! The typed configuration: what the rest of the program reads.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[global] ebpf load mode`: whether results of functions are counted too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LoadMode {
    /// Calls and bytes only.
    Entry,
    /// Calls, bytes, and the error charts.
    Return,
}

/// `[global] ebpf co-re tracing`: the one kind of hook to use; the default is the best one for each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Strategy {
    /// fentry and fexit; needs BTF of the kernel.
    Trampoline,
    /// Tracepoints.
    Tracepoint,
    /// kprobes and kretprobes.
    Probe,
}

/// `[global] ebpf type format`: whether the kernel's type information is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TypeFormat {
    /// CO-RE where the kernel has BTF, legacy elsewhere.
    Auto,
    /// Programs that know nothing about the kernel's types.
    Legacy,
    /// Programs that are adapted to the kernel through BTF.
    CoRe,
}

impl LoadMode {
    /// All values; [`LoadMode::NAMES`] has the same order.
    pub const ALL: [Self; 2] = [Self::Entry, Self::Return];
    /// The words of the configuration file.
    pub const NAMES: [&str; 2] = ["entry", "return"];
}

impl Strategy {
    /// All values; [`Strategy::NAMES`] has the same order.
    pub const ALL: [Self; 3] = [Self::Trampoline, Self::Tracepoint, Self::Probe];
    /// The words of the configuration file.
    pub const NAMES: [&str; 3] = ["trampoline", "tracepoint", "probe"];
}

impl TypeFormat {
    /// All values; [`TypeFormat::NAMES`] has the same order.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Legacy, Self::CoRe];
    /// The words of the configuration file.
    pub const NAMES: [&str; 3] = ["auto", "legacy", "co-re"];
}

impl fmt::Display for LoadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl fmt::Display for TypeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

/// Everything that `ebpf.conf` and the command line decide. [`Config::default`] holds the documented
/// defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Count calls only, or results too.
    pub load_mode: LoadMode,
    /// Charts for application groups; the opposite of `disable apps`.
    pub apps: bool,
    /// The kind of hook for all events; `None` leaves the choice to each event.
    pub strategy: Option<Strategy>,
    /// Use of BTF. Never `Legacy` together with [`Strategy::Trampoline`].
    pub type_format: TypeFormat,
    /// Seconds between two samples; `None` leaves it to the command line's number.
    pub update_every_s: Option<u32>,
    /// Processes that one table holds in one interval before events are counted in `other`.
    pub pid_table_size: u32,
    /// Absolute path of the directory with the kernel's `vmlinux` BTF.
    pub btf_path: PathBuf,
    /// What runs; at least one of `process` and `network_viewer` does.
    pub programs: Programs,
    /// Which peers are shown, and how.
    pub network_viewer: NetworkViewer,
    /// Names for ports, beside `/etc/services`.
    pub service_names: BTreeMap<u16, String>,
}

/// `[ebpf programs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    /// Files, VFS, processes.
    pub process: bool,
    /// TCP and UDP functions.
    pub network_viewer: bool,
    /// The inbound and outbound charts; never true without `network_viewer`.
    pub network_connections: bool,
}

/// `[network viewer]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkViewer {
    /// Dimensions of one inbound or outbound chart; what exceeds them is in the dimension `other`. At least
    /// 2.
    pub maximum_dimensions: u32,
    /// Name peers by host names where they are known in time.
    pub resolve_hostname_ips: bool,
    /// Name ports by `/etc/services` and [`Config::service_names`].
    pub resolve_service_names: bool,
    /// Destination ports; not checked here.
    pub ports: Vec<Word>,
    /// Host names as simple patterns, one pattern a word; not checked here.
    pub hostnames: Vec<Word>,
    /// Destination addresses; not checked here.
    pub ips: Vec<Word>,
}

/// One word of a list, with the place where it was written, for remarks about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The word as written, with its `!`; not empty and without blanks.
    pub text: String,
    /// Its line in [`super::Loaded::file`]; `None` for a default.
    pub line: Option<usize>,
}
