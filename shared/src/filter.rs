//! What the network viewer shows: the options `ports`, `ips` and `hostnames`.
//!
//! The words of the configuration in, an answer for each peer out. The rule is the same for all three lists,
//! and the order of the words never matters:
//!
//! 1. What a word with `!` fits is not shown.
//! 2. Of the rest, what a word without `!` fits is shown.
//! 3. A list without such words, empty or with negations only, shows all the rest.
//! 4. `*` fits everything.
//!
//! A peer has to pass every list that can be asked: its port, its address, and its name when it has one. A
//! word without a meaning is ignored with a remark; but when that would leave a list without inclusions
//! although some were written, those of the option's default are used, so that a typing error in `ips` does
//! not mean the whole Internet.
//!
//! An option that is missing has its default, which for `ips` are the private networks; an option that is set
//! to nothing (`ips =`) is an empty list.
//!
//! Different from netdata v1.26.0 (`ebpf_socket.c`), on purpose: a list with negations only denied everything
//! there, service names among the ports never matched, and IPv6 addresses were compared with IPv4 ranges.

mod address_word;
mod addresses;
mod hosts;
mod ports;
mod ranges;
mod services;
#[cfg(test)]
mod tests;
mod words;

use std::net::IpAddr;
use std::path::Path;

pub use addresses::AddressFilter;
pub use hosts::HostFilter;
pub use ports::PortFilter;
pub use services::{SERVICES_FILE, Services};

use crate::config::NetworkViewer;
use crate::diagnostic::Diagnostic;

/// The three lists of `[network viewer]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filters {
    /// The option `ports`.
    pub ports: PortFilter,
    /// The option `ips`.
    pub addresses: AddressFilter,
    /// The option `hostnames`; asked only when `resolve hostname ips` is on.
    pub hosts: HostFilter,
}

impl Filters {
    /// Reads the lists of `viewer`. `services`: for names among the ports. `file`: where the words stand.
    ///
    /// Does not fail; the remarks say which words are ignored.
    pub fn new(viewer: &NetworkViewer, services: &Services, file: &Path) -> (Self, Vec<Diagnostic>) {
        let (ports, mut remarks) = PortFilter::parse(&viewer.ports, services, file);
        let (addresses, about_addresses) = AddressFilter::parse(&viewer.ips, file);
        let (hosts, about_hosts) = HostFilter::parse(&viewer.hostnames, file);
        remarks.extend(about_addresses);
        remarks.extend(about_hosts);
        if !viewer.resolve_hostname_ips && !hosts.allows_all() {
            let line = viewer.hostnames.first().and_then(|word| word.line);
            let message =
                "`hostnames` has no effect while `resolve hostname ips` is off: peers have no names then";
            remarks.push(Diagnostic::info(file, line, message));
        }
        (Self { ports, addresses, hosts }, remarks)
    }

    /// True when traffic with this destination is shown, as far as port and address decide.
    pub fn allows(&self, address: IpAddr, port: u16) -> bool {
        self.ports.allows(port) && self.addresses.allows(address)
    }
}
