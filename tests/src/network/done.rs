//! What a process of `load/netload.c` did, as it says itself when it ends.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::AddAssign;

use anyhow::{Context, Result, bail, ensure};

/// One row of traffic: a peer and its port, or a port of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// This host serves; the address is `::` then.
    pub is_inbound: bool,
    /// UDP instead of TCP.
    pub is_udp: bool,
    /// The peer, IPv4 as itself.
    pub address: IpAddr,
    /// The peer's port, or this host's.
    pub port: u16,
}

impl Key {
    /// Id of its dimension, without `_sent` and `_recv`, `service` in the place of the port.
    pub fn label(&self, service: &str) -> String {
        let protocol = if self.is_udp { "UDP" } else { "TCP" };
        match self.address {
            _ if self.is_inbound => format!("{service}:{protocol}"),
            IpAddr::V4(address) => format!("{service}:{protocol}:{address}"),
            IpAddr::V6(address) => format!("{service}:{protocol}:[{address}]"),
        }
    }
}

/// Traffic of one row, from the point of view of the process that did it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes that sockets accepted.
    pub sent_bytes: u64,
    /// Calls that sent something; an empty datagram is one.
    pub sent_packets: u64,
    /// Bytes that were received.
    pub received_bytes: u64,
    /// Calls that received something.
    pub received_packets: u64,
    /// Sent packets that may be there beside these, because the kernel cuts sendfile as it likes.
    pub spread: u64,
}

impl AddAssign for Moved {
    fn add_assign(&mut self, other: Moved) {
        self.sent_bytes += other.sent_bytes;
        self.sent_packets += other.sent_packets;
        self.received_bytes += other.received_bytes;
        self.received_packets += other.received_packets;
        self.spread += other.spread;
    }
}

/// Everything that a process did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// By counter of `module.toml`.
    pub totals: BTreeMap<String, u64>,
    /// By peer and by port.
    pub flows: BTreeMap<Key, Moved>,
}

impl Done {
    /// One counter; 0 when there is no such.
    pub fn total(&self, counter: &str) -> u64 {
        self.totals.get(counter).copied().unwrap_or(0)
    }
}

impl AddAssign<&Done> for Done {
    fn add_assign(&mut self, other: &Done) {
        for (name, value) in &other.totals {
            *self.totals.entry(name.clone()).or_default() += value;
        }
        for (key, moved) in &other.flows {
            *self.flows.entry(*key).or_default() += *moved;
        }
    }
}

/// Reads a report: lines `total NAME VALUE` and `flow DIRECTION PROTOCOL ADDRESS PORT` with seven numbers, then `end`.
pub fn parse(report: &str) -> Result<Done> {
    let mut done = Done::default();
    ensure!(report.trim_end().ends_with("end"), "the report has no end:\n{report}");
    for line in report.lines() {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["total", name, value] => {
                let value = value.parse().with_context(|| line.to_owned())?;
                done.totals.insert((*name).to_owned(), value);
            }
            ["flow", direction, protocol, address, port, numbers @ ..] => {
                let numbers: Result<Vec<u64>, _> = numbers.iter().map(|number| number.parse()).collect();
                let numbers = numbers.with_context(|| line.to_owned())?;
                let key = Key {
                    is_inbound: *direction == "inbound",
                    is_udp: *protocol == "UDP",
                    address: address.parse().with_context(|| line.to_owned())?,
                    port: port.parse().with_context(|| line.to_owned())?,
                };
                done.flows.insert(key, moved(&numbers).with_context(|| line.to_owned())?);
            }
            ["end" | "paused"] => {}
            _ => bail!("cannot read `{line}`"),
        }
    }
    Ok(done)
}

fn moved(numbers: &[u64]) -> Result<Moved> {
    let &[sent_bytes, sent_packets, received_bytes, received_packets, spread] = numbers else {
        bail!("{} numbers instead of 5", numbers.len());
    };
    Ok(Moved { sent_bytes, sent_packets, received_bytes, received_packets, spread })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let report = "paused\ntotal tcp_send 3\nflow outbound UDP ::1 53 1 2 3 4 5\nflow inbound TCP :: 80 9 8 7 6 0\nend\n";
        let mut done = parse(report).unwrap();
        assert_eq!(done.total("tcp_send"), 3);
        let labels: Vec<_> = done.flows.keys().map(|key| key.label("x")).collect();
        assert_eq!(labels, ["x:UDP:[::1]", "x:TCP"]);
        let other = done.clone();
        done += &other;
        assert_eq!((done.total("tcp_send"), done.flows.values().next().unwrap().spread), (6, 10));
        assert!(parse("total tcp_send 3\n").is_err());
        assert!(parse("flow outbound UDP ::1 53 1\nend\n").is_err());
    }
}
