//! Collects remarks about a file, without letting a hostile or broken file flood the log.

use std::path::Path;

use crate::diagnostic::Diagnostic;

/// A file may be one megabyte of rubbish; the first lines say enough.
const MOST_LINE_WARNINGS: usize = 40;

/// Longest part of foreign text that is repeated in a remark, characters.
const LONGEST_QUOTE: usize = 60;

/// Remarks in the order in which they were made; warnings about single lines are bounded.
#[derive(Debug, Default)]
pub struct Remarks {
    list: Vec<Diagnostic>,
    line_warnings: usize,
}

impl Remarks {
    /// A warning about one line; from the 41st on they are only counted, see [`Remarks::close_file`].
    pub fn line_warning(&mut self, file: &Path, line: usize, message: impl Into<String>) {
        self.line_remark(Diagnostic::warning(file, Some(line), message));
    }

    /// The same for a message that is worth making only if it will be shown.
    pub fn line_warning_by(&mut self, file: &Path, line: usize, message: impl FnOnce() -> String) {
        if self.line_warnings < MOST_LINE_WARNINGS {
            return self.line_warning(file, line, message());
        }
        self.line_warnings += 1;
    }

    /// A remark that something is understood but has no effect; bounded together with the warnings.
    pub fn line_info(&mut self, file: &Path, line: usize, message: impl Into<String>) {
        self.line_remark(Diagnostic::info(file, Some(line), message));
    }

    /// A warning that is never suppressed: there are only a few of its kind.
    pub fn warning(&mut self, file: &Path, line: Option<usize>, message: impl Into<String>) {
        self.list.push(Diagnostic::warning(file, line, message));
    }

    /// An error, never suppressed.
    pub fn error(&mut self, file: &Path, line: Option<usize>, message: impl Into<String>) {
        self.list.push(Diagnostic::error(file, line, message));
    }

    /// Something worth knowing about the file as a whole.
    pub fn info(&mut self, file: &Path, message: impl Into<String>) {
        self.list.push(Diagnostic::info(file, None, message));
    }

    /// Says how many remarks were left out; to be called once, after the last line.
    pub fn close_file(&mut self, file: &Path) {
        if self.line_warnings > MOST_LINE_WARNINGS {
            let more = self.line_warnings - MOST_LINE_WARNINGS;
            self.warning(file, None, format!("{more} more remarks about its lines are not shown"));
        }
    }

    /// All remarks.
    pub fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }

    fn line_remark(&mut self, remark: Diagnostic) {
        self.line_warnings += 1;
        if self.line_warnings <= MOST_LINE_WARNINGS {
            self.list.push(remark);
        }
    }
}

/// Foreign text for a log line: in back quotes, without control characters, and not too long.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("`");
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST_QUOTE {
            quoted.push('…');
            break;
        }
        // Only control characters and the invisible kind are escaped; quotation marks and letters stay
        // readable.
        match character {
            '"' | '\'' | '\\' => quoted.push(character),
            _ => quoted.extend(character.escape_debug()),
        }
    }
    quoted.push('`');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_cannot_steer_a_terminal_or_fill_the_log() {
        assert_eq!(quote("it's \x1b[2J\r ü"), "`it's \\u{1b}[2J\\r ü`");
        assert_eq!(quote(&"x".repeat(1000)).chars().count(), LONGEST_QUOTE + 3);
    }

    #[test]
    fn warnings_about_lines_are_bounded_and_the_rest_is_counted() {
        let mut remarks = Remarks::default();
        let file = Path::new("f");
        (1..=MOST_LINE_WARNINGS + 5).for_each(|line| remarks.line_warning(file, line, "bad"));
        remarks.close_file(file);
        let list = remarks.into_list();
        assert_eq!(list.len(), MOST_LINE_WARNINGS + 1);
        assert_eq!(list[MOST_LINE_WARNINGS].to_string(), "f: 5 more remarks about its lines are not shown");
    }
}
