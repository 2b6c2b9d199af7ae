//! The lists together: the documented example, and random rules against a matcher that is slow and obvious.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::words::tests::{shown, words};
use super::*;
use crate::config::{Config, Overrides, parse};

const SERVICES: &[u8] = b"ssh 22/tcp\ndomain 53/tcp\ndomain 53/udp\nhttps 443/tcp\n";

fn filters(text: &str) -> (Filters, Vec<String>) {
    let file = Path::new("f");
    let loaded = parse(file, text.as_bytes(), Overrides::default());
    assert_eq!(shown(&loaded.diagnostics), [""; 0]);
    let services = Services::new(&loaded.config.service_names, SERVICES);
    let (filters, remarks) = Filters::new(&loaded.config.network_viewer, &services, file);
    (filters, shown(&remarks))
}

/// The text below the example of the specification speaks of "all ports between 1 and 443", but its list says
/// 1-1024. The list is what a user copies, so the list holds.
#[test]
fn the_documented_example() {
    let (filters, remarks) = filters(
        "[network viewer]\n\
         maximum dimensions = 500\n\
         resolve hostname ips = no\n\
         ports = 1-1024 !145 !domain\n\
         hostnames = !example.com\n\
         ips = !127.0.0.1/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7\n\
         [service name]\n\
         19999 = Netdata\n",
    );
    for port in 0..=u16::MAX {
        let expected = (1..=1024).contains(&port) && port != 145 && port != 53;
        assert_eq!(filters.ports.allows(port), expected, "{port}");
    }
    for (address, expected) in [
        ("127.0.0.1", false),
        ("127.255.0.1", false),
        ("10.1.2.3", true),
        ("172.31.0.1", true),
        ("172.32.0.1", false),
        ("192.168.255.255", true),
        ("192.169.0.0", false),
        ("8.8.8.8", false),
        ("fd12::1", true),
        ("fe80::1", false),
        ("2001:db8::1", false),
        ("::1", false),
        ("::ffff:10.1.2.3", true),
    ] {
        let address = address.parse().unwrap();
        assert_eq!(filters.addresses.allows(address), expected, "{address}");
        assert_eq!(filters.allows(address, 443), expected, "{address}");
        assert!(
            !filters.allows(address, 53) && !filters.allows(address, 145) && !filters.allows(address, 1025)
        );
    }
    assert!(!filters.hosts.allows(Some("example.com")));
    assert!(filters.hosts.allows(Some("example.org")) && filters.hosts.allows(None));
    assert_eq!(
        remarks,
        [
            "Info f:6: `!127.0.0.1/8` in `ips` has bits behind its prefix; 127.0.0.0/8 is used",
            "Info f:5: `hostnames` has no effect while `resolve hostname ips` is off: peers have no names \
             then",
        ]
    );
}

#[test]
fn a_single_port_leaves_only_connections_to_it() {
    let (filters, remarks) = filters("[network viewer]\nports = 19999\nips = *\n");
    assert_eq!(remarks, [""; 0]);
    let peer = "8.8.8.8".parse().unwrap();
    assert!(filters.allows(peer, 19_999) && !filters.allows(peer, 443));
}

#[test]
fn defaults_show_every_port_and_name_and_private_addresses() {
    let services = Services::default();
    let (filters, remarks) = Filters::new(&Config::default().network_viewer, &services, Path::new("f"));
    assert_eq!(shown(&remarks), [""; 0]);
    assert!((0..=u16::MAX).all(|port| filters.ports.allows(port)));
    assert!(filters.hosts.allows_all());
    assert!(filters.allows("192.168.1.1".parse().unwrap(), 1));
    assert!(!filters.allows("1.1.1.1".parse().unwrap(), 1));
}

#[test]
fn options_set_to_nothing_show_everything() {
    let (filters, remarks) = filters("[network viewer]\nports =\nips =\nhostnames =\n");
    assert_eq!(remarks, [""; 0]);
    assert!(
        filters.allows("1.1.1.1".parse().unwrap(), 1) && filters.allows("2001:db8::1".parse().unwrap(), 1)
    );
}

/// xorshift64: the same numbers in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    /// An address of few possible neighbourhoods, so that rules overlap.
    fn address(&mut self) -> IpAddr {
        const EDGES: [u8; 6] = [0, 1, 10, 127, 128, 255];
        let mut octet = || if self.one_in(8) { self.next() as u8 } else { EDGES[self.below(EDGES.len())] };
        let v4 = Ipv4Addr::from([octet(), octet(), octet(), octet()]);
        let mut octets = [0; 16];
        // The first or the last bytes equal an IPv4 address: nothing may be matched by them.
        let at = [0, 12][usize::from(octet() & 1)];
        octets[at..at + 4].copy_from_slice(&v4.octets());
        match octet() % 5 {
            0 => IpAddr::V6(v4.to_ipv6_mapped()),
            1 | 2 => IpAddr::V6(Ipv6Addr::from(octets)),
            _ => IpAddr::V4(v4),
        }
    }
}

/// A word about addresses, before it is written down. Ends of a range are of one family and in order.
#[derive(Debug)]
enum AddressRule {
    All,
    Range(IpAddr, IpAddr),
    Prefix(IpAddr, usize),
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn bit(octets: &[u8], at: usize) -> bool {
    octets[at / 8] & (0x80 >> (at % 8)) != 0
}

/// What a mapped address carries, decided byte by byte.
fn plain(address: IpAddr) -> IpAddr {
    let octets = octets(address);
    match *octets.as_slice() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => address,
    }
}

impl AddressRule {
    fn random(random: &mut Random) -> Self {
        let address = random.address();
        match random.below(16) {
            0 => Self::All,
            1..=4 => Self::Range(address, address),
            5..=9 => loop {
                let (first, last) = (address, random.address());
                if plain(first).is_ipv4() == plain(last).is_ipv4() {
                    let in_order = octets(plain(first)) <= octets(plain(last));
                    break if in_order { Self::Range(first, last) } else { Self::Range(last, first) };
                }
            },
            _ => Self::Prefix(address, random.below(octets(address).len() * 8 + 1)),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::Range(first, last) if first == last => first.to_string(),
            Self::Range(first, last) => format!("{first}-{last}"),
            Self::Prefix(address, length) => format!("{address}/{length}"),
        }
    }

    fn fits(&self, asked: IpAddr) -> bool {
        let asked = plain(asked);
        match *self {
            Self::All => true,
            Self::Range(first, last) => {
                let (first, last, asked) = (octets(plain(first)), octets(plain(last)), octets(asked));
                first.len() == asked.len() && first <= asked && asked <= last
            }
            Self::Prefix(address, length) => {
                // The 96 bits before a carried address are no part of it.
                let carries = plain(address) != address && length >= 96;
                let (address, length) =
                    if carries { (plain(address), length - 96) } else { (address, length) };
                let (address, asked) = (octets(address), octets(asked));
                address.len() == asked.len() && (0..length).all(|at| bit(&address, at) == bit(&asked, at))
            }
        }
    }

    /// Addresses at which the answer may change.
    fn edges(&self) -> Vec<IpAddr> {
        let ends = match *self {
            Self::All => return Vec::new(),
            Self::Range(first, last) => [octets(first), octets(last)],
            Self::Prefix(address, length) => [false, true].map(|end| {
                let mut octets = octets(address);
                for at in length..octets.len() * 8 {
                    let mask = 0x80 >> (at % 8);
                    if end { octets[at / 8] |= mask } else { octets[at / 8] &= !mask }
                }
                octets
            }),
        };
        ends.iter().flat_map(|end| [-1, 0, 1].map(|step| shifted(end, step))).collect()
    }
}

/// The address `step` further on, around the end of the family.
fn shifted(octets: &[u8], step: i8) -> IpAddr {
    match <[u8; 4]>::try_from(octets) {
        Ok(octets) => IpAddr::from(u32::from_be_bytes(octets).wrapping_add_signed(step.into()).to_be_bytes()),
        Err(_) => {
            let octets = <[u8; 16]>::try_from(octets).unwrap();
            IpAddr::from(u128::from_be_bytes(octets).wrapping_add_signed(step.into()).to_be_bytes())
        }
    }
}

/// The rule as the documentation of the module states it.
fn shows<R>(rules: &[(bool, R)], fits: impl Fn(&R) -> bool) -> bool {
    let any = |sign: bool| rules.iter().any(|(negative, rule)| *negative == sign && fits(rule));
    let has_inclusion = rules.iter().any(|(negative, _)| !negative);
    !any(true) && (any(false) || !has_inclusion)
}

fn list<R>(rules: &[(bool, R)], text: impl Fn(&R) -> String) -> String {
    rules.iter().fold(String::new(), |mut list, (negative, rule)| {
        let sign = if *negative { "!" } else { "" };
        write!(list, "{sign}{} ", text(rule)).unwrap();
        list
    })
}

#[test]
fn random_address_rules_agree_with_the_obvious_matcher() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut answers = [0_u64; 2];
    for _ in 0..4_000 {
        let rules: Vec<(bool, AddressRule)> =
            (0..random.below(8)).map(|_| (random.one_in(3), AddressRule::random(&mut random))).collect();
        let text = list(&rules, AddressRule::text);
        let (filter, _) = AddressFilter::parse(&words(&text), Path::new("f"));
        let mut asked: Vec<IpAddr> = rules.iter().flat_map(|(_, rule)| rule.edges()).collect();
        asked.extend((0..20).map(|_| random.address()));
        for address in asked {
            let expected = shows(&rules, |rule| rule.fits(address));
            assert_eq!(filter.allows(address), expected, "ips = {text}: {address}");
            answers[usize::from(expected)] += 1;
        }
    }
    assert!(answers.iter().all(|count| *count > 20_000), "one-sided: {answers:?}");
}

#[test]
fn random_port_rules_agree_with_the_obvious_matcher() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let services = Services::new(&BTreeMap::new(), SERVICES);
    let names = [(22, "ssh"), (53, "domain"), (443, "https")];
    for round in 0..2_000 {
        // Every other round stays among few ports, for overlaps.
        let most = if round % 2 == 0 { 65_535 } else { 60 };
        let rules: Vec<(bool, (u16, u16))> = (0..random.below(10))
            .map(|_| {
                let [a, b] = [0; 2].map(|_| 1 + random.below(most) as u16);
                let range = match random.below(8) {
                    0 => (0, u16::MAX),
                    1..=3 => (a, a),
                    4 => [22, 53, 443].map(|port| (port, port))[random.below(3)],
                    _ => (a.min(b), a.max(b)),
                };
                (random.one_in(3), range)
            })
            .collect();
        let separator = if random.one_in(2) { '-' } else { ':' };
        let text = list(&rules, |(first, last)| match names.iter().find(|(port, _)| port == first) {
            _ if (*first, *last) == (0, u16::MAX) => "*".to_owned(),
            Some((_, name)) if first == last => (*name).to_owned(),
            _ if first == last => first.to_string(),
            _ => format!("{first}{separator}{last}"),
        });
        let (filter, _) = PortFilter::parse(&words(&text), &services, Path::new("f"));
        let edges = rules.iter().flat_map(|(_, (first, last))| [*first, *last]);
        let near = edges.flat_map(|port| [port.wrapping_sub(1), port, port.wrapping_add(1)]);
        for port in near.chain((0..20).map(|_| random.next() as u16)) {
            let expected = shows(&rules, |(first, last)| (*first..=*last).contains(&port));
            assert_eq!(filter.allows(port), expected, "ports = {text}: {port}");
        }
    }
}

#[test]
fn no_text_breaks_the_parsers() {
    const CHARACTERS: &[char] =
        &['0', '1', '9', 'a', 'f', '.', '.', ':', ':', '-', '/', '!', '*', '%', '[', 'ß', '\\'];
    let mut random = Random(1);
    let services = Services::new(&BTreeMap::new(), SERVICES);
    for _ in 0..20_000 {
        let word: String =
            (0..1 + random.below(12)).map(|_| CHARACTERS[random.below(CHARACTERS.len())]).collect();
        let words = words(&word);
        let file = Path::new("f");
        PortFilter::parse(&words, &services, file).0.allows(80);
        AddressFilter::parse(&words, file).0.allows(IpAddr::from([10, 0, 0, 1]));
        HostFilter::parse(&words, file).0.allows(Some("a.f"));
    }
}
