//! One word of the option `ips`: text in, first and last address out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::words::{Meaning, number};

/// The addresses that a word stands for. Both ends belong to the range, as numbers in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRange {
    /// Every address of both families.
    All,
    /// First and last IPv4 address.
    V4(u32, u32),
    /// First and last IPv6 address.
    V6(u128, u128),
}

/// Why a word of `ips` cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AddressWordError {
    #[error("is no IPv4 or IPv6 address, range of addresses, or address with prefix length")]
    Malformed,
    #[error("is no address, and names of hosts belong into `hostnames`")]
    HostName,
    #[error("has a prefix length that is no number from 0 to {most}")]
    PrefixLength { most: u32 },
    #[error("is a range whose first address is above its last one")]
    Reversed,
    #[error("is a range from one address family to the other")]
    MixedFamilies,
}

/// Reads a word without its sign; the first `-` or `/` tells what it is.
pub fn parse_word(text: &str) -> Result<Meaning<AddressRange>, AddressWordError> {
    if text == "*" {
        return Ok((AddressRange::All, None));
    }
    match text.find(['-', '/']) {
        Some(at) if text[at..].starts_with('/') => prefix(text, &text[..at], &text[at + 1..]),
        Some(at) => {
            let (Ok(first), Ok(last)) = (text[..at].parse(), text[at + 1..].parse()) else {
                return Err(no_address(text));
            };
            Ok((range(first, last)?, None))
        }
        None => {
            let address = text.parse().map_err(|_| no_address(text))?;
            Ok((range(address, address)?, None))
        }
    }
}

fn range(first: IpAddr, last: IpAddr) -> Result<AddressRange, AddressWordError> {
    let range = match (first.to_canonical(), last.to_canonical()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (first <= last).then(|| v4(first, last)),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first <= last).then(|| v6(first, last)),
        _ => return Err(AddressWordError::MixedFamilies),
    };
    range.ok_or(AddressWordError::Reversed)
}

fn prefix(word: &str, address: &str, length: &str) -> Result<Meaning<AddressRange>, AddressWordError> {
    let address: IpAddr = address.parse().map_err(|_| no_address(word))?;
    let most = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
    let length = number(length)
        .and_then(|length| u32::try_from(length).ok())
        .filter(|length| *length <= most)
        .ok_or(AddressWordError::PrefixLength { most })?;
    // Bits before the IPv4 address: 96 when an IPv6 address carries it. A longer prefix is one of that
    // address, a shorter one is about IPv6, as written.
    let before_v4 = most - Ipv4Addr::BITS;
    let (address, length) = match address.to_canonical() {
        canonical @ IpAddr::V4(_) if length >= before_v4 => (canonical, length - before_v4),
        _ => (address, length),
    };
    let (range, first) = match address {
        IpAddr::V4(address) => {
            // A shift by all bits overflows; length 0 means that no bit is left to compare.
            let mask = u32::MAX.checked_shl(Ipv4Addr::BITS - length).unwrap_or(0);
            let first = address.to_bits() & mask;
            (AddressRange::V4(first, first | !mask), IpAddr::V4(first.into()))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(Ipv6Addr::BITS - length).unwrap_or(0);
            let first = address.to_bits() & mask;
            (AddressRange::V6(first, first | !mask), IpAddr::V6(first.into()))
        }
    };
    let used_instead =
        (first != address).then(|| format!("has bits behind its prefix; {first}/{length} is used"));
    Ok((range, used_instead))
}

fn v4(first: Ipv4Addr, last: Ipv4Addr) -> AddressRange {
    AddressRange::V4(first.to_bits(), last.to_bits())
}

fn v6(first: Ipv6Addr, last: Ipv6Addr) -> AddressRange {
    AddressRange::V6(first.to_bits(), last.to_bits())
}

/// The error for a word without a readable address: names of hosts are the usual mistake.
fn no_address(word: &str) -> AddressWordError {
    let is_name = word.contains(char::is_alphabetic) && !word.contains([':', '/', '!', '*']);
    if is_name { AddressWordError::HostName } else { AddressWordError::Malformed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(text: &str) -> AddressRange {
        let (range, used_instead) = parse_word(text).unwrap();
        assert_eq!(used_instead, None, "{text}");
        range
    }

    #[test]
    fn single_addresses_ranges_and_prefixes() {
        let ten = 10 << 24;
        for (text, range) in [
            ("10.0.0.1", AddressRange::V4(ten + 1, ten + 1)),
            ("10.0.0.1-10.0.1.0", AddressRange::V4(ten + 1, ten + 256)),
            ("10.0.0.0/8", AddressRange::V4(ten, ten + 0xff_ffff)),
            ("10.0.0.1/32", AddressRange::V4(ten + 1, ten + 1)),
            ("0.0.0.0/0", AddressRange::V4(0, u32::MAX)),
            ("::1", AddressRange::V6(1, 1)),
            ("::1-::ff", AddressRange::V6(1, 255)),
            ("::/0", AddressRange::V6(0, u128::MAX)),
            ("fc00::/7", AddressRange::V6(0xfc << 120, (0xfe << 120) - 1)),
            ("::1/128", AddressRange::V6(1, 1)),
            ("::ffff:10.0.0.1/128", AddressRange::V4(ten + 1, ten + 1)),
            ("::ffff:0:0/96", AddressRange::V4(0, u32::MAX)),
            ("::/95", AddressRange::V6(0, (1 << 33) - 1)),
            ("*", AddressRange::All),
        ] {
            assert_eq!(meaning(text), range, "{text}");
        }
    }

    #[test]
    fn host_bits_are_cleared() {
        let used = |text: &str| parse_word(text).unwrap().1.unwrap();
        assert_eq!(used("10.1.2.3/8"), "has bits behind its prefix; 10.0.0.0/8 is used");
        assert_eq!(used("1.2.3.4/0"), "has bits behind its prefix; 0.0.0.0/0 is used");
        assert_eq!(used("fd00::1/8"), "has bits behind its prefix; fd00::/8 is used");
        assert_eq!(used("::ffff:1.2.3.4/80"), "has bits behind its prefix; ::/80 is used");
        assert_eq!(used("::ffff:1.2.3.4/104"), "has bits behind its prefix; 1.0.0.0/8 is used");
    }

    #[test]
    fn words_without_a_meaning() {
        for (text, error) in [
            ("example.com", AddressWordError::HostName),
            ("db-1.example.com", AddressWordError::HostName),
            ("localhost", AddressWordError::HostName),
            ("", AddressWordError::Malformed),
            ("-", AddressWordError::Malformed),
            ("/8", AddressWordError::Malformed),
            ("10.0.0", AddressWordError::Malformed),
            ("10.0.0.256", AddressWordError::Malformed),
            ("010.0.0.1", AddressWordError::Malformed),
            ("10.0.0.*", AddressWordError::Malformed),
            ("10.0.0.1-", AddressWordError::Malformed),
            ("10.0.0.0/8-11.0.0.0/8", AddressWordError::PrefixLength { most: 32 }),
            ("10.0.0.0/33", AddressWordError::PrefixLength { most: 32 }),
            ("10.0.0.0/", AddressWordError::PrefixLength { most: 32 }),
            ("10.0.0.0/255.0.0.0", AddressWordError::PrefixLength { most: 32 }),
            ("10.0.0.0/-1", AddressWordError::PrefixLength { most: 32 }),
            ("10.0.0.0/4294967296", AddressWordError::PrefixLength { most: 32 }),
            ("::/129", AddressWordError::PrefixLength { most: 128 }),
            ("10.0.0.2-10.0.0.1", AddressWordError::Reversed),
            ("::2-::1", AddressWordError::Reversed),
            ("10.0.0.1-::1", AddressWordError::MixedFamilies),
            ("::-::ffff:1.2.3.4", AddressWordError::MixedFamilies),
            ("[::1]", AddressWordError::Malformed),
            ("fe80::1%eth0", AddressWordError::Malformed),
            ("::1::2", AddressWordError::Malformed),
        ] {
            assert_eq!(parse_word(text), Err(error), "{text}");
        }
    }
}
