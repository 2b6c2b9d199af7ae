//! The option `hostnames`: which names of peers are shown.

use std::path::Path;

use super::words::{self, Included, Meaning};
use crate::config::Word;
use crate::diagnostic::Diagnostic;
use crate::pattern::SimplePattern;

/// Which host names are shown.
///
/// Letter case does not matter, unlike in other simple patterns, and neither does a last dot: DNS knows no
/// difference, and some servers answer in capital letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFilter {
    excluded: Vec<SimplePattern>,
    /// `None` when every name is included.
    included: Option<Vec<SimplePattern>>,
}

impl HostFilter {
    /// Reads the words of the option, each a simple pattern of its own; the rule is in [`super`].
    ///
    /// `file`: where the words stand, for the remarks. Does not fail: a word without a pattern is ignored
    /// with a remark.
    pub fn parse(words: &[Word], file: &Path) -> (Self, Vec<Diagnostic>) {
        let (lists, remarks) = words::read("hostnames", words, file, "every name", parse_word);
        let included = match lists.included {
            Included::Everything | Included::Default => None,
            Included::Only(patterns) => Some(patterns),
        };
        let excluded = lists.excluded;
        (Self { excluded, included }, remarks)
    }

    /// True when a peer of this name is shown. A peer without a name is: the option speaks about names only,
    /// and most addresses never get one.
    pub fn allows(&self, name: Option<&str>) -> bool {
        let Some(name) = name.map(plain).filter(|name| !name.is_empty()) else {
            return true;
        };
        let fits = |patterns: &[SimplePattern]| patterns.iter().any(|pattern| pattern.matches(&name));
        !fits(&self.excluded) && self.included.as_deref().is_none_or(fits)
    }

    /// True when the answer is yes for every name, so that nobody needs to look names up for this filter.
    pub fn allows_all(&self) -> bool {
        let all = SimplePattern::parse("*");
        let includes_all = self.included.as_ref().is_none_or(|patterns| patterns.contains(&all));
        self.excluded.is_empty() && includes_all
    }
}

fn parse_word(text: &str) -> Result<Meaning<SimplePattern>, &'static str> {
    if text.starts_with('!') {
        return Err("has more than one `!`");
    }
    let pattern = SimplePattern::parse(&plain(text));
    if pattern.is_empty() {
        return Err("has no pattern");
    }
    Ok((pattern, None))
}

/// A name or a pattern as it is compared.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{shown, words};
    use super::*;

    fn parsed(list: &str) -> HostFilter {
        let (filter, remarks) = HostFilter::parse(&words(list), Path::new("f"));
        assert_eq!(shown(&remarks), [""; 0], "{list}");
        filter
    }

    #[test]
    fn exclusions_come_first_wherever_they_stand() {
        for list in ["*.example.com !db.*", "!db.* *.example.com"] {
            let filter = parsed(list);
            assert!(filter.allows(Some("www.example.com")), "{list}");
            assert!(!filter.allows(Some("db.example.com")), "{list}");
            assert!(!filter.allows(Some("www.example.org")), "{list}");
        }
    }

    #[test]
    fn only_negations_allow_all_other_names_and_an_empty_list_allows_every_name() {
        let filter = parsed("!example.com");
        assert!(!filter.allows(Some("example.com")));
        assert!(filter.allows(Some("www.example.com")), "a word without asterisk is exact");
        assert!(!filter.allows_all());
        for list in ["", "*", "a.example *"] {
            assert!(parsed(list).allows_all(), "{list}");
            assert!(parsed(list).allows(Some("example.com")), "{list}");
        }
        assert!(!parsed("a*").allows_all());
    }

    #[test]
    fn peers_without_a_name_are_shown() {
        let filter = parsed("*.example.com !*.org");
        assert!(filter.allows(None) && filter.allows(Some("")) && filter.allows(Some(".")));
    }

    #[test]
    fn letter_case_and_the_last_dot_do_not_matter() {
        let filter = parsed("!Example.COM. !*.Local");
        assert!(!filter.allows(Some("EXAMPLE.com")) && !filter.allows(Some("example.com.")));
        assert!(!filter.allows(Some("PRINTER.local.")));
    }

    #[test]
    fn words_without_a_pattern_are_ignored() {
        let (filter, remarks) = HostFilter::parse(&words("! !!a \\ b"), Path::new("f"));
        assert_eq!(
            shown(&remarks),
            [
                "Warning f:7: `!` in `hostnames` has no pattern; the word is ignored",
                "Warning f:7: `!!a` in `hostnames` has more than one `!`; the word is ignored",
                "Warning f:7: `\\\\` in `hostnames` has no pattern; the word is ignored",
            ]
        );
        assert!(filter.allows(Some("b")) && !filter.allows(Some("a")));
    }
}
