//! Patterns of application groups, and the search for the first one that matches.
//!
//! "First" is the order of the file, whatever the kind of the pattern. Exact names are found by hash, the few
//! others are tried one after the other, but only those that stand before the best match so far.

use std::collections::HashMap;

use memchr::memmem::{Finder, FinderBuilder};

use super::groups::GroupId;

/// How a pattern's text is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// `text`: the name is the text.
    Exact,
    /// `text*`: the name starts with the text.
    Prefix,
    /// `*text`: the name ends with the text.
    Suffix,
    /// `*text*`: the command line contains the text.
    Substring,
}

/// A pattern that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Place of the pattern in the file, counted over all patterns.
    pub order: u32,
    /// The group that the pattern belongs to.
    pub group: GroupId,
}

/// The one of two matches that stands earlier in the file.
pub(crate) fn first_of(a: Option<Hit>, b: Option<Hit>) -> Option<Hit> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.order < a.order { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// All patterns of a file, in their order.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    count: u32,
    exact: HashMap<Box<[u8]>, Hit>,
    /// Prefixes and suffixes, in order of the file.
    affixes: Vec<(Kind, Box<[u8]>, Hit)>,
    /// Substrings, in order of the file, with their prepared searches.
    substrings: Vec<(Finder<'static>, Hit)>,
}

impl Matcher {
    /// Adds a pattern behind all others. The caller adds no pattern twice.
    pub fn push(&mut self, kind: Kind, text: &[u8], group: GroupId) {
        let hit = Hit { order: self.count, group };
        self.count += 1;
        match kind {
            Kind::Exact => {
                self.exact.insert(text.into(), hit);
            }
            Kind::Prefix | Kind::Suffix => self.affixes.push((kind, text.into(), hit)),
            Kind::Substring => {
                self.substrings.push((FinderBuilder::new().build_forward(text).into_owned(), hit));
            }
        }
    }

    /// Number of patterns.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True when a pattern looks at command lines.
    pub fn has_substrings(&self) -> bool {
        !self.substrings.is_empty()
    }

    /// The first of the patterns that look at the name.
    pub fn match_comm(&self, comm: &[u8]) -> Option<Hit> {
        let exact = self.exact.get(comm).copied();
        let affix = self
            .affixes
            .iter()
            .take_while(|(_, _, hit)| exact.is_none_or(|exact| hit.order < exact.order))
            .find(|(kind, text, _)| match kind {
                Kind::Prefix => comm.starts_with(text),
                _ => comm.ends_with(text),
            })
            .map(|(_, _, hit)| *hit);
        affix.or(exact)
    }

    /// The first of the patterns that look at the command line.
    pub fn match_command_line(&self, text: &[u8]) -> Option<Hit> {
        self.substrings.iter().find(|(finder, _)| finder.find(text).is_some()).map(|(_, hit)| *hit)
    }
}
