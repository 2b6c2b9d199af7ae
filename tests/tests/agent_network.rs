//! In a real agent: the network viewer's charts, names of services, and `other`, with sums that equal a known load.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use tests::agent::{Agent, complaints};
use tests::network::compare::of_mode;
use tests::network::done::{Done, Key, Moved};
use tests::network::flows::RETRANSMITS;
use tests::network::pair::{Both, PORTS_OF_A_WORD, Pair, Place, groups, names};
use tests::plugin::only_network;
use tests::system::alone;

const CHARTS_LIMIT: Duration = Duration::from_secs(30);
const VALUES_LIMIT: Duration = Duration::from_secs(20);
const PORT: u16 = 21000;

/// Charts of peers and of ports: bytes, packets, and the id of what has no dimension of its own.
const OUTBOUND: [&str; 3] = ["ebpf.outbound_bytes", "ebpf.outbound_packets", "other:ALL:other"];
const INBOUND: [&str; 3] = ["ebpf.inbound_bytes", "ebpf.inbound_packets", "other:ALL"];

/// What the agent has of a chart: of each dimension its sum over all seconds.
fn sums(agent: &Agent, chart: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let data = agent.data(chart)?;
    Ok(data.labels.iter().map(|label| (label.clone(), data.sum(label).unwrap_or(0.0))).collect())
}

/// Where a sum is not what it must be. The agent interpolates to whole seconds and keeps about seven digits; the sum stays.
fn fault(what: &str, shown: Option<f64>, wanted: std::ops::RangeInclusive<i64>) -> Option<String> {
    let shown = shown.unwrap_or(0.0);
    let allowed = |value: i64| 0.5 + value.abs() as f64 * 1e-6;
    let (least, most) = (*wanted.start(), *wanted.end());
    let fits = shown >= least as f64 - allowed(least) && shown <= most as f64 + allowed(most);
    (!fits).then(|| format!("{what}: must be {wanted:?}, the agent's seconds add up to {shown}"))
}

/// Bytes and packets of one label. What is sent is drawn below zero.
fn label_faults(
    agent: &Agent,
    charts: &[&str; 3],
    label: &str,
    wanted: &Moved,
) -> anyhow::Result<Vec<String>> {
    let numbers =
        [(wanted.sent_bytes, wanted.received_bytes), (wanted.sent_packets, wanted.received_packets)];
    let mut faults = Vec::new();
    for (chart, (sent, received)) in charts.iter().zip(numbers) {
        let sums = sums(agent, chart)?;
        for (suffix, sign, number) in [("sent", -1, sent), ("recv", 1, received)] {
            let dimension = format!("{label}_{suffix}");
            let wanted = sign * number.cast_signed();
            faults.extend(fault(
                &format!("{chart} {dimension}"),
                sums.get(&dimension).copied(),
                wanted..=wanted,
            ));
        }
    }
    Ok(faults)
}

/// Every chart of the system and of the groups.
fn counter_faults(agent: &Agent, both: &Both) -> anyhow::Result<Vec<String>> {
    let [server, client] = names("nett");
    let mut faults = Vec::new();
    for counter in of_mode(true) {
        let sums = sums(agent, counter.chart)?;
        let shown = |label: &str| sums.get(label).map(|sum| sum.abs());
        if let Some(dimension) = counter.dimension {
            // Others on this host send and receive, too.
            let least = counter.wanted(&both.sum()).0;
            let name = name_of(agent, counter.chart, dimension)?;
            faults.extend(fault(&format!("{} {name}", counter.chart), shown(&name), least..=i64::MAX));
            continue;
        }
        for (group, done) in [(&server, &both.server), (&client, &both.client)] {
            let (least, most) = counter.wanted(done);
            faults.extend(fault(&format!("{} {group}", counter.chart), shown(group), least..=most));
        }
    }
    Ok(faults)
}

/// The name under which the agent shows a dimension.
fn name_of(agent: &Agent, chart: &str, dimension: &str) -> anyhow::Result<String> {
    let charts = agent.charts()?;
    let name = &charts[chart]["dimensions"][dimension]["name"];
    anyhow::ensure!(name.is_string(), "{chart} has no dimension {dimension}");
    Ok(name.as_str().unwrap_or_default().to_owned())
}

/// Waits until there are no faults, so that each message is that of the last look.
fn wait_right(agent: &mut Agent, faults: impl Fn(&Agent) -> anyhow::Result<Vec<String>>) {
    let waited = agent.wait("the right sums", VALUES_LIMIT, |agent| Ok(faults(agent)?.is_empty()));
    let last = faults(agent).unwrap();
    assert!(last.is_empty(), "{}\n{waited:?}", last.join("\n"));
    waited.unwrap();
}

fn start(viewer: &str) -> Agent {
    let conf = only_network("ebpf load mode = return", viewer);
    let mut agent = Agent::start(true, &conf, &groups(&["nett"])).unwrap();
    let wanted = of_mode(true).map(|counter| counter.chart).chain(OUTBOUND[..2].iter().copied());
    let wanted: Vec<&str> = wanted.chain(INBOUND[..2].iter().copied()).chain([RETRANSMITS]).collect();
    agent
        .wait("every chart", CHARTS_LIMIT, |agent| {
            let charts = agent.charts()?;
            Ok(wanted.iter().all(|chart| charts.contains_key(*chart)))
        })
        .unwrap();
    agent
}

fn stop(agent: Agent) {
    let (status, log) = agent.stop().unwrap();
    assert!(status.success(), "{status}");
    let complaints = complaints(&log);
    assert!(complaints.is_empty(), "the agent's log complains:\n{}", complaints.join("\n"));
}

/// Its label, with the port as `[service name]` calls it.
fn label(key: &Key) -> String {
    key.label(&if key.port == PORT { "Backend".to_owned() } else { key.port.to_string() })
}

/// The first burst of everything: system, groups, peers and ports, TCP and UDP, one port under the name that the configuration gives it.
#[test]
fn peers_and_ports_have_their_names_and_their_sums() {
    let _alone = alone().unwrap();
    let viewer = format!("    ports = *\n    ips = *\n[service name]\n    {PORT} = Backend");
    let mut agent = start(&viewer);
    let directory = tempfile::tempdir().unwrap();
    let words = "stream=7:1009:4 udp_connected=25:307:4 stream=5:2003:6 sendfile=2:70001:4 udp_unconnected=21:61:6 refused=3:0:4";
    let both = Pair::run(directory.path(), "nett", &Place::loopback(PORT), words).unwrap();
    let sum = both.sum();
    assert!(sum.flows.len() > 8, "{:?}", sum.flows.keys());
    wait_right(&mut agent, |agent| {
        let mut faults = counter_faults(agent, &both)?;
        for (key, moved) in &sum.flows {
            let charts = if key.is_inbound { &INBOUND } else { &OUTBOUND };
            let mut moved = *moved;
            if moved.spread > 0 {
                // How often sendfile sends is the kernel's affair.
                let shown =
                    sums(agent, charts[1])?.get(&format!("{}_sent", label(key))).map_or(0.0, |sum| -sum);
                let range = moved.sent_packets..=moved.sent_packets + moved.spread;
                moved.sent_packets = (shown.round() as u64).clamp(*range.start(), *range.end());
            }
            faults.extend(label_faults(agent, charts, &label(key), &moved)?);
        }
        Ok(faults)
    });
    let charts = agent.charts().unwrap();
    for (chart, dimension) in [
        (OUTBOUND[0], "Backend:TCP:127.0.0.1_sent"),
        (OUTBOUND[1], "Backend:TCP:127.0.0.1_recv"),
        (INBOUND[0], "Backend:TCP_recv"),
        (INBOUND[1], "Backend:TCP_sent"),
        (RETRANSMITS, "Backend:TCP:127.0.0.1"),
    ] {
        assert!(charts[chart]["dimensions"].get(dimension).is_some(), "{chart} has no {dimension}");
    }
    for (id, chart) in &charts {
        assert_eq!(chart["plugin"], "ebpf.plugin", "{id}");
        assert_eq!(chart["update_every"], 1, "{id}");
    }
    stop(agent);
}

/// Ten dimensions are four peers and `other`, two each: what the busiest four do not show is in `other`.
#[test]
fn those_without_a_dimension_are_in_other() {
    let _alone = alone().unwrap();
    let address = "127.1.0.0-127.1.0.255";
    let mut agent = start(&format!(
        "    ports = {PORT}-{last}\n    ips = {address}\n    maximum dimensions = 10\n    resolve service names = no",
        last = PORT + PORTS_OF_A_WORD - 1
    ));
    let directory = tempfile::tempdir().unwrap();
    let both = Pair::run(directory.path(), "nett", &Place::loopback(PORT), "udp_peers=50:100:4").unwrap();
    let all: Done = both.client;
    assert_eq!(all.flows.len(), 50);
    wait_right(&mut agent, |agent| {
        let labels = sums(agent, OUTBOUND[0])?;
        let mut rest = Moved::default();
        let mut shown = 0;
        let mut faults = Vec::new();
        for (key, moved) in &all.flows {
            let label = label_number(key);
            if labels.contains_key(&format!("{label}_sent")) {
                shown += 1;
                faults.extend(label_faults(agent, &OUTBOUND, &label, moved)?);
            } else {
                rest += *moved;
            }
        }
        if shown != 4 || labels.len() != 10 {
            faults.push(format!("{shown} peers are shown, dimensions: {:?}", labels.keys()));
        }
        // Nobody else passes the filters.
        faults.extend(label_faults(agent, &OUTBOUND, OUTBOUND[2], &rest)?);
        Ok(faults)
    });
    stop(agent);
}

fn label_number(key: &Key) -> String {
    key.label(&key.port.to_string())
}
