//! The list of all options. Parsing, defaults, `--print-config`, the check for unknown names and the
//! reference in Markdown are all made from these rows; nothing else names an option.

use super::settings::{Config, LoadMode, Strategy, TypeFormat};
use super::value::Kind;

/// One option.
pub struct Row {
    /// Its section.
    pub section: &'static str,
    /// Its name.
    pub key: &'static str,
    /// Its name in other Netdata versions.
    pub alias: Option<Alias>,
    /// Who wins when several lines set it.
    pub conflict: Conflict,
    /// The default as a user would write it; empty for a list without words and for an option that is unset.
    pub default: &'static str,
    /// What it accepts and where that is stored.
    pub kind: Kind,
    /// One sentence for the reference.
    pub doc: &'static str,
}

/// Another name of an option.
#[derive(Clone, Copy)]
pub struct Alias {
    /// The name.
    pub name: &'static str,
    /// True when it says the contrary, as `apps` does for `disable apps`.
    pub opposite: bool,
}

/// Which of several lines decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The last one in the file.
    LaterLine,
    /// The alias, as Netdata does it for `load`; among equal names the last one.
    AliasWins,
    /// A line that disables, as Netdata does it for `disable apps` and `apps`; else the last one.
    OffWins,
}

/// The section whose names are ports; see [`super::services`].
pub const SERVICE_NAMES: &str = "service name";

/// Older and newer headings: `(heading, our section)`.
pub const SECTION_ALIASES: [(&str, &str); 1] = [("network connections", VIEWER)];

const GLOBAL: &str = "global";
const PROGRAMS: &str = "ebpf programs";
const VIEWER: &str = "network viewer";

/// The private networks; the specification's default for `ips`.
const PRIVATE_NETWORKS: &str = "!127.0.0.1/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7";

/// Every option with an effect first, in the order of the reference; then those that are only known by name.
pub const OPTIONS: &[Row] = &[
    row(GLOBAL, "ebpf load mode", "entry")
        .takes(Kind::Choice {
            names: &LoadMode::NAMES,
            set: |config, index| config.load_mode = LoadMode::ALL[index],
        })
        .also(same("load"), Conflict::AliasWins)
        .doc("`entry` counts calls and bytes; `return` also counts results and adds the error charts."),
    row(GLOBAL, "disable apps", "no")
        .takes(Kind::Switch { slot: |config| &mut config.apps, opposite: true })
        .also(contrary("apps"), Conflict::OffWins)
        .doc("`yes` removes the charts of application groups."),
    row(GLOBAL, "update every", "")
        .takes(Kind::OptionalNumber { slot: |config| &mut config.update_every_s, least: 1, most: 86_400 })
        .doc("Seconds between two samples; when unset, the number that Netdata passes."),
    row(GLOBAL, "ebpf type format", "auto")
        .takes(Kind::Choice {
            names: &TypeFormat::NAMES,
            set: |config, index| config.type_format = TypeFormat::ALL[index],
        })
        .doc("Use of the kernel's BTF: `auto` where there is one, `legacy` never, `co-re` always."),
    row(GLOBAL, "ebpf co-re tracing", "")
        .takes(Kind::Choice {
            names: &Strategy::NAMES,
            set: |config, index| config.strategy = Some(Strategy::ALL[index]),
        })
        .doc("The only kind of hook to use; when unset, every event takes the best that this kernel has."),
    // Below 64 even a small host would be mostly `other`; above is no process id (PID_MAX_LIMIT of 64-bit
    // kernels).
    row(GLOBAL, "pid table size", "32768")
        .takes(number(|config| &mut config.pid_table_size, 64, 4_194_304))
        .doc("Active processes that a table holds; events of further ones are counted in `other`."),
    row(GLOBAL, "btf path", "/sys/kernel/btf/")
        .takes(Kind::AbsolutePath(|config| &mut config.btf_path))
        .doc("Directory with the kernel's BTF, a file named `vmlinux`."),
    row(PROGRAMS, "process", "yes")
        .takes(switch(|config| &mut config.programs.process))
        .doc("Charts about files, VFS and processes."),
    row(PROGRAMS, "network viewer", "yes")
        .takes(switch(|config| &mut config.programs.network_viewer))
        .also(same("socket"), Conflict::LaterLine)
        .doc("Charts about TCP and UDP functions and their bandwidth."),
    // Netdata's default is `no`; the specification describes these charts as what the network viewer shows.
    row(PROGRAMS, "network connection monitoring", "yes")
        .takes(switch(|config| &mut config.programs.network_connections))
        .also(same("network connections"), Conflict::LaterLine)
        .doc("Inbound and outbound charts of the network viewer, one dimension for each peer or port."),
    // A chart of one dimension would have no place beside `other`.
    row(VIEWER, "maximum dimensions", "500")
        .takes(Kind::Number {
            slot: |config| &mut config.network_viewer.maximum_dimensions,
            least: 2,
            most: 100_000,
            raise: true,
        })
        .doc("Dimensions of an inbound or outbound chart, two for each peer or port; what is more is bundled into `other`."),
    row(VIEWER, "resolve hostname ips", "no")
        .takes(switch(|config| &mut config.network_viewer.resolve_hostname_ips))
        .also(same("resolve hostnames"), Conflict::LaterLine)
        .doc("Outbound dimensions are named by host names where /etc/hosts or DNS has them; until then by address."),
    // Netdata's default is `no`; the specification says that charts use the names of `/etc/services`.
    row(VIEWER, "resolve service names", "yes")
        .takes(switch(|config| &mut config.network_viewer.resolve_service_names))
        .doc("Ports are shown by their names in `/etc/services` and in `[service name]`."),
    row(VIEWER, "ports", "*")
        .takes(Kind::Words(|config| &mut config.network_viewer.ports))
        .doc(
            "Destination ports, of this host for inbound traffic: numbers, ranges, service names; `!` before a word denies, `*` is all.",
        ),
    row(VIEWER, "hostnames", "*")
        .takes(Kind::Words(|config| &mut config.network_viewer.hostnames))
        .doc(
            "Host names of outbound peers as simple patterns; `!` before a pattern denies. Peers without a name pass, and all do while \
             `resolve hostname ips` is off.",
        ),
    row(VIEWER, "ips", PRIVATE_NETWORKS)
        .takes(Kind::Words(|config| &mut config.network_viewer.ips))
        .doc(
            "Addresses of outbound peers: single, `first-last` or CIDR; `!` before a word denies, `*` is all. Inbound traffic is added up \
             by port, without addresses.",
        ),
    no_effect(GLOBAL, "cgroups", "there are no charts for cgroups"),
    no_effect(GLOBAL, "lifetime", "workers run as long as the plugin"),
    no_effect(GLOBAL, "maps per core", "tables are always split by CPU where the kernel can"),
    no_effect(GLOBAL, "ebpf object flavor", "the worker chooses by what the kernel has"),
    no_effect(GLOBAL, "collect pid", "events are always counted for the process itself"),
    no_effect("ipc", "integration", "no memory is shared with other plugins"),
    no_effect(PROGRAMS, "vfs", COUNTED_BY_PROCESS),
    no_effect(PROGRAMS, "fd", COUNTED_BY_PROCESS),
    no_effect(PROGRAMS, "filedescriptor", COUNTED_BY_PROCESS),
    no_effect(PROGRAMS, "cachestat", NO_SUCH_PROGRAM),
    no_effect(PROGRAMS, "dcstat", NO_SUCH_PROGRAM),
    no_effect(PROGRAMS, "dns", NO_SUCH_PROGRAM),
    no_effect(PROGRAMS, "disk", NO_SUCH_PROGRAM),
    no_effect(PROGRAMS, "filesystem", NO_SUCH_PROGRAM),
    no_effect(PROGRAMS, "hardirq", NO_SUCH_PROGRAM),
    no_effect(PROGRAMS, "mdflush", NO_SUCH_PROGRAM),
    no_effect(PROGRAMS, "mount", NO_SUCH_PROGRAM),
    no_effect(PROGRAMS, "oomkill", NO_SUCH_PROGRAM),
    no_effect(PROGRAMS, "shm", NO_SUCH_PROGRAM),
    no_effect(PROGRAMS, "softirq", NO_SUCH_PROGRAM),
    no_effect(PROGRAMS, "swap", NO_SUCH_PROGRAM),
    no_effect(PROGRAMS, "sync", NO_SUCH_PROGRAM),
    no_effect(GLOBAL, "bandwidth table size", TABLES_BOUNDED),
    no_effect(GLOBAL, "ipv4 connection table size", TABLES_BOUNDED),
    no_effect(GLOBAL, "ipv6 connection table size", TABLES_BOUNDED),
    no_effect(GLOBAL, "udp connection table size", TABLES_BOUNDED),
    no_effect(GLOBAL, "socket monitoring table size", TABLES_BOUNDED),
    no_effect(GLOBAL, "per query tracking", NO_SUCH_PROGRAM),
    no_effect(GLOBAL, "flow ttl", NO_SUCH_PROGRAM),
    no_effect("syscalls", "sync", NO_SUCH_PROGRAM),
    no_effect("syscalls", "msync", NO_SUCH_PROGRAM),
    no_effect("syscalls", "fsync", NO_SUCH_PROGRAM),
    no_effect("syscalls", "fdatasync", NO_SUCH_PROGRAM),
    no_effect("syscalls", "syncfs", NO_SUCH_PROGRAM),
    no_effect("syscalls", "sync_file_range", NO_SUCH_PROGRAM),
    no_effect("syscalls", "shmget", NO_SUCH_PROGRAM),
    no_effect("syscalls", "shmat", NO_SUCH_PROGRAM),
    no_effect("syscalls", "shmdt", NO_SUCH_PROGRAM),
    no_effect("syscalls", "shmctl", NO_SUCH_PROGRAM),
    no_effect("filesystem", "btrfsdist", NO_SUCH_PROGRAM),
    no_effect("filesystem", "ext4dist", NO_SUCH_PROGRAM),
    no_effect("filesystem", "nfsdist", NO_SUCH_PROGRAM),
    no_effect("filesystem", "xfsdist", NO_SUCH_PROGRAM),
    no_effect("filesystem", "zfsdist", NO_SUCH_PROGRAM),
];

const COUNTED_BY_PROCESS: &str = "the program `process` counts this";
const NO_SUCH_PROGRAM: &str = "this plugin has no such program";
const TABLES_BOUNDED: &str = "the size of this table is fixed";

const fn row(section: &'static str, key: &'static str, default: &'static str) -> Row {
    let kind = Kind::NoEffect("");
    Row { section, key, alias: None, conflict: Conflict::LaterLine, default, kind, doc: "" }
}

/// A name that means the same.
const fn same(name: &'static str) -> Alias {
    Alias { name, opposite: false }
}

/// A name that means the contrary.
const fn contrary(name: &'static str) -> Alias {
    Alias { name, opposite: true }
}

const fn switch(slot: fn(&mut Config) -> &mut bool) -> Kind {
    Kind::Switch { slot, opposite: false }
}

const fn number(slot: fn(&mut Config) -> &mut u32, least: u32, most: u32) -> Kind {
    Kind::Number { slot, least, most, raise: false }
}

const fn no_effect(section: &'static str, key: &'static str, why: &'static str) -> Row {
    row(section, key, "").takes(Kind::NoEffect(why)).doc(why)
}

impl Row {
    const fn takes(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    const fn also(mut self, alias: Alias, conflict: Conflict) -> Self {
        self.alias = Some(alias);
        self.conflict = conflict;
        self
    }

    const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// False for options that are only known by name.
    pub fn has_effect(&self) -> bool {
        !matches!(self.kind, Kind::NoEffect(_))
    }

    /// `None` when `name` is not a name of this option; else whether it says the contrary of the key.
    pub fn named(&self, name: &str) -> Option<bool> {
        if name == self.key {
            return Some(false);
        }
        self.alias.filter(|alias| alias.name == name).map(|alias| alias.opposite)
    }

    /// All names, the key first.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.key).chain(self.alias.map(|alias| alias.name))
    }
}

/// Our section for a heading, `None` when no version of Netdata has it.
pub fn section(heading: &str) -> Option<&'static str> {
    if let Some((_, section)) = SECTION_ALIASES.iter().find(|(alias, _)| *alias == heading) {
        return Some(section);
    }
    section_names().find(|section| *section == heading)
}

/// All headings that are understood; some repeat.
pub fn section_names() -> impl Iterator<Item = &'static str> {
    let aliases = SECTION_ALIASES.iter().map(|(alias, _)| *alias);
    OPTIONS.iter().map(|row| row.section).chain([SERVICE_NAMES]).chain(aliases)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_is_used_twice_in_a_section() {
        let mut seen = BTreeSet::new();
        for row in OPTIONS {
            for name in row.names() {
                assert!(seen.insert((row.section, name)), "[{}] {name}", row.section);
            }
        }
    }

    #[test]
    fn every_row_is_documented_and_every_alias_belongs_to_a_switch_if_it_says_the_contrary() {
        for row in OPTIONS {
            assert!(!row.doc.is_empty(), "{}", row.key);
            let is_switch = matches!(row.kind, Kind::Switch { .. });
            assert!(is_switch || !row.alias.is_some_and(|alias| alias.opposite), "{}", row.key);
        }
    }
}
