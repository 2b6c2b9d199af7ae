//! The last word: what the command line says, and options that contradict each other.

use std::path::Path;

use super::effective::{EffectiveValue, Origin};
use super::remarks::Remarks;
use super::settings::{Config, LoadMode, Strategy, TypeFormat};

/// The options `-g -a -n -p -r` of the command line. Unlike in Netdata, they win over the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `-g`, `--global`: no charts for application groups.
    pub global: bool,
    /// `-a`, `--all`: every program; wins over `net` and `process`.
    pub all: bool,
    /// `-n`, `--net`: the network viewer, and of the others only what is named too.
    pub net: bool,
    /// `-p`, `--process`: process, and of the others only what is named too.
    pub process: bool,
    /// `-r`, `--return`: return mode.
    pub return_mode: bool,
}

/// Keys of the options that are settled here.
const LOAD_MODE: &str = "ebpf load mode";
const DISABLE_APPS: &str = "disable apps";
const PROCESS: &str = "process";
const VIEWER: &str = "network viewer";
const CONNECTIONS: &str = "network connection monitoring";
const TRACING: &str = "ebpf co-re tracing";

/// Applies the command line to `config` and notes it in `values`.
pub fn apply(overrides: Overrides, config: &mut Config, values: &mut [EffectiveValue]) {
    if overrides.return_mode {
        config.load_mode = LoadMode::Return;
        set(values, LOAD_MODE, Some("return"), Origin::CommandLine);
    }
    if overrides.global {
        config.apps = false;
        set(values, DISABLE_APPS, Some("yes"), Origin::CommandLine);
    }
    if overrides.all {
        config.programs.network_connections = true;
        set(values, CONNECTIONS, Some("yes"), Origin::CommandLine);
    }
    if overrides.all || overrides.net || overrides.process {
        config.programs.process = overrides.all || overrides.process;
        config.programs.network_viewer = overrides.all || overrides.net;
        set(values, PROCESS, Some(yes_no(config.programs.process)), Origin::CommandLine);
        set(values, VIEWER, Some(yes_no(config.programs.network_viewer)), Origin::CommandLine);
    }
}

/// Removes contradictions between options from `config`; a warning says which one wins.
pub fn settle(file: &Path, config: &mut Config, values: &mut [EffectiveValue], remarks: &mut Remarks) {
    let programs = &mut config.programs;
    if !programs.process && !programs.network_viewer {
        programs.process = true;
        programs.network_viewer = true;
        let origin = Origin::Implied("no program was enabled");
        let message = "[ebpf programs] enables neither `process` nor `network viewer`; both are enabled, as \
                       Netdata does. To run none, set `ebpf = no` in [plugins] of netdata.conf";
        remarks.warning(file, line_of(values, PROCESS).max(line_of(values, VIEWER)), message);
        set(values, PROCESS, Some("yes"), origin.clone());
        set(values, VIEWER, Some("yes"), origin);
    }
    if programs.network_connections && !programs.network_viewer {
        programs.network_connections = false;
        if let Some(line) = line_of(values, CONNECTIONS) {
            let message = "`network connection monitoring` needs `network viewer`, which is disabled \
                           and wins; there are no inbound and outbound charts";
            remarks.warning(file, Some(line), message);
        }
        set(values, CONNECTIONS, Some("no"), Origin::Implied("network viewer is disabled"));
    }
    if config.type_format == TypeFormat::Legacy && config.strategy == Some(Strategy::Trampoline) {
        config.strategy = None;
        let message = "`ebpf co-re tracing = trampoline` needs BTF, which `ebpf type format = legacy` \
                       excludes; the type format wins, each event takes the best hook without BTF";
        remarks.warning(file, line_of(values, TRACING), message);
        set(values, TRACING, None, Origin::Implied("ebpf type format is legacy"));
    }
}

fn yes_no(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}

fn line_of(values: &[EffectiveValue], key: &str) -> Option<usize> {
    match values.iter().find(|value| value.key == key)?.origin {
        Origin::File { line, .. } => Some(line),
        _ => None,
    }
}

fn set(values: &mut [EffectiveValue], key: &str, text: Option<&str>, origin: Origin) {
    if let Some(value) = values.iter_mut().find(|value| value.key == key) {
        value.value = text.map(str::to_owned);
        value.origin = origin;
    }
}
