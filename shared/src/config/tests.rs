//! Literal files in, values and the exact remarks out.

mod faults;
mod files;
mod hostile;

use std::path::Path;

use super::options::OPTIONS;
use super::value::{Kind, Outcome};
use super::*;

const STOCK: &str = include_str!("../../../conf/ebpf.conf");

fn parsed(text: &str) -> Loaded {
    parse(Path::new("f"), text.as_bytes(), Overrides::default())
}

fn shown(loaded: &Loaded) -> Vec<String> {
    loaded.diagnostics.iter().map(|remark| format!("{:?} {remark}", remark.level)).collect()
}

fn only_remark(text: &str) -> String {
    let remarks = shown(&parsed(text));
    assert_eq!(remarks.len(), 1, "{text}: {remarks:#?}");
    remarks[0].clone()
}

/// The configuration of a text that must cause no remark.
fn clean(text: &str) -> Config {
    let loaded = parsed(text);
    assert!(loaded.diagnostics.is_empty(), "{text}: {:#?}", shown(&loaded));
    loaded.config
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

#[test]
fn every_default_is_accepted_by_its_own_option() {
    for row in OPTIONS.iter().filter(|row| !row.default.is_empty()) {
        let outcome = row.kind.store(&mut Config::default(), row.default, None);
        assert_eq!(outcome, Outcome::Stored(row.default.to_owned()), "{}", row.key);
    }
}

#[test]
fn defaults_are_those_of_the_specification() {
    let config = Config::default();
    assert_eq!(config.load_mode, LoadMode::Entry);
    assert!(config.apps);
    assert_eq!((config.strategy, config.type_format, config.update_every_s), (None, TypeFormat::Auto, None));
    assert_eq!(config.pid_table_size, 32_768);
    assert_eq!(config.btf_path, Path::new("/sys/kernel/btf/"));
    let all = Programs { process: true, network_viewer: true, network_connections: true };
    assert_eq!(config.programs, all);
    let viewer = &config.network_viewer;
    assert_eq!(viewer.maximum_dimensions, 500);
    assert!(!viewer.resolve_hostname_ips);
    assert!(viewer.resolve_service_names);
    assert_eq!(texts(&viewer.ports), ["*"]);
    assert_eq!(texts(&viewer.hostnames), ["*"]);
    let private = ["!127.0.0.1/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
    assert_eq!(texts(&viewer.ips), private);
    assert!(viewer.ips.iter().all(|word| word.line.is_none()));
    assert!(config.service_names.is_empty());
}

#[test]
fn the_stock_file_states_every_option_with_its_default() {
    let mut config = clean(STOCK);
    assert_eq!(config.service_names.remove(&19_999).as_deref(), Some("Netdata"));
    for list in [
        &mut config.network_viewer.ports,
        &mut config.network_viewer.hostnames,
        &mut config.network_viewer.ips,
    ] {
        list.iter_mut().for_each(|word| word.line = None);
    }
    assert_eq!(config, Config::default());
    for row in OPTIONS.iter().filter(|row| row.has_effect()) {
        let line = if row.default.is_empty() {
            format!("    # {} = ", row.key)
        } else {
            format!("    {} = {}", row.key, row.default)
        };
        assert!(STOCK.lines().any(|stock| stock.starts_with(&line)), "{line}");
    }
}

#[test]
fn the_example_of_the_specification() {
    let loaded = parsed(
        "[network viewer]\nmaximum dimensions = 500\nresolve hostname ips = no\nports = 1-1024 !145 !domain\n\
         hostnames = !example.com\nips = !127.0.0.1/8 fc00::/7\n[service name]\n19999 = Netdata\n",
    );
    assert!(loaded.diagnostics.is_empty());
    let viewer = &loaded.config.network_viewer;
    assert_eq!(texts(&viewer.ports), ["1-1024", "!145", "!domain"]);
    assert!(viewer.ports.iter().all(|word| word.line == Some(4)));
    assert_eq!(viewer.hostnames, [Word { text: "!example.com".into(), line: Some(5) }]);
    assert_eq!(loaded.config.service_names[&19_999], "Netdata");
}

#[test]
fn every_option_takes_other_values_than_its_default() {
    let config = clean(
        "[global]\nebpf load mode = ReTurn\ndisable apps = YES\nupdate every = 0xa\n\
         ebpf type format = CO-RE\nebpf co-re tracing = Probe\npid table size = 64\nbtf path = /boot\n\
         [ebpf programs]\nprocess = off\nnetwork connection monitoring = 0\n[network viewer]\n\
         maximum dimensions = 7\nresolve hostname ips = on\nresolve service names = never\nports =\n\
         hostnames = a* \t !b\nips = *\n",
    );
    assert_eq!(config.load_mode, LoadMode::Return);
    assert!(!config.apps);
    assert_eq!((config.update_every_s, config.type_format), (Some(10), TypeFormat::CoRe));
    assert_eq!(config.strategy, Some(Strategy::Probe));
    assert_eq!((config.pid_table_size, config.btf_path.to_str()), (64, Some("/boot")));
    let programs = Programs { process: false, network_viewer: true, network_connections: false };
    assert_eq!(config.programs, programs);
    let viewer = config.network_viewer;
    assert_eq!(viewer.maximum_dimensions, 7);
    assert!(viewer.resolve_hostname_ips && !viewer.resolve_service_names);
    assert!(viewer.ports.is_empty());
    assert_eq!(texts(&viewer.hostnames), ["a*", "!b"]);
    assert_eq!(texts(&viewer.ips), ["*"]);
}

#[test]
fn names_of_other_versions() {
    assert_eq!(clean("[global]\nload = return\n").load_mode, LoadMode::Return);
    assert!(!clean("[global]\napps = no\n").apps);
    assert!(clean("[global]\napps = yes\n").apps);
    assert!(!clean("[ebpf programs]\nsocket = no\nnetwork connections = no\n").programs.network_viewer);
    assert!(!clean("[ebpf programs]\nnetwork connections = no\n").programs.network_connections);
    let viewer = clean("[network connections]\nresolve hostnames = yes\nports = 80\n").network_viewer;
    assert!(viewer.resolve_hostname_ips);
    assert_eq!(texts(&viewer.ports), ["80"]);
}

#[test]
fn every_row_is_reachable_by_each_of_its_names() {
    for row in OPTIONS {
        for name in row.names() {
            let remarks = shown(&parsed(&format!("[{}]\n{name} =\n", row.section)));
            assert!(!remarks.iter().any(|remark| remark.contains("unknown")), "{remarks:?}");
            if let Kind::NoEffect(why) = row.kind {
                assert_eq!(remarks, [format!("Info f:2: `{name}` has no effect here: {why}")]);
            }
        }
    }
}

#[test]
fn names_of_ports() {
    let loaded = parsed(
        "[service name]\n80 = web\n0 = a\n65536 = b\nssh = c\n443 =\n80 = www\n0x50 = hex\n9=a\x1bb\n",
    );
    let names: Vec<_> = loaded.config.service_names.iter().collect();
    assert_eq!(names, [(&80, &"hex".to_owned())]);
    assert_eq!(
        shown(&loaded),
        [
            "Warning f:2: port 80 is named again in line 7, which wins; this line is ignored",
            "Warning f:3: `0` is no port, which is a number from 1 to 65535; the line is ignored",
            "Warning f:4: `65536` is no port, which is a number from 1 to 65535; the line is ignored",
            "Warning f:5: `ssh` is no port, which is a number from 1 to 65535; the line is ignored",
            "Warning f:6: port 443 needs a name of printable characters; the line is ignored",
            "Warning f:7: port 80 is named again in line 8, which wins; this line is ignored",
            "Warning f:9: port 9 needs a name of printable characters; the line is ignored",
        ]
    );
}

#[test]
fn the_port_of_the_agent_is_named_unless_the_file_names_it() {
    let named = |text: &str, port: &str| {
        let mut loaded = parsed(text);
        loaded.name_agent_port(port);
        loaded.config.service_names.get(&20_000).cloned()
    };
    assert_eq!(named("", "20000").as_deref(), Some("Netdata"));
    assert_eq!(named("[service name]\n20000 = mine\n", "20000").as_deref(), Some("mine"));
    assert_eq!(named("", "all"), None);
}

#[test]
fn the_command_line_wins_over_the_file() {
    let text =
        b"[global]\nload = entry\napps = yes\n[ebpf programs]\nprocess = no\nnetwork connections = no\n";
    let with = |overrides| parse(Path::new("f"), text, overrides);
    let none = Overrides::default();

    let loaded = with(Overrides { global: true, return_mode: true, ..none });
    assert!(!loaded.config.apps);
    assert_eq!(loaded.config.load_mode, LoadMode::Return);
    assert_eq!(loaded.values[0].origin, Origin::CommandLine);

    let programs = |overrides| {
        let loaded = with(overrides);
        assert!(loaded.diagnostics.is_empty(), "{:?}", shown(&loaded));
        let Programs { process, network_viewer, network_connections } = loaded.config.programs;
        (process, network_viewer, network_connections)
    };
    assert_eq!(programs(none), (false, true, false));
    assert_eq!(programs(Overrides { process: true, ..none }), (true, false, false));
    assert_eq!(programs(Overrides { net: true, ..none }), (false, true, false));
    assert_eq!(programs(Overrides { net: true, process: true, ..none }), (true, true, false));
    assert_eq!(programs(Overrides { all: true, net: true, ..none }), (true, true, true));
}

#[test]
fn the_effective_configuration_can_be_read_again() {
    let loaded =
        parsed("[global]\napps = no\nupdate every = 5\n[network viewer]\nips =\n[service name]\n80 = web\n");
    let text = render(&loaded.values);
    assert!(text.contains("[global]\n    # default\n    ebpf load mode = entry\n"), "{text}");
    assert!(text.contains("    # f:2\n    disable apps = yes\n"), "{text}");
    assert!(text.contains("    # default: unset\n    # ebpf co-re tracing =\n"), "{text}");
    assert!(text.ends_with("\n[service name]\n    # f:7\n    80 = web\n"), "{text}");
    let again = parsed(&text);
    assert!(again.diagnostics.is_empty(), "{:?}", shown(&again));
    assert_eq!(again.config.service_names, loaded.config.service_names);
    assert!(!again.config.apps && again.config.network_viewer.ips.is_empty());
    assert_eq!(again.config.update_every_s, Some(5));
}
