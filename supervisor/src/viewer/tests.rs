//! The viewer against an agent that adds up what it is told, and against a slow and obvious model.

mod model;
mod named;

use std::collections::{HashMap, HashSet};

use shared::config::{Overrides, parse};
use shared::snapshot::Protocol;
use shared::wire::PlannedEvent;

use super::*;
use model::{Model, Random};

pub const SECOND_NS: u64 = 1_000_000_000;

/// An outbound peer, TCP port 443 of 10.x.y.z.
pub fn key(number: u32) -> FlowKey {
    let mut address = [0; 16];
    address[10..12].copy_from_slice(&[0xff, 0xff]);
    address[12..].copy_from_slice(&(0x0a00_0000 | number).to_be_bytes());
    FlowKey { direction: Direction::Outbound, protocol: Protocol::Tcp, port: 443, address }
}

pub fn flow(key: FlowKey, bytes: u64) -> Flow {
    let traffic = Traffic {
        sent_bytes: bytes,
        received_bytes: bytes / 3,
        sent_packets: 1,
        received_packets: 2,
        retransmits: bytes % 2,
    };
    Flow { key, traffic }
}

pub fn viewer(options: &str, servers: Servers) -> Viewer {
    let file = Path::new("ebpf.conf");
    let text = format!("[network viewer]\n{options}\n");
    let loaded = parse(file, text.as_bytes(), Overrides::default());
    let (mut viewer, _) = Viewer::new(&loaded.config, file, servers);
    viewer.announce(&table(), LoadMode::Entry, &plan(&table(), |_| true));
    viewer
}

fn table() -> Table {
    Table::of("network_viewer").unwrap()
}

fn plan(table: &Table, is_attached: impl Fn(&str) -> bool) -> Plan {
    let event = |event: &shared::table::Event| PlannedEvent {
        event: event.name.clone(),
        attached: is_attached(&event.name).then(|| "fexit:x".to_owned()).into_iter().collect(),
        refused: Vec::new(),
    };
    Plan { events: table.events.iter().map(event).collect(), ..Plan::default() }
}

/// Adds up as the agent does: what dimensions grow by, from the value with which they were announced.
#[derive(Default)]
pub struct Agent {
    last: HashMap<(String, String), i64>,
    known: HashMap<String, HashSet<String>>,
    pub sums: HashMap<String, [i64; 2]>,
}

impl Agent {
    /// Takes one drawing; `may_restart`: dimensions that were away may begin at zero again.
    pub fn take(&mut self, charts: &[Chart], may_restart: bool) {
        for chart in charts {
            let before = self.known.remove(&chart.id).unwrap_or_default();
            for dimension in &chart.dimensions {
                let place = (chart.id.clone(), dimension.id.clone());
                let last = self.last.insert(place, dimension.printed());
                let from = match (before.contains(&dimension.id), last) {
                    (true, last) => last.unwrap(),
                    (false, Some(last)) if !may_restart || dimension.baseline() != 0 => {
                        assert_eq!(dimension.baseline(), last, "{} comes back", dimension.id);
                        last
                    }
                    (false, _) => dimension.baseline(),
                };
                assert!(dimension.printed() >= from, "{} goes down", dimension.id);
                let sums = self.sums.entry(chart.id.clone()).or_default();
                sums[usize::from(dimension.multiplier > 0)] += dimension.printed() - from;
            }
            let ids: HashSet<String> =
                chart.dimensions.iter().map(|dimension| dimension.id.clone()).collect();
            assert_eq!(ids.len(), chart.dimensions.len(), "an id twice in {}", chart.id);
            self.known.insert(chart.id.clone(), ids);
        }
    }

    fn check(&self, chart: &str, negative: u64, positive: u64) {
        assert_eq!(self.sums[chart], [negative as i64, positive as i64], "{chart}");
    }
}

fn ids(chart: &Chart) -> Vec<(&str, i32, i64)> {
    let words = |dimension: &'_ crate::chart::Dimension| (dimension.multiplier, dimension.printed());
    chart.dimensions.iter().map(|one| (one.id.as_str(), words(one).0, words(one).1)).collect()
}

/// It passes the filters, but its ports get no dimensions; others' traffic does, and the canary's, too, when it is over.
#[test]
fn traffic_of_a_canary_is_in_other() {
    let mut viewer = viewer("resolve service names = no\nips = *", Servers::OfTheSystem);
    let loopback = |port, direction| {
        let mut key = FlowKey { direction, port, ..key(0) };
        if direction == Direction::Outbound {
            key.address[12..].copy_from_slice(&[127, 0, 0, 1]);
        } else {
            key.address = [0; 16];
        }
        flow(key, 30)
    };
    let epoch =
        [40001, 40002].map(|port| [Direction::Inbound, Direction::Outbound].map(|to| loopback(port, to)));
    viewer.keep_together(Ports { ipv4: 40001, ipv6: 0 });
    viewer.add(epoch.as_flattened(), SECOND_NS);
    let of_others = |charts: &[Chart]| {
        let dimensions = charts.iter().take(5).flat_map(|chart| &chart.dimensions);
        dimensions.filter(|one| !one.id.starts_with("other")).map(|one| one.id.clone()).collect::<Vec<_>>()
    };
    let charts = viewer.draw();
    assert!(of_others(charts).iter().all(|id| id.starts_with("40002:")), "{:?}", of_others(charts));
    let other = [("other:ALL:other_sent", -1, 30), ("other:ALL:other_recv", 1, 10)];
    assert!(other.iter().all(|one| ids(&charts[0]).contains(one)), "{:?}", ids(&charts[0]));
    let other = [("other:ALL_sent", -1, 30), ("other:ALL_recv", 1, 10)];
    assert!(other.iter().all(|one| ids(&charts[3]).contains(one)), "{:?}", ids(&charts[3]));
    viewer.keep_together(Ports::default());
    viewer.add(epoch.as_flattened(), 2 * SECOND_NS);
    assert!(of_others(viewer.draw()).iter().any(|id| id.starts_with("40001:")));
    // What the filters leave out stays so.
    let mut strict = self::viewer("ports = !40001 *\nips = *", Servers::OfTheSystem);
    strict.keep_together(Ports { ipv4: 40001, ipv6: 0 });
    strict.add(epoch[0].as_slice(), SECOND_NS);
    let charts = strict.draw();
    assert!(of_others(charts).is_empty() && ids(&charts[0])[0].2 == 0 && ids(&charts[3])[0].2 == 0);
    assert_eq!(ids(&charts[5]).iter().map(|one| one.2).sum::<i64>(), 2 * (30 + 10));
}

#[test]
fn the_charts_of_the_reference_with_other_from_the_start() {
    let mut viewer = viewer("resolve service names = no", Servers::OfTheSystem);
    let charts = viewer.draw();
    let names: Vec<&str> = charts.iter().map(|chart| chart.id.as_str()).collect();
    assert_eq!(
        names,
        [
            "ebpf.outbound_bytes",
            "ebpf.outbound_packets",
            "ebpf.outbound_retransmit",
            "ebpf.inbound_bytes",
            "ebpf.inbound_packets",
            "ebpf.network_filtered"
        ]
    );
    assert_eq!(ids(&charts[0]), [("other:ALL:other_sent", -1, 0), ("other:ALL:other_recv", 1, 0)]);
    assert_eq!(ids(&charts[2]), [("other:ALL:other", 1, 0)]);
    assert_eq!(ids(&charts[4]), [("other:ALL_sent", -1, 0), ("other:ALL_recv", 1, 0)]);
    assert!(charts.iter().all(|chart| matches!(chart.shape, crate::chart::Shape::Stacked)));
    let served = FlowKey { direction: Direction::Inbound, port: 80, address: [0; 16], ..key(0) };
    viewer.add(&[flow(key(1), 301), flow(served, 30)], SECOND_NS);
    let charts = viewer.draw();
    let outbound = [
        ("443:TCP:10.0.0.1_sent", -1, 301),
        ("443:TCP:10.0.0.1_recv", 1, 100),
        ("other:ALL:other_sent", -1, 0),
        ("other:ALL:other_recv", 1, 0),
    ];
    assert_eq!(ids(&charts[0]), outbound);
    assert_eq!(ids(&charts[2]), [("443:TCP:10.0.0.1", 1, 1), ("other:ALL:other", 1, 0)]);
    assert_eq!(ids(&charts[3])[..2], [("80:TCP_sent", -1, 30), ("80:TCP_recv", 1, 10)]);
    assert_eq!(ids(&charts[4])[..2], [("80:TCP_sent", -1, 1), ("80:TCP_recv", 1, 2)]);
}

#[test]
fn what_is_not_attached_has_no_chart() {
    let charts_of = |is_attached: fn(&str) -> bool| {
        let table = table();
        charts::of_plan(&table, LoadMode::Entry, &plan(&table, is_attached)).0.len()
    };
    assert_eq!(charts_of(|event| event != "tcp_retransmit"), 5);
    assert_eq!(charts_of(|event| event == "tcp_retransmit"), 2);
    assert_eq!(charts_of(|_| false), 0);
    let (mut nothing, _) = Viewer::new(&Config::default(), Path::new("f"), Servers::OfTheSystem);
    nothing.add(&[flow(key(1), 1)], 1);
    assert!(nothing.draw().is_empty());
}

#[test]
fn filters_ask_for_ports_of_both_directions_and_for_addresses_of_outbound_only() {
    let mut viewer = viewer("ports = 443 80\nips = 10.0.0.1", Servers::OfTheSystem);
    let inbound = |port| FlowKey { direction: Direction::Inbound, port, address: [0; 16], ..key(0) };
    let unknown = FlowKey { port: 0, address: [0; 16], ..key(0) };
    let flows = [
        flow(key(1), 100),
        flow(key(2), 20),
        flow(FlowKey { port: 22, ..key(1) }, 3),
        flow(inbound(80), 1000),
        flow(inbound(22), 200),
        flow(unknown, 7),
        flow(inbound(0), 9),
    ];
    viewer.add(&flows, SECOND_NS);
    let charts = viewer.draw();
    assert_eq!(
        ids(&charts[5]),
        [
            ("outbound_sent", -1, 23),
            ("outbound_recv", 1, 7),
            ("inbound_sent", -1, 200),
            ("inbound_recv", 1, 66)
        ]
    );
    assert_eq!(ids(&charts[0])[2], ("other:ALL:other_sent", -1, 7), "an unknown peer passes");
    assert_eq!(ids(&charts[3])[2], ("other:ALL_sent", -1, 9));
}

#[test]
fn the_busiest_get_the_room_and_keep_it() {
    let mut viewer = viewer("maximum dimensions = 8", Servers::OfTheSystem);
    let epoch: Vec<Flow> = (1..=10).map(|number| flow(key(number), u64::from(number) * 1000)).collect();
    viewer.add(&epoch, SECOND_NS);
    let shown = |viewer: &Viewer| {
        let mut shown: Vec<u32> = (0..20).filter(|&number| viewer.outbound.is_shown(&key(number))).collect();
        shown.sort_unstable();
        shown
    };
    assert_eq!(shown(&viewer), [8, 9, 10]);
    viewer.draw();
    viewer.add(&[flow(key(1), 1_000_000), flow(key(9), 1)], 299 * SECOND_NS);
    assert_eq!(shown(&viewer), [8, 9, 10], "a burst does not drive anybody out");
    viewer.draw();
    viewer.add(&[flow(key(1), 10), flow(key(2), 500), flow(key(3), 5)], 301 * SECOND_NS);
    assert_eq!(shown(&viewer), [1, 2, 9], "the silent ones give their places to the busiest of the rest");
}

#[test]
fn nobody_is_retired_before_all_of_it_is_drawn() {
    let mut viewer = viewer("maximum dimensions = 4", Servers::OfTheSystem);
    viewer.add(&[flow(key(1), 10)], SECOND_NS);
    viewer.add(&[flow(key(2), 10)], 1000 * SECOND_NS);
    assert!(viewer.outbound.is_shown(&key(1)));
    viewer.draw();
    viewer.add(&[flow(key(2), 10)], 1001 * SECOND_NS);
    assert!(!viewer.outbound.is_shown(&key(1)) && viewer.outbound.is_shown(&key(2)));
}

/// Random traffic, random maxima, pauses of seconds to hours: the sums of every chart are always all traffic, no dimension ever goes
/// down, there are never too many, and the same peers are shown as in the model.
#[test]
fn random_traffic_is_drawn_to_the_unit() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for round in 0..60 {
        let maximum = 2 + random.below(30);
        let options = format!("maximum dimensions = {maximum}\nips = 10.0.0.0/8\nports = !99");
        let mut viewer = viewer(&options, Servers::OfTheSystem);
        let mut model = Model::new(maximum as usize);
        let mut agent = Agent::default();
        agent.take(viewer.draw(), false);
        let peers = 1 + random.below(60);
        let longest_pause_s = [2, 100, 400, 4000][round % 4];
        let mut now_ns = 0;
        for _ in 0..200 {
            now_ns += SECOND_NS * (1 + random.below(longest_pause_s));
            let epoch = random.epoch(peers);
            viewer.add(&epoch, now_ns);
            model.add(&epoch, now_ns);
            if random.below(3) != 0 {
                agent.take(viewer.draw(), now_ns >= retired::FORGOTTEN_AFTER_NS);
                model.drawn();
                check(&agent, &viewer, &model, maximum as usize);
            }
        }
    }
}

/// The same while peers are denied by name and allowed again at any time.
#[test]
fn peers_that_leave_and_come_back_lose_nothing() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut peers = Peers::new(8);
    let labels = Labels::new(None);
    let shows = FlowsOf { direction: Direction::Outbound, value: shared::table::FlowValue::Bytes };
    let mut heading = viewer("", Servers::OfTheSystem).charts.swap_remove(0);
    let (mut agent, mut passed, mut now_ns) = (Agent::default(), Traffic::default(), 0);
    for _ in 0..3000 {
        now_ns += SECOND_NS * (1 + random.below(100));
        let denied = random.below(16) as u32;
        peers.leave(&key(denied));
        let epoch: Vec<Flow> = (0..random.below(12) as u32)
            .filter(|number| *number != denied)
            .map(|number| flow(key(number), random.below(1000)))
            .collect();
        epoch.iter().for_each(|flow| passed.add(&flow.traffic));
        peers.add(&epoch.iter().collect::<Vec<_>>(), now_ns, &labels);
        if random.below(3) == 0 {
            heading.dimensions = charts::of_peers(&peers, shows);
            agent.take(std::slice::from_ref(&heading), now_ns >= retired::FORGOTTEN_AFTER_NS);
            peers.drawn(now_ns);
            agent.check("ebpf.outbound_bytes", passed.sent_bytes, passed.received_bytes);
            assert!(peers.shown().len() <= 8);
        }
    }
}

fn check(agent: &Agent, viewer: &Viewer, model: &Model, maximum: usize) {
    let [outbound, inbound] = [model.outbound.passed, model.inbound.passed];
    agent.check("ebpf.outbound_bytes", outbound.sent_bytes, outbound.received_bytes);
    agent.check("ebpf.outbound_packets", outbound.sent_packets, outbound.received_packets);
    agent.check("ebpf.outbound_retransmit", 0, outbound.retransmits);
    agent.check("ebpf.inbound_bytes", inbound.sent_bytes, inbound.received_bytes);
    agent.check("ebpf.inbound_packets", inbound.sent_packets, inbound.received_packets);
    let filtered = model.filtered;
    agent.check("ebpf.network_filtered", filtered.sent_bytes, filtered.received_bytes);
    assert!(viewer.charts.iter().rev().skip(1).all(|chart| chart.dimensions.len() <= maximum));
    for (peers, model) in [(&viewer.outbound, &model.outbound), (&viewer.inbound, &model.inbound)] {
        assert_eq!(peers.other, model.other);
        assert_eq!(peers.shown().len(), model.shown().count());
        assert!(model.shown().all(|key| peers.is_shown(&key)));
    }
}
