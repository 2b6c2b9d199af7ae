//! The canary: a process of our own that does a known number of operations, so that what is counted can be held against what was done.
//!
//! `ebpf-worker canary MODULE` does them; the supervisor looks for them in the snapshots. This is the list that both go by, and what the one
//! tells the other.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::snapshot::{Direction, FlowKey};

/// What a canary does of one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deed {
    /// The counter's name.
    pub counter: &'static str,
    /// How often, or how many bytes.
    times: u64,
    /// As often again where the host has IPv6.
    times_over_ipv6: u64,
    /// Whether the counter exists in `return` mode only.
    pub is_error: bool,
}

impl Deed {
    /// How often it is done, on a host with IPv6 or without.
    pub fn done(&self, has_ipv6: bool) -> u64 {
        self.times + if has_ipv6 { self.times_over_ipv6 } else { 0 }
    }
}

const fn deed(counter: &'static str, times: u64) -> Deed {
    Deed { counter, times, times_over_ipv6: 0, is_error: false }
}

/// Done over IPv4 and over IPv6.
const fn over_both(counter: &'static str, times: u64) -> Deed {
    Deed { counter, times, times_over_ipv6: times, is_error: false }
}

const fn error(deed: Deed) -> Deed {
    Deed { is_error: true, ..deed }
}

/// Size of each read of the canary.
pub const READ_BYTES: usize = 8;
/// Size of each write of the canary.
pub const WRITE_BYTES: usize = 5;

/// The canary of the program `process`: four files opened and closed, three reads and writes, a name removed that does not exist (twice),
/// a process, a thread, and of each a few that fail.
const PROCESS: [Deed; 16] = [
    deed("open", 6),
    error(deed("open_error", 2)),
    deed("close", 5),
    error(deed("close_error", 1)),
    deed("read", 4),
    error(deed("read_error", 1)),
    deed("read_bytes", 3 * READ_BYTES as u64),
    deed("write", 4),
    error(deed("write_error", 1)),
    deed("write_bytes", 3 * WRITE_BYTES as u64),
    deed("unlink", 2),
    error(deed("unlink_error", 2)),
    deed("fork", 1),
    deed("thread", 1),
    // The thread, the child and the canary itself.
    deed("exit", 3),
    deed("release", 3),
];

/// Messages that each end sends to the other.
pub const MESSAGES: usize = 3;
/// Size of each message over TCP.
pub const TCP_BYTES: usize = 7;
/// Size of each datagram.
pub const UDP_BYTES: usize = 11;

/// The canary of the network viewer, which holds both ends of a TCP connection and of a conversation by UDP: each end sends, the other receives;
/// then a call of each kind fails, and TCP's stream is read to its end.
///
/// What no process is charged with (connections that are closed, accepted or refused, segments sent again) is left out: others do the same
/// meanwhile, and nothing tells whose is whose.
const NETWORK_VIEWER: [Deed; 14] = [
    deed("tcp_connect_v4", 1),
    Deed { counter: "tcp_connect_v6", times: 0, times_over_ipv6: 1, is_error: false },
    over_both("tcp_send", 2 * MESSAGES as u64 + 1),
    error(over_both("tcp_send_error", 1)),
    over_both("tcp_sent_bytes", (2 * MESSAGES * TCP_BYTES) as u64),
    // One that fails, one that finds the end.
    over_both("tcp_receive", 2 * MESSAGES as u64 + 2),
    error(over_both("tcp_receive_error", 1)),
    over_both("tcp_received_bytes", (2 * MESSAGES * TCP_BYTES) as u64),
    over_both("udp_send", 2 * MESSAGES as u64 + 1),
    error(over_both("udp_send_error", 1)),
    over_both("udp_sent_bytes", (2 * MESSAGES * UDP_BYTES) as u64),
    over_both("udp_receive", 2 * MESSAGES as u64 + 1),
    error(over_both("udp_receive_error", 1)),
    over_both("udp_received_bytes", (2 * MESSAGES * UDP_BYTES) as u64),
];

/// What the canary of `module` does; empty for a module that has none.
pub fn deeds(module: &str) -> &'static [Deed] {
    match module {
        "process" => &PROCESS,
        "network_viewer" => &NETWORK_VIEWER,
        _ => &[],
    }
}

/// What a canary says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromCanary {
    /// It waits for the word.
    Ready {
        /// Its process.
        tgid: u32,
        /// Where it will talk to itself.
        ports: Ports,
    },
    /// The deeds are done.
    Done,
    /// They cannot be done, and why.
    Cannot(String),
}

/// Longest message, bytes.
pub const MESSAGE_BYTES: usize = 512;

/// Ports where a canary serves itself, by TCP and UDP, which are its own as long as it lives; 0: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// On 127.0.0.1.
    pub ipv4: u16,
    /// On ::1; none where the host has no IPv6.
    pub ipv6: u16,
}

impl Ports {
    /// Whether it talks over IPv6, too.
    pub fn has_ipv6(&self) -> bool {
        self.ipv6 != 0
    }

    /// Whether this is traffic of the canary with itself, seen from either end.
    pub fn are_of(&self, flow: &FlowKey) -> bool {
        let (ipv4, ipv6) = (self.ipv4 == flow.port, self.ipv6 == flow.port);
        !flow.is_unknown()
            && match (flow.direction, Ipv6Addr::from(flow.address).to_canonical()) {
                // Inbound traffic has no address.
                (Direction::Inbound, _) => ipv4 || ipv6,
                (Direction::Outbound, address @ IpAddr::V4(_)) => ipv4 && address.is_loopback(),
                (Direction::Outbound, address @ IpAddr::V6(_)) => ipv6 && address.is_loopback(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Protocol;
    use crate::table::{MODULES, Table};

    #[test]
    fn every_deed_has_its_counter_in_the_table() {
        for module in MODULES {
            let table = Table::of(module).unwrap();
            assert!(!deeds(module).is_empty(), "{module}");
            for deed in deeds(module) {
                let known = table.counters().find(|known| known.name == deed.counter);
                let known = known.unwrap_or_else(|| panic!("{} is no counter", deed.counter));
                assert_eq!(known.mode == crate::table::Mode::Return, deed.is_error, "{}", deed.counter);
            }
        }
    }

    #[test]
    fn the_longest_message_has_room() {
        let ports = Ports { ipv4: u16::MAX, ipv6: u16::MAX };
        let ready = crate::wire::encode(&FromCanary::Ready { tgid: u32::MAX, ports }).unwrap();
        assert!(ready.len() <= MESSAGE_BYTES, "{}", ready.len());
    }

    #[test]
    fn only_its_own_traffic_is_the_canarys() {
        let ports = Ports { ipv4: 40001, ipv6: 40002 };
        let flow = |direction, address: &str, port| {
            let address = match address.parse().unwrap() {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            FlowKey { direction, protocol: Protocol::Udp, port, address }
        };
        use Direction::*;
        let its_own = [
            flow(Inbound, "::", 40001),
            flow(Inbound, "::", 40002),
            flow(Outbound, "127.0.0.1", 40001),
            flow(Outbound, "::1", 40002),
        ];
        assert!(its_own.iter().all(|flow| ports.are_of(flow) && !Ports::default().are_of(flow)));
        let of_others = [
            flow(Inbound, "::", 40003),
            flow(Outbound, "10.0.0.1", 40001),
            flow(Outbound, "::1", 40001),
            flow(Outbound, "127.0.0.1", 40002),
            flow(Outbound, "::", 0),
        ];
        assert!(!of_others.iter().any(|flow| ports.are_of(flow) || Ports::default().are_of(flow)));
    }
}
