//! Names of the dimensions of the network viewer's charts (reference: `ebpf_socket.c` of netdata v1.26.0).
//!
//! Addresses, ports and names in, words of the plugin protocol out. Names come from strangers (DNS answers),
//! so what is not plainly part of a name becomes `_`, and the length is bounded.
//!
//! A label is as unique as what it is made of: two addresses of one family with the same host name have the
//! same label, and the caller adds them up. [`crate::filter::Services`] gives no two ports the same name.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The label of all outbound traffic without a label of its own.
pub const OTHER_OUTBOUND: &str = "other:ALL:other";

/// The label of all inbound traffic without a label of its own.
pub const OTHER_INBOUND: &str = "other:ALL";

/// Longest part of a label that is somebody's text, bytes. No DNS name is longer; with it a SET line stays
/// far below the 1024 bytes that old agents read.
const LONGEST_NAME: usize = 253;

/// A transport protocol that the network viewer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Both protocols; indices are the numbers of the variants.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// The word in a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// `<service>:<PROTO>:<host>`, the label of a peer to which this host opened connections, and its dimension's
/// id in the chart of retransmits.
///
/// `service`: name or number of the peer's port. `address`: the peer; `name`: its host name, where known. An
/// IPv6 peer stands in brackets, under its name too, so the families of one name remain apart.
pub fn outbound(service: &str, protocol: Protocol, address: IpAddr, name: Option<&str>) -> String {
    let address = address.to_canonical();
    let name = name.map(|name| clean(name.strip_suffix('.').unwrap_or(name)));
    let host = name.filter(|name| !name.is_empty()).unwrap_or_else(|| address.to_string());
    let (service, protocol) = (clean(service), protocol.name());
    match address {
        IpAddr::V4(_) => format!("{service}:{protocol}:{host}"),
        IpAddr::V6(_) => format!("{service}:{protocol}:[{host}]"),
    }
}

/// `<service>:<PROTO>`, the label of a port on which this host serves.
pub fn inbound(service: &str, protocol: Protocol) -> String {
    format!("{}:{}", clean(service), protocol.name())
}

/// The id of the dimension with what was sent under `label`.
pub fn sent(label: &str) -> String {
    format!("{label}_sent")
}

/// The id of the dimension with what was received under `label`.
pub fn received(label: &str) -> String {
    format!("{label}_recv")
}

/// `name` as one part of a label: letters and digits of any alphabet and `-._+/@*` remain, all else becomes
/// `_`, and what is longer than a DNS name is cut.
///
/// A list of what is allowed, because the contrary would have to know blanks, quotes, `=`, the `:` and
/// brackets of the label, and all invisible characters that make a name look like another one.
pub fn clean(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-._+/@*".contains(c);
    let end = name.floor_char_boundary(LONGEST_NAME);
    name[..end].replace(|c| !is_plain(c), "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(address: &str, name: Option<&str>) -> String {
        outbound("https", Protocol::Tcp, address.parse().unwrap(), name)
    }

    #[test]
    fn labels_and_ids() {
        assert_eq!(sent(&out("10.0.0.1", None)), "https:TCP:10.0.0.1_sent");
        assert_eq!(received(&out("fc00::1", None)), "https:TCP:[fc00::1]_recv");
        assert_eq!(out("::ffff:10.0.0.1", None), "https:TCP:10.0.0.1");
        assert_eq!(sent(&inbound("53", Protocol::Udp)), "53:UDP_sent");
        assert_eq!(sent(OTHER_OUTBOUND), "other:ALL:other_sent");
        assert_eq!(received(OTHER_INBOUND), "other:ALL_recv");
    }

    #[test]
    fn host_names_take_the_place_of_addresses() {
        assert_eq!(out("10.0.0.1", Some("db.example.com.")), "https:TCP:db.example.com");
        assert_eq!(out("fc00::1", Some("db.example.com")), "https:TCP:[db.example.com]");
        assert_eq!(out("10.0.0.1", Some("")), "https:TCP:10.0.0.1");
        assert_eq!(out("10.0.0.1", Some(".")), "https:TCP:10.0.0.1");
    }

    #[test]
    fn hostile_names_stay_one_word() {
        assert_eq!(clean("a b\t'c'=\"d\"\\\n:[e]"), "a_b__c___d_____e_");
        assert_eq!(clean("bücher.example_1"), "bücher.example_1");
        assert_eq!(clean("a\u{202e}b\u{200b}c\u{fffd}\0"), "a_b_c__");
        assert_eq!(inbound("My service", Protocol::Tcp), "My_service:TCP");
        assert_eq!(out("10.0.0.1", Some("x_sent = 1\nDISABLE")), "https:TCP:x_sent___1_DISABLE");
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(clean(&"x".repeat(10_000)).len(), LONGEST_NAME);
        assert_eq!(clean(&"ß".repeat(10_000)), "ß".repeat(LONGEST_NAME / 2));
    }
}
