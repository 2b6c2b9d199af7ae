//! The canary: counted to the unit, by `--check` and by the plugin, again and again; and noticed when it is not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use shared::canary::{MESSAGES, TCP_BYTES, UDP_BYTES, deeds};
use tests::network::flows;
use tests::plugin::{Plugin, SHOW_ALL, Setup, only_network, write_file};
use tests::system::{alone, program_directory, wait_until};

/// What `--check` says of the network viewer, after these commands in a network namespace of its own.
fn check(conf: &str, hooks: Option<&str>, before: &str) -> Value {
    let directory = tempfile::tempdir().unwrap();
    write_file(&directory.path().join("ebpf.conf"), conf).unwrap();
    if let Some(hooks) = hooks {
        std::fs::create_dir(directory.path().join("ebpf.d")).unwrap();
        write_file(&directory.path().join("ebpf.d/network_viewer.toml"), hooks).unwrap();
    }
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", &format!("{before} exec \"$@\""), "sh"])
        .arg(program_directory().unwrap().join("supervisor"))
        .args(["--check", "--json"])
        .env("NETDATA_USER_CONFIG_DIR", directory.path())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    report["programs"][0].clone()
}

/// By counter: what was done and what was counted.
fn counts(program: &Value) -> BTreeMap<&str, (u64, u64)> {
    let counts = program["canary"]["counted"]["counts"].as_array();
    let counts = counts.unwrap_or_else(|| panic!("no canary: {}", program["canary"]));
    let number = |count: &Value, name: &str| count[name].as_u64().unwrap();
    counts
        .iter()
        .map(|count| (count["counter"].as_str().unwrap(), (number(count, "done"), number(count, "counted"))))
        .collect()
}

fn wanted(return_mode: bool, has_ipv6: bool) -> BTreeMap<&'static str, (u64, u64)> {
    let of_mode = deeds("network_viewer").iter().filter(|deed| return_mode || !deed.is_error);
    of_mode.map(|deed| (deed.counter, (deed.done(has_ipv6), deed.done(has_ipv6)))).collect()
}

const LOOPBACK: &str = "ip link set lo up;";

#[test]
fn check_counts_what_it_sends_and_receives() {
    let _alone = alone().unwrap();
    for (mode, apps) in [("entry", "yes"), ("return", "yes"), ("return", "no")] {
        let global = format!("ebpf load mode = {mode}\n    apps = {apps}");
        let program = check(&only_network(&global, ""), None, LOOPBACK);
        assert_eq!(program["state"], "all", "{program}");
        assert_eq!(counts(&program), wanted(mode == "return", true), "{mode}, apps {apps}");
    }
    // Without the charts of flows nothing else is counted.
    let conf = only_network("", "").replace("[network viewer]", "    network connection monitoring = no\n");
    assert_eq!(counts(&check(&conf, None, LOOPBACK)), wanted(false, true));
}

#[test]
fn a_host_without_ipv6_has_less_to_count() {
    let _alone = alone().unwrap();
    let before = format!("{LOOPBACK} echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6;");
    let program = check(&only_network("ebpf load mode = return", ""), None, &before);
    assert_eq!(counts(&program), wanted(true, false));
    assert_eq!(program["state"], "all", "{program}");
}

#[test]
fn a_host_without_loopback_is_told_why_nothing_is_proved() {
    let _alone = alone().unwrap();
    let program = check(&only_network("", ""), None, "");
    assert_eq!(program["state"], "degraded", "{program}");
    let why = program["canary"]["failed"].as_str().unwrap_or_else(|| panic!("{program}"));
    assert!(why.contains("127.0.0.1"), "{why}");
}

/// A hook that attaches, and never hears of a connection.
#[test]
fn an_event_that_is_not_counted_is_noticed() {
    let _alone = alone().unwrap();
    let hooks = "tcp_state.hooks = [{ tp_btf = \"sched_process_exec\" }]\n";
    let program = check(&only_network("ebpf load mode = return", ""), Some(hooks), LOOPBACK);
    assert_eq!(program["state"], "degraded", "{program}");
    let counts = counts(&program);
    let right = wanted(true, true);
    let wrong: BTreeSet<&str> =
        right.keys().filter(|&counter| counts[counter] != right[counter]).copied().collect();
    assert_eq!(wrong, BTreeSet::from(["tcp_connect_v4", "tcp_connect_v6"]));
    assert_eq!(counts["tcp_connect_v4"], (1, 0));
}

/// How often a module's canary flew; each must have been counted whole.
fn flights(log: &str, module: &str) -> usize {
    let lines = log.lines().filter(|line| line.contains(module) && line.contains("canary: "));
    // This kernel's tracepoint of releases leaves some out under load, and the canary says so.
    let is_right = |line: &str| {
        line.contains("operations of our own were counted")
            || line.contains(" : process : canary: release ") && !line.contains(", ")
    };
    lines.inspect(|line| assert!(is_right(line), "{line}")).count()
}

/// Every two seconds instead of every hour, charted, charged to its group, without new dimensions.
fn is_repeated(mode: &str) {
    let conf =
        only_network(&format!("ebpf load mode = {mode}"), SHOW_ALL).replace("process = no", "process = yes");
    let setup = Setup {
        ebpf_conf: Some(conf),
        args: ["1", "--canary-every", "2"].map(str::to_owned).to_vec(),
        ..Setup::new(mode, "ours: ebpf-worker\n")
    };
    let mut plugin = Plugin::start_and_wait(&setup).unwrap();
    wait_until("three canaries of each", Duration::from_secs(60), || {
        Ok(["process", "network_viewer"].iter().all(|module| flights(&plugin.stderr(), module) >= 3))
    })
    .unwrap();
    plugin.wait_ticks(2).unwrap();
    let finished = plugin.stop().unwrap();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let (output, log) = (&finished.output, &finished.stderr);
    for module in ["process", "network_viewer"] {
        let chart = &output.charts[&format!("ebpf.{module}_canary")];
        let done = chart.history("done");
        if !log.contains(&format!(" : {module} : canary: release ")) {
            assert_eq!(done, chart.history("counted"));
        }
        let calls = deeds(module).iter().filter(|deed| mode == "return" || !deed.is_error);
        let calls = calls.filter(|deed| !deed.counter.ends_with("_bytes"));
        let operations: u64 = calls.map(|deed| deed.done(Path::new("/proc/net/if_inet6").exists())).sum();
        assert_eq!(done.last(), Some(&operations.cast_signed()), "{module}");
    }
    // Charged to its group, as often as it was done.
    let flights = flights(log, "network_viewer") as i64;
    let sends = wanted(false, Path::new("/proc/net/if_inet6").exists())["udp_send"].0 as i64;
    let shown = output.total("apps.bandwidth_udp_send", "ours");
    assert!(
        shown % sends == 0 && (flights - 1..=flights).contains(&(shown / sends)),
        "{shown} of {flights} × {sends}"
    );
    // All peers and ports of all canaries are in `other`: no dimension has what one of them moved.
    let amounts = [TCP_BYTES, UDP_BYTES].map(|bytes| (MESSAGES * bytes) as i64);
    let amounts = amounts.map(|bytes| [bytes, bytes, MESSAGES as i64, MESSAGES as i64]);
    let each: i64 = amounts.iter().map(|one| one[0]).sum();
    for is_inbound in [false, true] {
        let of_a_canary = |label: &String| amounts.contains(&flows::shown(output, is_inbound, label));
        let labels: Vec<String> = flows::labels(output, is_inbound).into_iter().filter(of_a_canary).collect();
        assert!(labels.is_empty(), "{labels:?}");
        let other = flows::other(output, is_inbound);
        assert!(other[..2].iter().all(|&bytes| bytes >= each * (flights - 1)), "{other:?}");
    }
    let mut faults = flows::sum_differences(output);
    faults.extend(output.counter_faults());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn it_is_repeated() {
    let _alone = alone().unwrap();
    is_repeated("return");
}
