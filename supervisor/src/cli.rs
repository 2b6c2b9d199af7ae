//! The command line: what Netdata passes, what people type.

use std::path::PathBuf;

use clap::{ArgAction, Parser};
use shared::config::Overrides;

/// Netdata's ebpf.plugin: counts what processes do, in the kernel, and prints charts for the agent.
///
/// Options given here win over ebpf.conf. The log goes to standard error.
#[derive(Debug, Parser)]
#[command(name = "ebpf.plugin", version, disable_version_flag = true)]
pub struct Cli {
    /// Seconds between two samples, as the agent passes it
    #[arg(value_name = "UPDATE_EVERY", value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub update_every: Option<u32>,

    /// End after this many intervals
    #[arg(long, value_name = "N")]
    pub iterations: Option<u64>,

    /// With --check: try every hook of the tables, not only those that would be used
    #[arg(long, requires = "check")]
    pub hooks: bool,

    /// With --check: forecast for the kernel with this BTF (a file as /sys/kernel/btf/vmlinux), --kallsyms and --kernel-config
    #[arg(long, value_name = "FILE", requires = "kallsyms")]
    pub btf: Option<PathBuf>,

    /// With --check: forecast for the kernel with these symbols (a file as /proc/kallsyms or System.map)
    #[arg(long, value_name = "FILE", requires = "check", conflicts_with = "facts")]
    pub kallsyms: Option<PathBuf>,

    /// With --kallsyms: the kernel's configuration (a file as /boot/config-RELEASE)
    #[arg(long, value_name = "FILE", requires = "kallsyms")]
    pub kernel_config: Option<PathBuf>,

    /// With --kallsyms: what it can trace (a file as tracefs' available_filter_functions)
    #[arg(long, value_name = "FILE", requires = "kallsyms")]
    pub functions: Option<PathBuf>,

    /// Seconds between two canaries instead of 3600, or 0 for none; for tests
    #[arg(long, value_name = "SECONDS", hide = true, value_parser = clap::value_parser!(u32).range(0..=86400))]
    pub canary_every: Option<u32>,

    /// One interval for people to read, then end
    #[arg(long)]
    pub once: bool,

    /// Tell what works on this host, why not and how to fix it, then end.
    ///
    /// Exit codes: 0 everything is counted, 10 something is not, 20 a program cannot run, 30 none can, 64 wrong usage
    #[arg(long, conflicts_with = "once")]
    pub check: bool,

    /// With --check: print only what is wrong; nothing at all when all is well
    #[arg(short, long, requires = "check")]
    pub quiet: bool,

    /// With --check: write the facts about this host to FILE, for another host to judge
    #[arg(long, value_name = "FILE", requires = "check")]
    pub save_facts: Option<PathBuf>,

    /// With --check: judge the facts in FILE instead of this host's; nothing is tried
    #[arg(long, value_name = "FILE", requires = "check")]
    pub facts: Option<PathBuf>,

    /// With --once or --check: as JSON
    #[arg(long)]
    pub json: bool,

    /// Print the effective value of every option and where it comes from, then end
    #[arg(long)]
    pub print_config: bool,

    /// No charts for applications
    #[arg(short, long)]
    pub global: bool,

    /// Run every program
    #[arg(short, long)]
    pub all: bool,

    /// Run the network viewer, and the other program only if named
    #[arg(short, long)]
    pub net: bool,

    /// Run the process program, and the other only if named
    #[arg(short, long)]
    pub process: bool,

    /// Count failures, too (`ebpf load mode = return`)
    #[arg(short, long = "return")]
    pub return_mode: bool,

    /// Print the version
    #[arg(short, long, action = ArgAction::Version)]
    version: Option<bool>,
}

impl Cli {
    /// What overrides the configuration file.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            global: self.global,
            all: self.all,
            net: self.net,
            process: self.process,
            return_mode: self.return_mode,
        }
    }
}
