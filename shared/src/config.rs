//! Configuration: `ebpf.conf` and the command line in, one [`Config`] and remarks for the operator out.
//!
//! Never fails. What is not understood costs a remark with file and line, and the option keeps its default.
//! One file is used, never a mixture: the user's `ebpf.conf`, else the user's `ebpf.d.conf` (its name since
//! netdata v1.30), else the stock `ebpf.conf`, else the defaults. What the words of `ports`, `ips` and
//! `hostnames` mean is not decided here.
//!
//! The process that calls [`load`] should have given up its privileges before: remarks quote what is in the
//! file, and the directories come from the environment.

mod effective;
mod find;
mod ini;
mod options;
mod reference;
mod remarks;
mod resolve;
mod services;
mod settings;
mod settle;
mod suggest;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use effective::{EffectiveValue, Origin, render};
pub use find::ConfigDirs;
pub use reference::markdown;
pub use services::LISTEN_PORT;
pub use settings::{Config, LoadMode, NetworkViewer, Programs, Strategy, TypeFormat, Word};
pub use settle::Overrides;

use crate::diagnostic::Diagnostic;
use remarks::Remarks;

/// What [`load`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The file that is in effect; `None` when there is none and all options have their defaults.
    pub file: Option<PathBuf>,
    /// The configuration; always usable.
    pub config: Config,
    /// Remarks in the order of the lines; those about a whole file come first.
    pub diagnostics: Vec<Diagnostic>,
    /// Every option with an effect and every named port, grouped by section.
    pub values: Vec<EffectiveValue>,
}

/// Finds and reads the file, without a command line.
pub fn load(dirs: &ConfigDirs) -> Loaded {
    load_with(dirs, Overrides::default())
}

/// Finds and reads the file; the command line's `overrides` win over it.
pub fn load_with(dirs: &ConfigDirs, overrides: Overrides) -> Loaded {
    let mut remarks = Remarks::default();
    let found = find::find(dirs, &mut remarks);
    let (file, bytes) = found.map_or((None, Vec::new()), |(file, bytes)| (Some(file), bytes));
    read(file, &bytes, overrides, remarks)
}

/// Reads a configuration that is already in memory; `file` is its name in remarks.
pub fn parse(file: &Path, bytes: &[u8], overrides: Overrides) -> Loaded {
    read(Some(file.to_owned()), bytes, overrides, Remarks::default())
}

impl Loaded {
    /// Gives the agent's own port the name `Netdata`, unless the file has named it.
    ///
    /// `listen_port`: the value of [`LISTEN_PORT`] in the environment; text that is no port is ignored.
    pub fn name_agent_port(&mut self, listen_port: &str) {
        self.values.extend(services::name_agent_port(listen_port, &mut self.config));
    }
}

impl Default for Config {
    fn default() -> Self {
        let network_viewer = NetworkViewer {
            maximum_dimensions: 0,
            resolve_hostname_ips: false,
            resolve_service_names: false,
            ports: Vec::new(),
            hostnames: Vec::new(),
            ips: Vec::new(),
        };
        let mut config = Self {
            load_mode: LoadMode::Entry,
            apps: false,
            strategy: None,
            type_format: TypeFormat::Auto,
            update_every_s: None,
            pid_table_size: 0,
            btf_path: PathBuf::new(),
            programs: Programs { process: false, network_viewer: false, network_connections: false },
            network_viewer,
            service_names: BTreeMap::new(),
        };
        // The values above are only places to store into; a test proves that every default is accepted.
        for row in options::OPTIONS.iter().filter(|row| !row.default.is_empty()) {
            row.kind.store(&mut config, row.default, None);
        }
        config
    }
}

fn read(file: Option<PathBuf>, bytes: &[u8], overrides: Overrides, mut remarks: Remarks) -> Loaded {
    let name = file.clone().unwrap_or_else(|| PathBuf::from("ebpf.conf"));
    let mut config = Config::default();
    let document = ini::parse(&name, bytes, &mut remarks);
    let mut values = resolve::resolve(&name, &document, &mut config, &mut remarks);
    settle::apply(overrides, &mut config, &mut values);
    settle::settle(&name, &mut config, &mut values, &mut remarks);
    values.extend(services::resolve(&name, &document, &mut config, &mut remarks));
    remarks.close_file(&name);
    if file.is_none() {
        remarks.info(&name, "not found in any configuration directory; all options have their defaults");
    } else if document == ini::Document::default() {
        remarks.info(&name, "contains no options; all options have their defaults");
    }
    let mut diagnostics = remarks.into_list();
    diagnostics.sort_by_key(|remark| remark.line);
    Loaded { file, config, diagnostics, values }
}

#[cfg(test)]
mod tests;
