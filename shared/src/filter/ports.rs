//! The option `ports`: which destination ports are shown.

use std::path::Path;

use thiserror::Error;

use super::services::Services;
use super::words::{self, Included, Meaning, number};
use crate::config::Word;
use crate::diagnostic::Diagnostic;

/// One bit for each port, 8 KiB.
const BITS_PER_WORD: usize = u64::BITS as usize;
const WORDS: usize = (u16::MAX as usize + 1) / BITS_PER_WORD;

/// First and last port of a range.
type PortRange = (u16, u16);

/// Which ports are shown; the words of the option are already worked out to one answer for each port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFilter {
    allowed: Box<[u64; WORDS]>,
}

/// Why a word of `ports` cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
enum PortWordError {
    #[error("is outside of the ports, which are 1 to 65535")]
    OutOfRange,
    #[error("is a range whose first port is above its last one")]
    Reversed,
    #[error("is neither a service of [service name] nor a TCP or UDP service of /etc/services")]
    UnknownService,
    #[error("is neither a port nor a range of ports such as 1-1024 nor the name of a service")]
    Malformed,
}

impl PortFilter {
    /// Reads the words of the option; the rule is in [`super`].
    ///
    /// A word is a port, a range `first-last` or `first:last`, a service name or `*`. `file`: where the words
    /// stand, for the remarks. Does not fail: a word without a meaning is ignored with a remark.
    pub fn parse(words: &[Word], services: &Services, file: &Path) -> (Self, Vec<Diagnostic>) {
        let (lists, remarks) =
            words::read("ports", words, file, "every port", |text| parse_word(text, services));
        let included = match lists.included {
            Included::Everything | Included::Default => vec![vec![(0, u16::MAX)]],
            Included::Only(words) => words,
        };
        let mut filter = Self { allowed: Box::new([0; WORDS]) };
        for range in included.into_iter().flatten() {
            filter.set(range, true);
        }
        for range in lists.excluded.into_iter().flatten() {
            filter.set(range, false);
        }
        (filter, remarks)
    }

    /// True when traffic with this destination port is shown.
    pub fn allows(&self, port: u16) -> bool {
        let port = usize::from(port);
        self.allowed[port / BITS_PER_WORD] >> (port % BITS_PER_WORD) & 1 == 1
    }

    /// Sets or clears the bits of all ports of a range, 64 at a time.
    fn set(&mut self, (first, last): PortRange, allowed: bool) {
        let (first, last) = (usize::from(first), usize::from(last));
        for index in first / BITS_PER_WORD..=last / BITS_PER_WORD {
            let mut mask = u64::MAX;
            if index == first / BITS_PER_WORD {
                mask &= u64::MAX << (first % BITS_PER_WORD);
            }
            if index == last / BITS_PER_WORD {
                mask &= u64::MAX >> (BITS_PER_WORD - 1 - last % BITS_PER_WORD);
            }
            match allowed {
                true => self.allowed[index] |= mask,
                false => self.allowed[index] &= !mask,
            }
        }
    }
}

/// The ranges that a word without its sign stands for; a name in `[service name]` may stand for several
/// ports.
fn parse_word(text: &str, services: &Services) -> Result<Meaning<Vec<PortRange>>, PortWordError> {
    if text == "*" {
        // Port 0 cannot be written, but a datagram can carry it, and `*` leaves nothing out.
        return Ok((vec![(0, u16::MAX)], None));
    }
    if text.contains(char::is_alphabetic) {
        let ports = services.ports_named(text);
        if ports.is_empty() {
            return Err(PortWordError::UnknownService);
        }
        return Ok((ports.into_iter().map(|port| (port, port)).collect(), None));
    }
    let (first, last) = text.split_once(['-', ':']).unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(PortWordError::Reversed);
    }
    Ok((vec![(first, last)], None))
}

fn port(text: &str) -> Result<u16, PortWordError> {
    let number = number(text).ok_or(PortWordError::Malformed)?;
    u16::try_from(number).ok().filter(|port| *port != 0).ok_or(PortWordError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::words::tests::{shown, words};
    use super::*;

    const SERVICES: &[u8] =
        b"ssh 22/tcp\ndomain 53/tcp\ndomain 53/udp\nntp 123/udp\nhttp-alt 8080/tcp webcache\n";

    fn parsed(list: &str) -> (PortFilter, Vec<String>) {
        let names =
            BTreeMap::from([(19_999, "Netdata".to_owned()), (81, "web".to_owned()), (83, "web".to_owned())]);
        let (filter, remarks) =
            PortFilter::parse(&words(list), &Services::new(&names, SERVICES), Path::new("f"));
        (filter, shown(&remarks))
    }

    /// The ports from 1 on that `list` allows; it must give no remark.
    fn allowed(list: &str) -> Vec<u16> {
        let (filter, remarks) = parsed(list);
        assert_eq!(remarks, [""; 0], "{list}");
        (1..=u16::MAX).filter(|port| filter.allows(*port)).collect()
    }

    #[test]
    fn ports_ranges_and_names() {
        assert_eq!(allowed("80 65535"), [80, 65_535]);
        assert_eq!(allowed("10-12 20:21"), [10, 11, 12, 20, 21]);
        assert_eq!(allowed("ssh ntp http-alt"), [22, 123, 8080]);
        assert_eq!(allowed("webcache"), [8080]);
        assert_eq!(allowed("Netdata web"), [81, 83, 19_999]);
    }

    #[test]
    fn overlapping_ranges_are_united_and_exclusions_come_first_wherever_they_stand() {
        assert_eq!(allowed("10-12 11-14 11 13:13"), [10, 11, 12, 13, 14]);
        assert_eq!(allowed("!11-12 10-13"), [10, 13]);
        assert_eq!(allowed("10-13 !11-12"), [10, 13]);
        assert_eq!(allowed("10-13 !11 !10-12 10"), [13]);
    }

    #[test]
    fn lists_without_an_inclusion_allow_all_but_the_exclusions() {
        let count = |filter: &PortFilter| (0..=u16::MAX).filter(|port| filter.allows(*port)).count();
        assert_eq!(count(&parsed("").0), 65_536);
        assert_eq!(count(&parsed("*").0), 65_536);
        assert_eq!(count(&parsed("!domain !1-10").0), 65_536 - 11);
        assert_eq!(count(&parsed("* !domain").0), 65_535);
    }

    #[test]
    fn nothing_is_left_of_a_list_that_excludes_everything() {
        let (filter, remarks) = parsed("80 !*");
        assert!((0..=u16::MAX).all(|port| !filter.allows(port)));
        assert_eq!(remarks, ["Warning f:7: `!*` in `ports` excludes everything; nothing is shown"]);
    }

    #[test]
    fn words_without_a_meaning_are_named_and_ignored() {
        for (word, reason) in [
            ("0", PortWordError::OutOfRange),
            ("65536", PortWordError::OutOfRange),
            ("0-10", PortWordError::OutOfRange),
            ("1-70000", PortWordError::OutOfRange),
            ("99999999999999999999999", PortWordError::OutOfRange),
            ("12-10", PortWordError::Reversed),
            ("12:10", PortWordError::Reversed),
            ("nosuch", PortWordError::UnknownService),
            ("SSH", PortWordError::UnknownService),
            ("1-domain", PortWordError::UnknownService),
            ("", PortWordError::Malformed),
            ("-", PortWordError::Malformed),
            ("80-", PortWordError::Malformed),
            ("-80", PortWordError::Malformed),
            ("1-2-3", PortWordError::Malformed),
            ("10-!12", PortWordError::Malformed),
            ("080", PortWordError::Malformed),
            ("80,81", PortWordError::Malformed),
            ("**", PortWordError::Malformed),
        ] {
            let services = Services::new(&BTreeMap::new(), SERVICES);
            assert_eq!(parse_word(word, &services), Err(reason), "{word}");
        }
        let (filter, remarks) = parsed("80 !0x50 !90-80");
        assert!(filter.allows(80) && !filter.allows(85));
        assert_eq!(
            remarks,
            [
                "Warning f:7: `!0x50` in `ports` is neither a service of [service name] nor a TCP or UDP \
                 service of /etc/services; the word is ignored",
                "Warning f:7: `!90-80` in `ports` is a range whose first port is above its last one; the \
                 word is ignored",
            ]
        );
    }

    #[test]
    fn when_no_inclusion_is_usable_every_port_is_shown() {
        let (filter, remarks) = parsed("nosuch !80");
        assert!(filter.allows(1) && !filter.allows(80));
        assert_eq!(
            remarks[1],
            "Warning f:7: no word without `!` in `ports` is usable; every port is included instead"
        );
    }
}
