//! The viewer with names: from a real server on loopback.

use std::thread;
use std::time::{Duration, Instant};

use super::super::resolver::dns_server::{DnsServer, Reply};
use super::*;
use crate::protocol::Protocol as Output;

const NAMED: &str = "resolve hostname ips = yes\nresolve service names = no";

/// Draws again and again, a second of the viewer's time each, until `what` holds.
fn wait(viewer: &mut Viewer, epoch: &[Flow], agent: &mut Agent, what: impl Fn(&Viewer) -> bool) {
    let begin = Instant::now();
    while !what(viewer) {
        assert!(begin.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(5));
        let now_ns = viewer.now_ns + SECOND_NS / 1000;
        viewer.add(epoch, now_ns);
        agent.take(viewer.draw(), false);
    }
}

fn names(viewer: &Viewer) -> Vec<(&str, Option<&str>)> {
    viewer.outbound.shown().iter().map(|peer| (peer.id.as_str(), peer.name.as_deref())).collect()
}

#[test]
fn the_id_remains_the_address_and_two_addresses_of_a_name_remain_apart() {
    let server = DnsServer::start(|address| match address.octets()[3] {
        1 | 2 => Reply::name("db.example.com"),
        3 => Reply::name("10.0.0.1"),
        _ => Reply::NoName,
    });
    let mut viewer = viewer(NAMED, server.servers());
    let mut agent = Agent::default();
    agent.take(viewer.draw(), false);
    let epoch: Vec<Flow> = (1..=4).map(|number| flow(key(number), 100)).collect();
    viewer.add(&epoch, SECOND_NS);
    assert!(names(&viewer).iter().all(|(_, name)| name.is_none()));
    wait(&mut viewer, &epoch, &mut agent, |_| server.asked() >= 4);
    wait(&mut viewer, &epoch, &mut agent, |viewer| {
        names(viewer).iter().filter(|(_, name)| name.is_some()).count() == 2
    });
    let mut found: Vec<_> = names(&viewer).into_iter().filter_map(|(_, name)| name).collect();
    found.sort_unstable();
    assert!(
        matches!(found[..], ["443:TCP:db.example.com", with] if with.starts_with("443:TCP:db.example.com@10.0.0.")),
        "{found:?}"
    );
    assert_eq!(server.asked(), 4, "each is asked for once");
    let named =
        viewer.draw()[0].dimensions.iter().find(|one| one.name == "443:TCP:db.example.com_sent").unwrap();
    assert!(named.id.starts_with("443:TCP:10.0.0."));
}

#[test]
fn a_denied_name_is_filtered_from_then_on_and_not_asked_for_again() {
    let server = DnsServer::start(|address| match address.octets()[3] {
        1 => Reply::name("bad.example.com"),
        _ => Reply::name("good.example.com"),
    });
    let mut viewer = viewer(&format!("{NAMED}\nhostnames = !bad.*"), server.servers());
    let mut agent = Agent::default();
    agent.take(viewer.draw(), false);
    let epoch = [flow(key(1), 100), flow(key(2), 100)];
    wait(&mut viewer, &epoch, &mut agent, |viewer| !viewer.outbound.is_shown(&key(1)) && viewer.now_ns > 0);
    // A time without peers is not what ended the wait.
    wait(&mut viewer, &epoch, &mut agent, |viewer| {
        viewer.filtered_outbound.total.sent_bytes > 0 && !viewer.outbound.is_shown(&key(1))
    });
    let filtered = viewer.filtered_outbound.total.sent_bytes;
    for _ in 0..50 {
        viewer.add(&epoch, viewer.now_ns + SECOND_NS);
        agent.take(viewer.draw(), false);
    }
    assert_eq!(viewer.filtered_outbound.total.sent_bytes, filtered + 50 * 100);
    assert!(viewer.outbound.is_shown(&key(2)));
    assert_eq!(server.asked(), 2);
    let all: i64 = ["ebpf.outbound_bytes", "ebpf.network_filtered"].iter().map(|id| agent.sums[*id][0]).sum();
    let moved = viewer.outbound.shown()[0].total.sent_bytes;
    assert_eq!(all as u64, 2 * moved, "nothing is lost on the way");
}

#[test]
fn a_silent_server_delays_no_sample() {
    let server = DnsServer::start(|_| Reply::Silence);
    let mut viewer = viewer(&format!("{NAMED}\nhostnames = !bad.*"), server.servers());
    let epoch: Vec<Flow> = (0..2000).map(|number| flow(key(number), 100)).collect();
    let begin = Instant::now();
    for second in 1..=5 {
        viewer.add(&epoch, second * SECOND_NS);
        viewer.draw();
    }
    // One answer alone is waited for longer.
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert!(names(&viewer).iter().all(|(_, name)| name.is_none()));
}

/// The longest service, the longest name, the longest address, on a name that is there already.
#[test]
fn the_longest_lines_fit_into_the_oldest_agents() {
    let long = "x".repeat(300);
    let options = format!("maximum dimensions = 500\nips = *\n[service name]\n443 = {long}\n442 = {long}");
    let mut viewer = viewer(&options, Servers::OfTheSystem);
    let mut wide = [key(1), key(2)];
    wide[0].address = [0xfe; 16];
    wide[1].address = [0xfd; 16];
    viewer.add(&wide.map(|key| flow(key, 10)), SECOND_NS);
    let host = "y".repeat(1000);
    viewer.outbound.rename(&viewer.labels, |_| Some(host.as_str()));
    assert!(names(&viewer).iter().all(|(_, name)| name.is_some()));
    let mut text = Vec::new();
    Output::new(&mut text, 1).publish(viewer.draw()).unwrap();
    let text = String::from_utf8(text).unwrap();
    let longest = text.lines().map(str::len).max().unwrap();
    assert!((850..1023).contains(&longest), "{longest}");
}
