//! The options of `[network viewer]` and `[service name]` against real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use tests::model::Output;
use tests::network::done::Done;
use tests::network::flows;
use tests::network::namespace::{NameServer, Namespaces};
use tests::network::pair::{Pair, Place};
use tests::plugin::{Finished, Plugin, Setup, only_network};
use tests::system::alone;

const WORDS: &str = "stream=3:101:4 ";

/// Runs a pair at each place beside a plugin with these options; returns what it showed and what each pair did.
fn run(options: &str, pairs: &[(&Place, &str)]) -> (Finished, Vec<Done>) {
    let directory = tempfile::tempdir().unwrap();
    let conf = only_network("ebpf load mode = return", options);
    let setup = Setup { ebpf_conf: Some(conf), ..Setup::new("return", "") };
    let mut plugin = Plugin::start_and_wait(&setup).unwrap();
    let mut done = Vec::new();
    for (number, (place, words)) in pairs.iter().enumerate() {
        let both = Pair::run(directory.path(), &format!("nett{number}"), place, words).unwrap();
        done.push(both.sum());
    }
    plugin.wait_ticks(3).unwrap();
    let finished = plugin.stop().unwrap();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let faults = flows::sum_differences(&finished.output);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    (finished, done)
}

/// Outbound peers of `done` that have a dimension, each with the right numbers.
fn is_shown(finished: &Finished, done: &Done) -> bool {
    let labels = flows::labels(&finished.output, false);
    let outbound = done.flows.keys().filter(|key| !key.is_inbound);
    let there: Vec<bool> = outbound.map(|key| labels.contains(&key.label(&key.port.to_string()))).collect();
    assert!(there.iter().all(|one| *one == there[0]), "{there:?}");
    if there[0] {
        let mut peers = done.clone();
        peers.flows.retain(|key, _| !key.is_inbound);
        let differences =
            flows::differences(&finished.output, &peers, flows::Booked::All, |port| port.to_string());
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
    there[0]
}

/// The example of the specification: ports 1 to 1024 but 145 and `domain`; private networks but not loopback.
#[test]
fn the_documented_example() {
    let _alone = alone().unwrap();
    let namespaces = Namespaces::new().unwrap();
    let options = "    maximum dimensions = 500\n    resolve hostname ips = no\n    ports = 1-1024 !145 !domain\n    hostnames = !example.com\n    \
        ips = !127.0.0.1/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7\n    resolve service names = no";
    let at = |port| namespaces.place(port);
    let [imap, link, domain, high] = [143, 145, 53, 2000].map(at);
    let name = namespaces.names[0].clone();
    let own = Place { namespaces: Some((name.clone(), name)), ..Place::loopback(143) };
    let v6 = "stream=3:103:6";
    let pairs = [
        (&imap, WORDS),
        (&imap, v6),
        (&link, WORDS),
        (&domain, WORDS),
        (&high, WORDS),
        (&own, WORDS),
        (&own, v6),
    ];
    let (finished, done) = run(options, &pairs);
    let shown: Vec<bool> = done.iter().map(|done| is_shown(&finished, done)).collect();
    assert_eq!(shown, [true, true, false, false, false, false, false]);
}

/// Single addresses, ranges and networks of both families, and what is taken out of them.
#[test]
fn addresses() {
    let _alone = alone().unwrap();
    let options = "    ports = *\n    ips = 127.9.0.1 127.9.1.5-127.9.1.9 127.9.2.0/24 !127.9.2.7 ::1\n    resolve service names = no";
    let at = |address: &str| Place { ipv4: address.to_owned(), ..Place::loopback(21000) };
    let addresses = [
        "127.9.0.1",
        "127.9.0.2",
        "127.9.1.4",
        "127.9.1.5",
        "127.9.1.9",
        "127.9.1.10",
        "127.9.2.255",
        "127.9.2.7",
    ];
    let places = addresses.map(at);
    let mut pairs: Vec<(&Place, &str)> = places.iter().map(|place| (place, WORDS)).collect();
    pairs.push((&places[1], "stream=3:103:6"));
    let (finished, done) = run(options, &pairs);
    let shown: Vec<bool> = done.iter().map(|done| is_shown(&finished, done)).collect();
    assert_eq!(shown, [true, false, false, true, true, false, true, false, true]);
}

/// Ten dimensions are four peers and `other`, two each; the busiest of fifty are among them, and nothing is lost.
#[test]
fn the_busiest_of_many_peers() {
    let _alone = alone().unwrap();
    let options = "    ports = *\n    ips = *\n    maximum dimensions = 10\n    resolve service names = no";
    let place = Place::loopback(21000);
    let (finished, done) = run(options, &[(&place, "udp_peers=50:100:4")]);
    let labels = flows::labels(&finished.output, false);
    assert_eq!(labels.len(), 4, "{labels:?}");
    // Sizes rise with the address.
    for last in 46..50 {
        assert!(labels.contains(&format!("21000:UDP:127.1.0.{last}")), "{labels:?}");
    }
    let all: u64 =
        done[0].flows.iter().filter(|(key, _)| !key.is_inbound).map(|(_, moved)| moved.sent_bytes).sum();
    let of_labels: i64 = flows::by_label(&finished.output, false).values().sum();
    let other = flows::other(&finished.output, false)[0];
    assert!(other > 0 && of_labels + other >= all.cast_signed(), "{of_labels} and {other} of {all}");
}

/// A port with a name of the configuration.
#[test]
fn named_services() {
    let _alone = alone().unwrap();
    let options = "    ports = *\n    ips = *\n[service name]\n    21000 = Netdata";
    let (finished, done) = run(options, &[(&Place::loopback(21000), WORDS)]);
    let faults = flows::differences(&finished.output, &done[0], flows::Booked::All, |_| "Netdata".to_owned());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The shown names of the dimensions of outbound bytes, by the label of their id.
fn shown_names(output: &Output) -> BTreeMap<String, String> {
    let dimensions = output.charts.get("ebpf.outbound_bytes").into_iter().flat_map(|chart| &chart.dimensions);
    let sent = dimensions.filter(|dimension| !dimension.obsolete).filter_map(|dimension| {
        let label = dimension.id.strip_suffix("_sent")?;
        Some((label.to_owned(), dimension.name.strip_suffix("_sent").unwrap_or(&dimension.name).to_owned()))
    });
    sent.collect()
}

/// A DNS server's names become the names of dimensions whose ids stay; `hostnames` acts as soon as a name is known; who has none is shown by address.
#[test]
fn host_names() {
    let _alone = alone().unwrap();
    let namespaces = Namespaces::new().unwrap();
    for host in [3, 4] {
        namespaces.add_address(host).unwrap();
    }
    let at = |host: u8| Ipv4Addr::new(10, 99, 0, host);
    let names = [(at(1), "db.shop.example"), (at(3), "vault.secret.example")];
    let _server = NameServer::start(&namespaces.names[1], &names).unwrap();
    let options = "    ports = *\n    ips = *\n    resolve hostname ips = yes\n    maximum dimensions = 100000\n    hostnames = !*.secret.example\n    resolve service names = no";
    let conf = only_network("ebpf load mode = return", options);
    let namespace = Some(namespaces.names[1].clone());
    let setup = Setup { ebpf_conf: Some(conf), namespace, ..Setup::new("return", "") };
    let mut plugin = Plugin::start_and_wait(&setup).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let run = |round: u8, host: u8| {
        let place = Place { ipv4: at(host).to_string(), ..namespaces.place(21000) };
        Pair::run(directory.path(), &format!("nett{round}{host}"), &place, WORDS).unwrap().client
    };
    let mut done = [1, 3, 4].map(|host| run(1, host));
    let label = |host: u8| format!("21000:TCP:{}", at(host));
    // Named, filtered out, and shown by its address.
    plugin
        .wait("the names", Duration::from_secs(20), |output| {
            let names = shown_names(output);
            names.get(&label(1)).is_some_and(|name| name == "21000:TCP:db.shop.example")
                && !names.contains_key(&label(3))
                && names.get(&label(4)).is_some_and(String::is_empty)
        })
        .unwrap();
    for (done, host) in done.iter_mut().zip([1, 3, 4]) {
        *done += &run(2, host);
    }
    plugin.wait_ticks(3).unwrap();
    let finished = plugin.stop().unwrap();
    let faults = flows::sum_differences(&finished.output);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(is_shown(&finished, &done[0]) && is_shown(&finished, &done[2]));
    // Until its name was known it passed.
    let bytes = done[1].flows.values().map(|moved| moved.sent_bytes + moved.received_bytes).sum::<u64>();
    let [sent, received, ..] = flows::shown(&finished.output, false, &label(3));
    assert!(sent + received <= bytes.cast_signed() / 2, "{sent} and {received} of {bytes} were shown");
    assert_eq!(sent + received + flows::filtered_bytes(&finished.output), bytes.cast_signed());
}
