//! What the three lists have in common: signs, the meaning of a missing inclusion, remarks.

use std::fmt::Display;
use std::path::Path;

use crate::config::Word;
use crate::diagnostic::Diagnostic;

/// Remarks about one list; a line of rubbish can hold a hundred thousand words, and the first ones say
/// enough.
const MOST_REMARKS: usize = 40;

/// Longest part of a word that is repeated in a remark, characters.
const LONGEST_QUOTE: usize = 60;

/// What a list includes, before its exclusions are taken away.
#[derive(Debug, PartialEq, Eq)]
pub enum Included<T> {
    /// No word without `!` was written.
    Everything,
    /// The words without `!` that could be used; at least one.
    Only(Vec<T>),
    /// Words without `!` were written, but none could be used. "Everything" would be the contrary of what was
    /// asked, so the option's default takes their place.
    Default,
}

/// The words of one option by their sign.
#[derive(Debug, PartialEq, Eq)]
pub struct Lists<T> {
    /// The words with `!`.
    pub excluded: Vec<T>,
    /// The words without.
    pub included: Included<T>,
}

/// The meaning of a word, and where it is used otherwise than written: what is used.
pub type Meaning<T> = (T, Option<String>);

/// Reads the `words` of `option`. A word that `parse` refuses is ignored with a remark, as if it were not
/// there.
///
/// `parse` sees a word without its sign. `default`: what takes the place of the inclusions when no one is
/// usable, for the remark.
pub fn read<T, E: Display>(
    option: &'static str,
    words: &[Word],
    file: &Path,
    default: &str,
    parse: impl Fn(&str) -> Result<Meaning<T>, E>,
) -> (Lists<T>, Vec<Diagnostic>) {
    let mut excluded = Vec::new();
    let mut included = Vec::new();
    let mut lost_inclusion = None;
    let mut remarks = Vec::new();
    for word in words {
        let (negative, text) = match word.text.strip_prefix('!') {
            Some(text) => (true, text),
            None => (false, word.text.as_str()),
        };
        let (meaning, used_instead) = match parse(text) {
            Ok(read) => read,
            Err(error) => {
                let message = format!("{} in `{option}` {error}; the word is ignored", quote(&word.text));
                remarks.push(Diagnostic::warning(file, word.line, message));
                if !negative {
                    lost_inclusion = Some(word.line);
                }
                continue;
            }
        };
        // Nobody wrote the words of a default, so nobody needs to hear how they are read.
        if let (Some(used), Some(_)) = (used_instead, word.line) {
            let message = format!("{} in `{option}` {used}", quote(&word.text));
            remarks.push(Diagnostic::info(file, word.line, message));
        }
        if negative && text == "*" {
            let message = format!("`!*` in `{option}` excludes everything; nothing is shown");
            remarks.push(Diagnostic::warning(file, word.line, message));
        }
        if negative { &mut excluded } else { &mut included }.push(meaning);
    }
    let mut remarks = bounded(remarks, option, file);
    let included = match lost_inclusion {
        _ if !included.is_empty() => Included::Only(included),
        None => Included::Everything,
        Some(line) => {
            let message =
                format!("no word without `!` in `{option}` is usable; {default} is included instead");
            remarks.push(Diagnostic::warning(file, line, message));
            Included::Default
        }
    };
    (Lists { excluded, included }, remarks)
}

/// The first remarks, and how many are left out.
fn bounded(mut remarks: Vec<Diagnostic>, option: &str, file: &Path) -> Vec<Diagnostic> {
    if remarks.len() > MOST_REMARKS {
        let more = remarks.len() - MOST_REMARKS;
        let line = remarks[MOST_REMARKS].line;
        remarks.truncate(MOST_REMARKS);
        let message = format!("{more} more remarks about words of `{option}` are not shown");
        remarks.push(Diagnostic::warning(file, line, message));
    }
    remarks
}

/// A user's word for a log line: in back quotes, without characters that steer a terminal, and not too long.
fn quote(text: &str) -> String {
    let shown: String = text.chars().take(LONGEST_QUOTE).flat_map(char::escape_debug).collect();
    let more = if text.chars().nth(LONGEST_QUOTE).is_some() { "…" } else { "" };
    format!("`{shown}{more}`")
}

/// A decimal number without a sign and without leading zeros, which C would read as octal.
pub fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    // More digits than fit are still a number, only far outside of every bound.
    (is_plain && !text.is_empty()).then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The words of `text`, as if they stood in line 7.
    pub fn words(text: &str) -> Vec<Word> {
        text.split_ascii_whitespace().map(|word| Word { text: word.to_owned(), line: Some(7) }).collect()
    }

    /// The remarks as an operator sees them.
    pub fn shown(remarks: &[Diagnostic]) -> Vec<String> {
        remarks.iter().map(|remark| format!("{:?} {remark}", remark.level)).collect()
    }

    fn digits(text: &str) -> Result<Meaning<u64>, &'static str> {
        number(text).map(|number| (number, None)).ok_or("is no number")
    }

    fn lists(text: &str) -> (Lists<u64>, Vec<String>) {
        let (lists, remarks) = read("numbers", &words(text), Path::new("f"), "7", digits);
        (lists, shown(&remarks))
    }

    #[test]
    fn the_sign_chooses_the_list() {
        let (lists, remarks) = lists("1 !2 3 !4");
        assert_eq!(lists.excluded, [2, 4]);
        assert_eq!(lists.included, Included::Only(vec![1, 3]));
        assert_eq!(remarks, [""; 0]);
    }

    #[test]
    fn without_an_inclusion_everything_is_included() {
        assert_eq!(lists("").0.included, Included::Everything);
        assert_eq!(lists("!1").0.included, Included::Everything);
        assert_eq!(lists("!x").0.included, Included::Everything);
    }

    #[test]
    fn inclusions_that_are_all_unusable_are_replaced_by_the_default() {
        let (lists, remarks) = lists("!1 x !!2");
        assert_eq!(lists.included, Included::Default);
        assert_eq!(
            remarks,
            [
                "Warning f:7: `x` in `numbers` is no number; the word is ignored",
                "Warning f:7: `!!2` in `numbers` is no number; the word is ignored",
                "Warning f:7: no word without `!` in `numbers` is usable; 7 is included instead",
            ]
        );
    }

    #[test]
    fn remarks_are_bounded_and_cannot_steer_a_terminal() {
        let (_, remarks) = lists(&"x ".repeat(100_000));
        assert_eq!(remarks.len(), MOST_REMARKS + 2);
        assert!(remarks[MOST_REMARKS].contains("99960 more remarks about words of `numbers`"));
        assert_eq!(quote("\x1b[2J"), "`\\u{1b}[2J`");
        assert_eq!(quote(&"x".repeat(61)), format!("`{}…`", "x".repeat(60)));
    }

    #[test]
    fn numbers() {
        for (text, value) in [("0", 0), ("65535", 65_535), ("99999999999999999999999", u64::MAX)] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in ["", "08", "+1", "-1", "0x1", "1 ", "٣"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
