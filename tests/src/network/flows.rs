//! The charts with one dimension for each peer, or for each port that this host serves on.

use std::collections::BTreeMap;

use super::done::{Done, Moved};
use crate::model::{Chart, Output};

/// Outbound and inbound: chart of bytes, chart of packets, what has no dimension of its own.
const CHARTS: [(&str, &str, &str); 2] = [
    ("ebpf.outbound_bytes", "ebpf.outbound_packets", "other:ALL:other"),
    ("ebpf.inbound_bytes", "ebpf.inbound_packets", "other:ALL"),
];

/// Retransmitted segments by peer.
pub const RETRANSMITS: &str = "ebpf.outbound_retransmit";

/// What is not shown because of `ports` and `ips`.
pub const FILTERED: &str = "ebpf.network_filtered";

/// What programs did not see.
pub const MISSED: &str = "ebpf.network_viewer_missed";

/// Labels with a dimension in the chart of bytes of a direction, without `other`.
pub fn labels(output: &Output, is_inbound: bool) -> Vec<String> {
    let (bytes, _, other) = CHARTS[usize::from(is_inbound)];
    let chart = output.charts.get(bytes);
    let ids = chart.into_iter().flat_map(|chart| &chart.dimensions).map(|dimension| dimension.id.as_str());
    let labels = ids.filter_map(|id| id.strip_suffix("_sent"));
    labels.filter(|label| *label != other).map(str::to_owned).collect()
}

/// What a label shows: sent and received bytes, sent and received packets. Sent ones are drawn below zero.
pub fn shown(output: &Output, is_inbound: bool, label: &str) -> [i64; 4] {
    let (bytes, packets, _) = CHARTS[usize::from(is_inbound)];
    let total = |chart: &str, part: &str| output.total(chart, &format!("{label}_{part}"));
    [-total(bytes, "sent"), total(bytes, "recv"), -total(packets, "sent"), total(packets, "recv")]
}

/// What `other` shows, as [`shown`].
pub fn other(output: &Output, is_inbound: bool) -> [i64; 4] {
    shown(output, is_inbound, CHARTS[usize::from(is_inbound)].2)
}

fn wanted(moved: &Moved) -> [i64; 4] {
    [moved.sent_bytes, moved.received_bytes, moved.sent_packets, moved.received_packets].map(u64::cast_signed)
}

/// What a way of counting knows of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Booked {
    /// Everything.
    All,
    /// Some may be missing: the kernel skips programs, or loses returns.
    Fewer,
}

/// What differs from `done`, peer by peer and port by port; one sentence each. `name`: the service in a label, from its port.
pub fn differences(
    output: &Output,
    done: &Done,
    booked: Booked,
    name: impl Fn(u16) -> String,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (key, moved) in &done.flows {
        let label = key.label(&name(key.port));
        let (mut least, shown) = (wanted(moved), shown(output, key.is_inbound, &label));
        let mut most = least;
        most[2] += moved.spread.cast_signed();
        match booked {
            Booked::All => {}
            Booked::Fewer => {
                least = [0; 4];
                // A sender that was not heard of leaves the last destination.
                (most[1], most[3]) = (i64::MAX, i64::MAX);
            }
        }
        let fits = shown.iter().enumerate().all(|(i, got)| (least[i]..=most[i]).contains(got));
        if !fits {
            let direction = if key.is_inbound { "inbound" } else { "outbound" };
            differences.push(format!(
                "{direction} {label}: bytes and packets sent and received expected {most:?} got {shown:?}"
            ));
        }
    }
    differences
}

/// Traffic by peer and port does not add up to what the system sent and received: Σ peers + `other` + what is filtered out. Where the kernel skipped
/// programs, and the plugin tells, it may be less: two count a datagram, and either may have been skipped.
pub fn sum_differences(output: &Output) -> Vec<String> {
    let totals = [
        ["ebpf.tcp_bandwidth tcp_sendmsg", "ebpf.udp_bandwidth udp_sendmsg"],
        ["ebpf.tcp_bandwidth tcp_cleanup_rbuf", "ebpf.udp_bandwidth udp_recvmsg"],
    ];
    let skipped = output.total(MISSED, "recursion") > 0;
    let mut differences = Vec::new();
    for (part, (suffix, sources)) in ["_sent", "_recv"].into_iter().zip(totals).enumerate() {
        let total: i64 = sources
            .iter()
            .filter_map(|source| source.split_once(' '))
            .map(|(chart, dimension)| output.total(chart, dimension).abs())
            .sum();
        let mut sum = 0;
        for (bytes, ..) in CHARTS {
            sum += output.charts.get(bytes).map_or(0, |chart| sum_of(chart, suffix));
        }
        let filtered = output.charts.get(FILTERED).map_or(0, |chart| filtered_of(chart, part));
        if sum + filtered > total || (sum + filtered < total && !skipped) {
            differences.push(format!(
                "{suffix}: peers and ports add up to {sum}, filtered {filtered}, the system shows {total}"
            ));
        }
    }
    differences
}

/// Bytes, sent and received, that the filters left out.
pub fn filtered_bytes(output: &Output) -> i64 {
    let filtered = output.charts.get(FILTERED);
    (0..2).map(|part| filtered.map_or(0, |chart| filtered_of(chart, part))).sum()
}

fn sum_of(chart: &Chart, suffix: &str) -> i64 {
    let ids = chart.dimensions.iter().filter(|dimension| dimension.id.ends_with(suffix));
    ids.map(|dimension| chart.total(&dimension.id).abs()).sum()
}

/// Sent (0) or received (1) bytes that the filters left out, in whatever dimensions.
fn filtered_of(chart: &Chart, part: usize) -> i64 {
    let word = ["sent", "rec"][part];
    let ids = chart.dimensions.iter().filter(|dimension| dimension.id.contains(word));
    ids.map(|dimension| chart.total(&dimension.id).abs()).sum()
}

/// Growth of each label of a direction, for tests that look for the busiest.
pub fn by_label(output: &Output, is_inbound: bool) -> BTreeMap<String, i64> {
    let labels = labels(output, is_inbound).into_iter();
    labels
        .map(|label| {
            let [sent, received, ..] = shown(output, is_inbound, &label);
            (label, sent + received)
        })
        .collect()
}
