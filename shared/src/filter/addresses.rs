//! The option `ips`: which destination addresses are shown.

use std::net::IpAddr;
use std::path::Path;

use super::address_word::{AddressRange, parse_word};
use super::ranges::RangeSet;
use super::words::{self, Included};
use crate::config::{Config, Word};
use crate::diagnostic::Diagnostic;

/// Which addresses are shown. Families are never mixed: a word about IPv4 says nothing about IPv6.
///
/// An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`, what a socket for both families sees of an IPv4 peer)
/// counts as the IPv4 address that it carries, in the words as well as in the question. So no IPv6 word, not
/// even `::/0`, says anything about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressFilter {
    excluded: AddressSet,
    included: AddressSet,
}

/// Addresses of both families.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AddressSet {
    v4: RangeSet<u32>,
    v6: RangeSet<u128>,
}

impl AddressFilter {
    /// Reads the words of the option; the rule is in [`super`].
    ///
    /// A word is an address, a range `first-last`, a prefix `address/length` or `*`. `file`: where the words
    /// stand, for the remarks. Does not fail: a word without a meaning is ignored with a remark. When none of
    /// the words without `!` can be used, those of the option's default are used instead.
    pub fn parse(words: &[Word], file: &Path) -> (Self, Vec<Diagnostic>) {
        let (lists, remarks) = words::read("ips", words, file, "the default, private networks,", parse_word);
        let included = match lists.included {
            Included::Everything => vec![AddressRange::All],
            Included::Only(ranges) => ranges,
            Included::Default => default_inclusions(),
        };
        let filter =
            Self { excluded: AddressSet::new(&lists.excluded), included: AddressSet::new(&included) };
        (filter, remarks)
    }

    /// True when traffic with this destination address is shown.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        !self.excluded.contains(address) && self.included.contains(address)
    }
}

impl AddressSet {
    fn new(ranges: &[AddressRange]) -> Self {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for range in ranges {
            match *range {
                AddressRange::All => {
                    v4.push((0, u32::MAX));
                    v6.push((0, u128::MAX));
                }
                AddressRange::V4(first, last) => v4.push((first, last)),
                AddressRange::V6(first, last) => v6.push((first, last)),
            }
        }
        Self { v4: RangeSet::new(v4), v6: RangeSet::new(v6) }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }
}

/// The words without `!` of the option's default.
fn default_inclusions() -> Vec<AddressRange> {
    let words = Config::default().network_viewer.ips;
    let included = words.iter().filter(|word| !word.text.starts_with('!'));
    included.filter_map(|word| parse_word(&word.text).ok()).map(|(range, _)| range).collect()
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{shown, words};
    use super::*;

    fn parsed(list: &str) -> AddressFilter {
        let (filter, remarks) = AddressFilter::parse(&words(list), Path::new("f"));
        assert_eq!(shown(&remarks), [""; 0], "{list}");
        filter
    }

    fn check(filter: &AddressFilter, allowed: &[&str], denied: &[&str]) {
        for address in allowed {
            assert!(filter.allows(address.parse().unwrap()), "{address} must be allowed");
        }
        for address in denied {
            assert!(!filter.allows(address.parse().unwrap()), "{address} must be denied");
        }
    }

    #[test]
    fn the_default_is_private_networks_and_gives_no_remark() {
        let words = Config::default().network_viewer.ips;
        let (filter, remarks) = AddressFilter::parse(&words, Path::new("f"));
        assert_eq!(shown(&remarks), [""; 0]);
        check(
            &filter,
            &[
                "10.0.0.0",
                "10.255.255.255",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.0.1",
                "fc00::",
                "fdff::1",
            ],
            &[
                "9.255.255.255",
                "11.0.0.0",
                "172.32.0.0",
                "127.0.0.1",
                "8.8.8.8",
                "::1",
                "fe00::",
                "2001:db8::1",
            ],
        );
    }

    #[test]
    fn families_are_never_mixed() {
        let filter = parsed("10.0.0.0/8 !0a01::/16 ::1");
        check(&filter, &["10.0.0.1", "10.1.0.0", "::1"], &["0a00::1", "a00:1::", "::10.0.0.1", "0.0.0.1"]);
        check(&parsed("0.0.0.0/0"), &["0.0.0.0", "255.255.255.255"], &["::", "ffff::1"]);
        check(&parsed("::/0"), &["::", "ffff::1"], &["0.0.0.0", "255.255.255.255"]);
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        check(&parsed("10.0.0.0/8"), &["::ffff:10.0.0.1"], &["::ffff:11.0.0.1"]);
        check(&parsed("::/0"), &["::fffe:a00:1", "::1:ffff:a00:1"], &["::ffff:10.0.0.1"]);
        check(&parsed("::ffff:10.0.0.0/104"), &["10.255.255.255", "::ffff:10.0.0.1"], &["11.0.0.0", "::"]);
        check(&parsed("::ffff:10.0.0.1-::ffff:10.0.0.2"), &["10.0.0.2"], &["10.0.0.3"]);
    }

    #[test]
    fn only_negations_leave_the_rest_of_both_families() {
        check(&parsed("!10.0.0.0/8"), &["11.0.0.0", "::1", "a00::"], &["10.0.0.0", "::ffff:10.0.0.0"]);
        check(&parsed("* !::1"), &["10.0.0.1", "::2"], &["::1"]);
        check(&parsed(""), &["1.2.3.4", "::1"], &[]);
    }

    #[test]
    fn exclusions_come_first_wherever_they_stand() {
        for list in ["10.0.0.0/8 !10.1.0.0/16 10.1.1.1", "!10.1.0.0/16 10.1.1.1 10.0.0.0/8"] {
            check(&parsed(list), &["10.0.0.1", "10.2.0.0"], &["10.1.1.1", "10.1.255.255"]);
        }
    }

    #[test]
    fn when_no_inclusion_is_usable_the_private_networks_are_shown() {
        let (filter, remarks) = AddressFilter::parse(&words("example.com !10.0.0.0/9"), Path::new("f"));
        check(&filter, &["10.128.0.0", "192.168.0.1"], &["10.0.0.1", "8.8.8.8", "::1"]);
        assert_eq!(
            shown(&remarks),
            [
                "Warning f:7: `example.com` in `ips` is no address, and names of hosts belong into \
                 `hostnames`; the word is ignored",
                "Warning f:7: no word without `!` in `ips` is usable; the default, private networks, is \
                 included instead",
            ]
        );
    }

    #[test]
    fn host_bits_are_cleared_with_a_remark() {
        let (filter, remarks) = AddressFilter::parse(&words("!127.0.0.1/8 fc00::1/7"), Path::new("f"));
        check(&filter, &["fd00::1"], &["127.255.255.255", "fe00::"]);
        assert_eq!(
            shown(&remarks),
            [
                "Info f:7: `!127.0.0.1/8` in `ips` has bits behind its prefix; 127.0.0.0/8 is used",
                "Info f:7: `fc00::1/7` in `ips` has bits behind its prefix; fc00::/7 is used",
            ]
        );
    }
}
