//! Known traffic equals the charts to the unit: by group, by peer, by port, and for the system.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tests::difference::texts;
use tests::network::compare::{chart_differences, group_differences, sum_differences, system_differences};
use tests::network::flows::{self, Booked};
use tests::network::namespace::Namespaces;
use tests::network::pair::{Both, Pair, Place, groups, names};
use tests::network::words::{
    EVERYTHING, between_namespaces as words_between_namespaces, with_older_connections,
};
use tests::plugin::{Finished, Plugin, SHOW_ALL, Setup, only_network};
use tests::system::alone;

fn setup(mode: &str, global: &str, pairs: &[&str]) -> Setup {
    let global = format!("ebpf load mode = {mode}\n    {global}");
    Setup { ebpf_conf: Some(only_network(&global, SHOW_ALL)), ..Setup::new(mode, &groups(pairs)) }
}

/// A group's first values are shown one interval after its first traffic.
fn settle(mut plugin: Plugin) -> Finished {
    plugin.wait_ticks(3).unwrap();
    plugin.stop().unwrap()
}

/// Everything that is wrong with a mode's output.
fn faults(finished: &Finished, mode: &str, with_apps: bool, done: &[(&str, &Both)]) -> Vec<String> {
    let (output, return_mode) = (&finished.output, mode == "return");
    let mut faults = chart_differences(output, return_mode, with_apps);
    let mut all = tests::network::done::Done::default();
    for (name, both) in done {
        let [server, client] = names(name);
        if with_apps {
            faults.extend(texts(group_differences(output, &server, &both.server, return_mode)));
            faults.extend(texts(group_differences(output, &client, &both.client, return_mode)));
        }
        all += &both.sum();
    }
    faults.extend(system_differences(output, &all, return_mode, true));
    faults.extend(flows::differences(output, &all, Booked::All, |port| port.to_string()));
    faults.extend(flows::sum_differences(output));
    if with_apps {
        faults.extend(sum_differences(output));
    }
    faults.extend(output.counter_faults());
    if finished.status.code() != Some(0) {
        faults.push(format!("ended with {}", finished.status));
    }
    faults
}

fn check(finished: &Finished, mode: &str, with_apps: bool, done: &[(&str, &Both)]) {
    let faults = faults(finished, mode, with_apps, done);
    assert!(faults.is_empty(), "{}\nlog:\n{}", faults.join("\n"), finished.stderr);
}

/// Starts the pair, then the plugin, then the traffic: connections and a listener are older than the plugin.
fn compare(mode: &str, global: &str, place: &Place, words: &str) -> Both {
    let directory = tempfile::tempdir().unwrap();
    let mut pair = Pair::start(directory.path(), "nett", place, &with_older_connections(words)).unwrap();
    pair.wait_paused().unwrap();
    let plugin = Plugin::start_and_wait(&setup(mode, global, &["nett"])).unwrap();
    pair.go().unwrap();
    let both = pair.finish().unwrap();
    check(&settle(plugin), mode, !global.contains("disable apps"), &[("nett", &both)]);
    both
}

#[test]
fn every_operation_in_return_mode() {
    let _alone = alone().unwrap();
    let both = compare("return", "", &Place::loopback(21000), EVERYTHING);
    assert!(both.sum().flows.len() > 100 && both.sum().total("tcp_connect_error") > 5);
}

#[test]
fn every_operation_in_entry_mode() {
    let _alone = alone().unwrap();
    compare("entry", "", &Place::loopback(21000), EVERYTHING);
}

#[test]
fn without_applications() {
    let _alone = alone().unwrap();
    for mode in ["entry", "return"] {
        compare(mode, "disable apps = yes", &Place::loopback(21000), EVERYTHING);
    }
}

/// Between two network namespaces; what only loopback has (many addresses) is left out.
#[test]
fn between_namespaces() {
    let _alone = alone().unwrap();
    let namespaces = Namespaces::new().unwrap();
    let words = words_between_namespaces(EVERYTHING);
    compare("return", "", &namespaces.place(23000), &words.join(" "));
}

/// Hundreds of megabytes, from programs and from a file, and back.
#[test]
fn large_transfers() {
    let _alone = alone().unwrap();
    let words = "pause stream=2:150000000:4 stream=1:50000000:6 sendfile=2:100000000:4 threads=20:3000000:6";
    let both = compare("return", "", &Place::loopback(21000), words);
    assert!(both.client.total("tcp_sent_bytes") > 500_000_000);
}

/// Several pairs at once, on all processors.
#[test]
fn several_pairs_at_once() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let pairs = ["nett1", "nett2", "nett3"];
    let plugin = Plugin::start_and_wait(&setup("return", "", &pairs)).unwrap();
    let words =
        "threads=40:20011:4 short=1500:7:4 threads=40:3001:6 udp_clients=3000:19:4 udp_unconnected=3000:23:6";
    let running = pairs.iter().zip([21000, 22000, 23000]);
    let running: Vec<Pair> = running
        .map(|(name, port)| Pair::start(directory.path(), name, &Place::loopback(port), words).unwrap())
        .collect();
    let both: Vec<Both> = running.into_iter().map(|pair| pair.finish().unwrap()).collect();
    let done: Vec<(&str, &Both)> = pairs.into_iter().zip(&both).collect();
    check(&settle(plugin), "return", true, &done);
}

/// 100,000 short connections from many addresses to one server are one row on either side; 20,000 peers are 20,000.
#[test]
fn many_connections_and_many_peers() {
    let _alone = alone().unwrap();
    let words = "pause short=100000:3:4 udp_peers=20000:5:4";
    let directory = tempfile::tempdir().unwrap();
    let mut pair = Pair::start(directory.path(), "nett", &Place::loopback(21000), words).unwrap();
    pair.wait_paused().unwrap();
    // As many dimensions as by default: all other peers are in `other`, and the sums tell whether anything is lost.
    let viewer = SHOW_ALL.replace("100000", "500");
    let global = "ebpf load mode = return";
    let setup =
        Setup { ebpf_conf: Some(only_network(global, &viewer)), ..Setup::new("return", &groups(&["nett"])) };
    let plugin = Plugin::start_and_wait(&setup).unwrap();
    pair.go().unwrap();
    let both = pair.finish().unwrap();
    let finished = settle(plugin);
    let [server, client] = names("nett");
    let mut faults: Vec<String> =
        texts(group_differences(&finished.output, &server, &both.server, true)).collect();
    faults.extend(texts(group_differences(&finished.output, &client, &both.client, true)));
    faults.extend(flows::sum_differences(&finished.output));
    faults.extend(sum_differences(&finished.output));
    faults.extend(finished.output.counter_faults());
    assert!(faults.is_empty(), "{}\nlog:\n{}", faults.join("\n"), finished.stderr);
    assert_eq!(finished.output.total(flows::MISSED, "no_flow"), 0);
    assert_eq!(both.client.flows.len(), 20_001);
    assert_eq!(both.server.flows.len(), 2);
    assert_eq!(both.sum().total("tcp_close"), 200_000);
}
