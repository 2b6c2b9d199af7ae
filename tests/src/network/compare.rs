//! Counters of traffic, the charts that show them, and the comparison with what must be there.

use super::done::Done;
use crate::difference::Difference;
use crate::model::Output;

/// One number and where it is shown.
pub struct Counter {
    /// Counters of `module.toml` that it is the sum of.
    pub of: &'static [&'static str],
    /// The chart, and its dimension; no dimension: one for each group.
    pub chart: &'static str,
    /// See `chart`.
    pub dimension: Option<&'static str>,
    /// Only shown in `return` mode.
    pub only_return: bool,
}

const fn system(of: &'static [&'static str], chart: &'static str, dimension: &'static str) -> Counter {
    Counter { of, chart, dimension: Some(dimension), only_return: false }
}

const fn error(of: &'static [&'static str], chart: &'static str, dimension: &'static str) -> Counter {
    Counter { of, chart, dimension: Some(dimension), only_return: true }
}

const fn apps(of: &'static [&'static str], chart: &'static str) -> Counter {
    Counter { of, chart, dimension: None, only_return: false }
}

/// Every number of the module but retransmitted segments, which no program decides.
pub const COUNTERS: [Counter; 23] = [
    system(&["tcp_send"], "ebpf.tcp_functions", "tcp_sendmsg"),
    system(&["tcp_receive"], "ebpf.tcp_functions", "tcp_cleanup_rbuf"),
    system(&["tcp_close"], "ebpf.tcp_functions", "tcp_close"),
    system(&["tcp_sent_bytes"], "ebpf.tcp_bandwidth", "tcp_sendmsg"),
    system(&["tcp_received_bytes"], "ebpf.tcp_bandwidth", "tcp_cleanup_rbuf"),
    error(&["tcp_send_error"], "ebpf.tcp_error", "tcp_sendmsg"),
    error(&["tcp_receive_error"], "ebpf.tcp_error", "tcp_cleanup_rbuf"),
    error(&["tcp_connect_error"], "ebpf.tcp_error", "tcp_connect"),
    system(&["udp_send"], "ebpf.udp_functions", "udp_sendmsg"),
    system(&["udp_receive"], "ebpf.udp_functions", "udp_recvmsg"),
    system(&["udp_sent_bytes"], "ebpf.udp_bandwidth", "udp_sendmsg"),
    system(&["udp_received_bytes"], "ebpf.udp_bandwidth", "udp_recvmsg"),
    error(&["udp_send_error"], "ebpf.udp_error", "udp_sendmsg"),
    error(&["udp_receive_error"], "ebpf.udp_error", "udp_recvmsg"),
    system(&["tcp_accept"], "ebpf.inbound_conn", "inet_csk_accept_tcp"),
    system(&["tcp_connect_v4"], "ebpf.tcp_outbound_conn", "tcp_connect_v4"),
    system(&["tcp_connect_v6"], "ebpf.tcp_outbound_conn", "tcp_connect_v6"),
    apps(&["tcp_sent_bytes", "udp_sent_bytes"], "apps.bandwidth_sent"),
    apps(&["tcp_received_bytes", "udp_received_bytes"], "apps.bandwidth_recv"),
    apps(&["tcp_send"], "apps.bandwidth_tcp_send"),
    apps(&["tcp_receive"], "apps.bandwidth_tcp_recv"),
    apps(&["udp_send"], "apps.bandwidth_udp_send"),
    apps(&["udp_receive"], "apps.bandwidth_udp_recv"),
];

impl Counter {
    /// What it must show for `done`: the least and the most.
    pub fn wanted(&self, done: &Done) -> (i64, i64) {
        let least: u64 = self.of.iter().map(|name| done.total(name)).sum();
        let spread = if self.of.contains(&"tcp_send") { done.total("tcp_send_spread") } else { 0 };
        (least.cast_signed(), (least + spread).cast_signed())
    }

    /// For messages.
    pub fn name(&self) -> String {
        self.of.join(" + ")
    }
}

/// The numbers of a mode.
pub fn of_mode(return_mode: bool) -> impl Iterator<Item = &'static Counter> {
    COUNTERS.iter().filter(move |counter| return_mode || !counter.only_return)
}

/// What differs in a group's charts.
pub fn group_differences(output: &Output, group: &str, done: &Done, return_mode: bool) -> Vec<Difference> {
    let counters = of_mode(return_mode).filter(|counter| counter.dimension.is_none());
    let compared = counters.map(|counter| {
        let shown = output.total(counter.chart, group).abs();
        Difference::of(group, &counter.name(), counter.chart, counter.wanted(done), shown)
    });
    compared.flatten().collect()
}

/// What differs in the system's charts; where `others_count`, other processes may have added to them.
pub fn system_differences(
    output: &Output,
    done: &Done,
    return_mode: bool,
    others_count: bool,
) -> Vec<String> {
    let counters = of_mode(return_mode).filter_map(|counter| Some((counter, counter.dimension?)));
    let compared = counters.map(|(counter, dimension)| {
        let shown = output.total(counter.chart, dimension).abs();
        let (least, most) = counter.wanted(done);
        let fault = format!("{} expected {least} got {shown}", counter.name());
        (shown < least || (!others_count && shown > most)).then_some(fault)
    });
    compared.flatten().collect()
}

/// Numbers whose groups do not add up to the system's. A chart of the system without one of groups has none.
pub fn sum_differences(output: &Output) -> Vec<String> {
    let mut differences = Vec::new();
    for counter in COUNTERS.iter().filter(|counter| counter.dimension.is_none()) {
        let Some(groups) = output.charts.get(counter.chart) else {
            differences.push(format!("no chart {}", counter.chart));
            continue;
        };
        // A group that first appears in the last block has only shown its zero yet.
        let newest = groups.dimensions.iter().any(|group| groups.history(&group.id).len() == 1);
        let back = usize::from(newest && groups.blocks.len() > 1);
        let blocks = groups.blocks.len() - back;
        let sum: i64 =
            groups.dimensions.iter().map(|group| groups.total_after(&group.id, blocks).abs()).sum();
        let parts = COUNTERS.iter().filter_map(|part| Some((part, part.dimension?)));
        let parts = parts.filter(|(part, _)| counter.of.contains(&part.of[0]));
        let total: i64 = parts
            .filter_map(|(part, dimension)| Some((output.charts.get(part.chart)?, dimension)))
            .map(|(chart, dimension)| chart.total_after(dimension, chart.blocks.len() - back).abs())
            .sum();
        if sum != total {
            differences.push(format!("{}: groups add up to {sum}, the system shows {total}", counter.chart));
        }
    }
    differences
}

/// Charts that a mode must have, and those that it must not.
pub fn chart_differences(output: &Output, return_mode: bool, with_apps: bool) -> Vec<String> {
    let compared = COUNTERS.iter().map(|counter| {
        let wanted = (return_mode || !counter.only_return) && (with_apps || counter.dimension.is_some());
        let chart = output.charts.get(counter.chart);
        let there =
            chart.is_some_and(|chart| counter.dimension.is_none_or(|id| chart.dimension(id).is_some()));
        (there != wanted)
            .then(|| format!("{} of {}: must be there: {wanted}, is: {there}", counter.name(), counter.chart))
    });
    compared.flatten().collect()
}
