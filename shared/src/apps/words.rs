//! Splits a line of `apps_groups.conf` into words, by the rules of Netdata's `procfile` reader.
//!
//! Words end at a space, a tab or a colon. A quote (`'` or `"`) that starts a word makes everything up to the
//! same quote one word; elsewhere it is an ordinary character. The first word that starts with `#` begins a
//! comment.
//!
//! One difference on purpose: Netdata lets a quote that is left open swallow separators on the following
//! lines, also when it stands in a comment. Here it ends with its line, and comments have no quotes, so that
//! one typing error costs one line.

/// The words of one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Words<'a> {
    /// In order, without their quotes; never empty ones.
    pub words: Vec<&'a [u8]>,
    /// True when the last word's quote was never closed.
    pub quote_left_open: bool,
}

/// Splits `line`, which holds no line break.
pub(crate) fn split(line: &[u8]) -> Words<'_> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let Some(start) = rest.iter().position(|&byte| !is_separator(byte)) else {
            return Words { words, quote_left_open: false };
        };
        rest = &rest[start..];

        let quote = rest[0];
        let quoted = quote == b'\'' || quote == b'"';
        let body = if quoted { &rest[1..] } else { rest };
        let end = body.iter().position(|&byte| if quoted { byte == quote } else { is_separator(byte) });

        let word = &body[..end.unwrap_or(body.len())];
        if word.first() == Some(&b'#') {
            return Words { words, quote_left_open: false };
        }
        if !word.is_empty() {
            words.push(word);
        }
        let Some(end) = end else {
            return Words { words, quote_left_open: quoted };
        };
        rest = &body[end + 1..];
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line.as_bytes()).words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn separators_are_space_tab_and_colon() {
        assert_eq!(words("sql: mysqld*\tpostgres*"), ["sql", "mysqld*", "postgres*"]);
        assert_eq!(words("  sql :mysqld"), ["sql", "mysqld"]);
        assert_eq!(words(" : \t"), [""; 0]);
    }

    #[test]
    fn quotes_keep_separators_only_at_the_start_of_a_word() {
        assert_eq!(words(r#"m: 'Plex Media: Serv' "it's""#), ["m", "Plex Media: Serv", "it's"]);
        assert_eq!(words("m: don't 'a'b"), ["m", "don't", "a", "b"]);
        assert_eq!(words("m: '' x"), ["m", "x"]);
    }

    #[test]
    fn a_comment_starts_at_a_word() {
        assert_eq!(words("a: b # 'c d"), ["a", "b"]);
        assert_eq!(words("a: b#c"), ["a", "b#c"]);
        assert_eq!(words("# a: b"), [""; 0]);
        assert_eq!(words("a: '#b' c"), ["a"]);
    }

    #[test]
    fn an_open_quote_is_told() {
        let open = split(b"a: 'b c");
        assert_eq!(open, Words { words: vec![b"a".as_slice(), b"b c"], quote_left_open: true });
        assert!(!split(b"a: 'b c'").quote_left_open);
        assert!(split(b"a: '").quote_left_open);
    }
}
