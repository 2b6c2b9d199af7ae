//! `[service name]`: names for ports, beside those of `/etc/services`.

use std::collections::BTreeMap;
use std::path::Path;

use super::effective::{EffectiveValue, Origin};
use super::ini::Document;
use super::options::SERVICE_NAMES;
use super::remarks::{Remarks, quote};
use super::settings::Config;
use super::value::number;

/// Environment variable with the port on which this host's Netdata listens.
pub const LISTEN_PORT: &str = "NETDATA_LISTEN_PORT";

/// Stores the names in `config` and returns one value for each port. A port named twice keeps its later name.
pub fn resolve(
    file: &Path,
    document: &Document,
    config: &mut Config,
    remarks: &mut Remarks,
) -> Vec<EffectiveValue> {
    let mut lines = BTreeMap::new();
    for entry in document.entries.iter().filter(|entry| entry.section == SERVICE_NAMES) {
        let Some(port) = port(&entry.name) else {
            let message = format!(
                "{} is no port, which is a number from 1 to 65535; the line is ignored",
                quote(&entry.name)
            );
            remarks.line_warning(file, entry.line, message);
            continue;
        };
        if entry.value.is_empty() || entry.value.contains(char::is_control) {
            let message = format!("port {port} needs a name of printable characters; the line is ignored");
            remarks.line_warning(file, entry.line, message);
            continue;
        }
        if let Some(earlier) = lines.insert(port, entry.line) {
            let message = format!(
                "port {port} is named again in line {}, which wins; this line is ignored",
                entry.line
            );
            remarks.line_warning(file, earlier, message);
        }
        config.service_names.insert(port, entry.value.clone());
    }
    let origin = |line: &usize| Origin::File { file: file.to_owned(), line: *line };
    lines.iter().filter_map(|(port, line)| value(config, *port, origin(line))).collect()
}

/// Names the agent's own port, unless the file has named it. Text that is no port is ignored: Netdata sets
/// it.
pub fn name_agent_port(listen_port: &str, config: &mut Config) -> Option<EffectiveValue> {
    let port = port(listen_port).filter(|port| !config.service_names.contains_key(port))?;
    config.service_names.insert(port, "Netdata".to_owned());
    value(config, port, Origin::Environment(LISTEN_PORT))
}

fn port(text: &str) -> Option<u16> {
    number(text).and_then(|number| u16::try_from(number).ok()).filter(|port| *port != 0)
}

fn value(config: &Config, port: u16, origin: Origin) -> Option<EffectiveValue> {
    let name = config.service_names.get(&port)?.clone();
    Some(EffectiveValue { section: SERVICE_NAMES, key: port.to_string(), value: Some(name), origin })
}
