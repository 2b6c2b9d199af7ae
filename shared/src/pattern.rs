//! Netdata simple patterns: a list of words with `*` and `!`, of which the first one that fits decides.
//!
//! Takes the text of a pattern list, answers for one name at a time. Follows
//! `libnetdata/simple_pattern/simple_pattern.c` of netdata v1.26.0, with one intended difference: several
//! asterisks in a row mean the same as one (there, `***` looks for a literal `*`).

/// What a pattern list says about one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The first word that fits is a positive one.
    Included,
    /// The first word that fits starts with `!`.
    Excluded,
    /// No word fits; also for an empty list and for an empty name.
    NoMatch,
}

/// A parsed pattern list. Letter case matters. Matching takes time linear in the name for each word: there is
/// no backtracking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SimplePattern {
    words: Vec<Word>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    negative: bool,
    shape: Shape,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// A word without asterisks.
    Exact(String),
    /// `prefix*inner*inner*suffix`; the ends may be empty, the inner parts are not.
    Chain { prefix: String, inner: Vec<String>, suffix: String },
}

impl SimplePattern {
    /// Reads a list whose words are separated by blanks; `\` makes the next character part of the word, a
    /// blank too.
    ///
    /// Never fails: every text is some pattern list, and words without characters are skipped.
    pub fn parse(list: &str) -> Self {
        let mut words = Vec::new();
        let mut rest = list.trim_start_matches(is_separator);
        while !rest.is_empty() {
            let (negative, body) = match rest.strip_prefix('!') {
                Some(body) => (true, body),
                None => (false, rest),
            };
            let (text, tail) = take_word(body);
            if !text.is_empty() {
                words.push(Word { negative, shape: Shape::parse(&text) });
            }
            rest = tail.trim_start_matches(is_separator);
        }
        Self { words }
    }

    /// Which word, if any, decides about `name`.
    pub fn decide(&self, name: &str) -> Decision {
        if name.is_empty() {
            return Decision::NoMatch;
        }
        match self.words.iter().find(|word| word.shape.fits(name)) {
            Some(word) if word.negative => Decision::Excluded,
            Some(_) => Decision::Included,
            None => Decision::NoMatch,
        }
    }

    /// True when the deciding word is a positive one.
    pub fn matches(&self, name: &str) -> bool {
        self.decide(name) == Decision::Included
    }

    /// True when the list has no words; such a list matches nothing.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

impl Shape {
    fn parse(word: &str) -> Self {
        let Some((prefix, tail)) = word.split_once('*') else {
            return Self::Exact(word.to_owned());
        };
        let (middle, suffix) = tail.rsplit_once('*').unwrap_or(("", tail));
        let inner = middle.split('*').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Self::Chain { prefix: prefix.to_owned(), inner, suffix: suffix.to_owned() }
    }

    fn fits(&self, name: &str) -> bool {
        let (prefix, inner, suffix) = match self {
            Self::Exact(word) => return name == word,
            Self::Chain { prefix, inner, suffix } => (prefix, inner, suffix),
        };
        let Some(mut rest) = name.strip_prefix(prefix.as_str()) else {
            return false;
        };
        // Each part takes its first occurrence, for good: that is what keeps the time linear, and what
        // Netdata does.
        for part in inner {
            let Some((_, behind)) = rest.split_once(part.as_str()) else {
                return false;
            };
            rest = behind;
        }
        rest.ends_with(suffix.as_str())
    }
}

/// One word up to the next separator, without its escapes, and what follows the separator. An escaped
/// asterisk is still a wildcard and an escaped `!` is not a negation, as in Netdata, which removes escapes
/// between the two steps.
fn take_word(text: &str) -> (String, &str) {
    let mut word = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        if is_separator(character) {
            return (word, &text[at + character.len_utf8()..]);
        }
        if character != '\\' {
            word.push(character);
            continue;
        }
        if let Some((_, escaped)) = characters.next() {
            word.push(escaped);
        }
    }
    (word, "")
}

fn is_separator(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n' | '\x0b' | '\x0c')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(list: &str, name: &str) -> bool {
        SimplePattern::parse(list).matches(name)
    }

    #[test]
    fn the_position_of_the_asterisk_chooses_the_kind_of_match() {
        for (list, hit, miss) in [
            ("nginx", "nginx", "nginx2"),
            ("ngin*", "nginx", "xnginx"),
            ("*ginx", "nginx", "nginx2"),
            ("*gin*", "nginx", "ngnix"),
            ("a*b*c", "a-b-c", "a-b-c-"),
            ("a*b*", "axxbyy", "bxa"),
            ("*a*b", "xxaxxb", "b-a"),
        ] {
            assert!(fits(list, hit), "{list} must match {hit}");
            assert!(!fits(list, miss), "{list} must not match {miss}");
        }
    }

    #[test]
    fn the_first_fitting_word_decides() {
        let list = SimplePattern::parse("!www.example.com *.example.com !*");
        assert_eq!(list.decide("www.example.com"), Decision::Excluded);
        assert_eq!(list.decide("db.example.com"), Decision::Included);
        assert_eq!(list.decide("example.org"), Decision::Excluded);
        assert_eq!(SimplePattern::parse("!a").decide("b"), Decision::NoMatch);
        assert!(fits("* !a", "a"), "a later negation comes too late");
    }

    #[test]
    fn parts_do_not_overlap_and_are_never_taken_back() {
        assert!(!fits("ab*ba", "aba"), "the suffix needs characters of its own");
        assert!(fits("ab*ba", "abba"));
        // `*ab*abc` on "xabcabc": the first "ab" is at 1, and "abc" still ends the rest.
        assert!(fits("*ab*abc", "xabcabc"));
        // Exact remainder rule: the only "aa" is taken by the inner part, nothing is left for the suffix.
        assert!(!fits("*aa*aa", "xaaa"));
        assert!(!fits("*a*b*a*", "ba"));
    }

    #[test]
    fn escapes_keep_blanks_and_exclamation_marks() {
        assert!(fits(r"Plex\ Media*", "Plex Media Server"));
        assert!(fits(r"\!important", "!important"));
        assert!(fits(r"back\\slash", r"back\slash"));
        assert!(fits(r"a\*", "abc"), "an escaped asterisk remains a wildcard, as in Netdata");
        assert!(fits("end\\", "end"), "a last lone backslash escapes nothing");
    }

    #[test]
    fn nothing_matches_an_empty_list_or_an_empty_name() {
        assert!(SimplePattern::parse(" \t\r\n\x0b\x0c").is_empty());
        assert!(!fits("", "a"));
        assert!(!fits("*", ""));
        assert!(fits("*", "a"));
        assert!(fits("***", "a"), "a run of asterisks is one asterisk");
        assert!(fits("a**b", "a-b"));
    }

    #[test]
    fn odd_exclamation_marks() {
        assert!(SimplePattern::parse("!").is_empty());
        assert!(fits("! a", "a"), "a lone mark negates nothing");
        assert_eq!(SimplePattern::parse("!!a").decide("!a"), Decision::Excluded);
        assert!(fits("a!b", "a!b"));
    }

    #[test]
    fn other_alphabets_are_cut_at_characters() {
        assert!(fits("*ß*é", "straße café"));
        assert!(fits("Grü\\ ße", "Grü ße"));
        assert!(!fits("GRÜ*", "grün"));
    }

    #[test]
    fn a_long_chain_on_a_long_name_is_quick() {
        let list = SimplePattern::parse(&"*a".repeat(2_000));
        assert!(!list.matches(&"a".repeat(1_999)));
        assert!(list.matches(&"a".repeat(100_000)));
    }
}
