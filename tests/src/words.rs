//! Splits a protocol line as Netdata 1.26 to 1.37 do (`pluginsd_split_words`), and refuses what they only
//! tolerate.

use thiserror::Error;

/// Most words that Netdata 1.26 and 1.37 keep of one line.
pub const WORDS_MAX: usize = 20;
/// Longest line with its end that Netdata 1.26 reads in one piece: a buffer of 1024 with the final NUL.
pub const LINE_BYTES_MAX: usize = 1023;

/// Why a line cannot be split cleanly.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SplitError {
    /// Netdata 1.26 would read the rest as a new command.
    #[error("line of {0} bytes with its end, at most {LINE_BYTES_MAX} allowed")]
    TooLong(usize),
    /// Words after the 20th are lost.
    #[error("{0} words, at most {WORDS_MAX} allowed")]
    TooManyWords(usize),
    /// Not text.
    #[error("not UTF-8")]
    NotUtf8,
    /// Control characters reach the dashboard.
    #[error("control character {0:?}")]
    Control(char),
    /// The word would run to the end of the line.
    #[error("quote {0} is never closed")]
    OpenQuote(char),
    /// Netdata gives a quote inside a word no meaning, and splits after a closing one.
    #[error("quote inside a word, or text right behind a closing quote")]
    StrayQuote,
    /// Netdata does not remove it.
    #[error("backslash")]
    Backslash,
}

fn is_separator(c: char) -> bool {
    c == ' ' || c == '\t' || c == '='
}

/// Splits one line without its line end.
///
/// Words are separated by spaces, tabs and `=`. A word that starts with `'` or `"` runs to the same quote and
/// may be empty. Returns the words without quotes.
pub fn split(line: &[u8]) -> Result<Vec<String>, SplitError> {
    if line.len() + 1 > LINE_BYTES_MAX {
        return Err(SplitError::TooLong(line.len() + 1));
    }
    let text = std::str::from_utf8(line).map_err(|_| SplitError::NotUtf8)?;
    if let Some(control) = text.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(SplitError::Control(control));
    }
    if text.contains('\\') {
        return Err(SplitError::Backslash);
    }
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(is_separator);
    while let Some(first) = rest.chars().next() {
        let after = if first == '\'' || first == '"' {
            let (word, tail) = rest[1..].split_once(first).ok_or(SplitError::OpenQuote(first))?;
            if !tail.is_empty() && !tail.starts_with(is_separator) {
                return Err(SplitError::StrayQuote);
            }
            words.push(word.to_owned());
            tail
        } else {
            let end = rest.find(is_separator).unwrap_or(rest.len());
            if rest[..end].contains(['\'', '"']) {
                return Err(SplitError::StrayQuote);
            }
            words.push(rest[..end].to_owned());
            &rest[end..]
        };
        rest = after.trim_start_matches(is_separator);
    }
    if words.len() > WORDS_MAX {
        return Err(SplitError::TooManyWords(words.len()));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_equal_signs() {
        let words = split(b"CHART a.b '' 'Two words' \"it's\" x=1").unwrap();
        assert_eq!(words, ["CHART", "a.b", "", "Two words", "it's", "x", "1"]);
        assert_eq!(split(b"SET a = -5").unwrap(), ["SET", "a", "-5"]);
        assert_eq!(split(b"SET a=-5").unwrap(), ["SET", "a", "-5"]);
        assert_eq!(split(b"SET 'a=b' = 1").unwrap(), ["SET", "a=b", "1"]);
        assert_eq!(split(b"").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn unclean_lines_are_refused() {
        assert_eq!(split(b"CHART 'a"), Err(SplitError::OpenQuote('\'')));
        assert_eq!(split(b"CHART 'a'b"), Err(SplitError::StrayQuote));
        assert_eq!(split(b"CHART it's"), Err(SplitError::StrayQuote));
        assert_eq!(split(b"CHART a\\ b"), Err(SplitError::Backslash));
        assert_eq!(split(b"CHART a\r"), Err(SplitError::Control('\r')));
        assert_eq!(split(b"CHART \xff"), Err(SplitError::NotUtf8));
        assert_eq!(split("w ".repeat(21).as_bytes()), Err(SplitError::TooManyWords(21)));
        assert!(split("w ".repeat(20).as_bytes()).is_ok());
    }

    #[test]
    fn the_longest_line_fills_the_buffer_of_the_oldest_agent() {
        assert!(split("x".repeat(LINE_BYTES_MAX - 1).as_bytes()).is_ok());
        assert_eq!(
            split("x".repeat(LINE_BYTES_MAX).as_bytes()),
            Err(SplitError::TooLong(LINE_BYTES_MAX + 1))
        );
    }
}
