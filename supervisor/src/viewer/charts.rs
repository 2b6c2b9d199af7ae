//! How peers, ports and what the filters leave out are drawn.

use shared::config::LoadMode;
use shared::peer::{OTHER_INBOUND, OTHER_OUTBOUND, received, sent};
use shared::reference::metrics;
use shared::snapshot::{Direction, Traffic};
use shared::table::{Chart as Heading, FlowValue, FlowsOf, Table};
use shared::wire::Plan;

use super::Filtered;
use super::peers::Peers;
use crate::chart::{Chart, Dimension, Shape, counted};

/// The charts of flows, without dimensions, and what each shows; behind them the chart of filtered traffic, of which nothing is to be
/// said. Charts whose events the plan could not attach are left out; no chart at all when nothing is left.
pub fn of_plan(table: &Table, load_mode: LoadMode, plan: &Plan) -> (Vec<Chart>, Vec<FlowsOf>) {
    let (mut charts, mut shows) = (Vec::new(), Vec::new());
    for heading in &table.charts {
        if let Some(flows) = heading.flows
            && is_counted(flows.value, table, load_mode, plan)
        {
            charts.push(chart(table, heading));
            shows.push(flows);
        }
    }
    if !charts.is_empty() {
        charts.push(chart(table, &filtered()));
    }
    (charts, shows)
}

/// Whether an event is attached that moves this; packets are counted where bytes are.
fn is_counted(value: FlowValue, table: &Table, load_mode: LoadMode, plan: &Plan) -> bool {
    let counters = match value {
        FlowValue::Bytes | FlowValue::Packets => "bytes",
        FlowValue::Retransmits => "segments",
    };
    counted(table, load_mode, plan).any(|(_, counter)| counter.value == counters)
}

fn chart(table: &Table, heading: &Heading) -> Chart {
    Chart {
        id: heading.id.clone(),
        title: heading.title.clone(),
        unit: heading.unit.clone().unwrap_or_default(),
        family: heading.family.clone(),
        shape: Shape::Stacked,
        priority: heading.priority,
        module: table.module.clone(),
        dimensions: Vec::new(),
    }
}

fn filtered() -> Heading {
    Heading {
        id: metrics::FILTERED_ID.to_owned(),
        title: metrics::FILTERED_TITLE.to_owned(),
        family: metrics::FILTERED_FAMILY.to_owned(),
        priority: metrics::FILTERED_PRIORITY,
        unit: Some(metrics::FILTERED_UNIT.to_owned()),
        negative: false,
        flows: None,
        differences: Vec::new(),
    }
}

/// The dimensions of one chart: of each peer that is shown, and of `other`.
pub fn of_peers(peers: &Peers, shows: FlowsOf) -> Vec<Dimension> {
    let mut dimensions = Vec::with_capacity(2 * peers.shown().len() + 2);
    for peer in peers.shown() {
        push(&mut dimensions, &peer.id, peer.name.as_deref(), shows.value, &peer.drawn, &peer.total);
    }
    let other = match shows.direction {
        Direction::Outbound => OTHER_OUTBOUND,
        Direction::Inbound => OTHER_INBOUND,
    };
    push(&mut dimensions, other, None, shows.value, &peers.other_drawn, &peers.other);
    dimensions
}

fn push(
    dimensions: &mut Vec<Dimension>,
    label: &str,
    name: Option<&str>,
    value: FlowValue,
    before: &Traffic,
    now: &Traffic,
) {
    let name = |suffixed: fn(&str) -> String| name.map(suffixed).unwrap_or_default();
    let of: fn(&Traffic) -> (u64, u64) = match value {
        FlowValue::Bytes => |traffic| (traffic.sent_bytes, traffic.received_bytes),
        FlowValue::Packets => |traffic| (traffic.sent_packets, traffic.received_packets),
        FlowValue::Retransmits => {
            let name = name(str::to_owned);
            dimensions.push(Dimension::given(label, &name, 1, before.retransmits, now.retransmits));
            return;
        }
    };
    let ((sent_before, received_before), (sent_now, received_now)) = (of(before), of(now));
    dimensions.push(Dimension::given(&sent(label), &name(sent), -1, sent_before, sent_now));
    dimensions.push(Dimension::given(&received(label), &name(received), 1, received_before, received_now));
}

/// The dimensions of the chart of filtered traffic.
pub(super) fn of_filtered(outbound: &Filtered, inbound: &Filtered) -> Vec<Dimension> {
    let mut dimensions = Vec::with_capacity(4);
    for (label, filtered) in [("outbound", outbound), ("inbound", inbound)] {
        push(&mut dimensions, label, None, FlowValue::Bytes, &filtered.drawn, &filtered.total);
    }
    dimensions
}
