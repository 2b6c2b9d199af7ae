//! The syntax of Netdata's configuration files: bytes in, `section / name / value` with line numbers out.
//!
//! Follows `libnetdata/config/appconfig.c` of netdata v1.26.0; it knows no option. Where that code would
//! silently use half of a line (longer than its buffer, or with a NUL in it), the line is left out here with
//! a warning. A line that starts with `;` is a comment, as in later Netdata versions.

use std::collections::HashSet;
use std::path::Path;

use super::remarks::{Remarks, quote};

/// Netdata reads lines into 8192 bytes, one of which ends the string.
const LONGEST_LINE: usize = 8191;

/// One `name = value` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The text between the brackets of the section that the line stands in, exactly as written.
    pub section: String,
    /// The text before the first `=`, without blanks around it; never empty.
    pub name: String,
    /// The text after the first `=`, without blanks around it; may be empty.
    pub value: String,
    /// Line number, counted from 1.
    pub line: usize,
}

/// What a file contains, in the order of its lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Section names with the line of their first heading. A repeated section continues the first one.
    pub sections: Vec<(String, usize)>,
    /// All entries, also those whose name repeats.
    pub entries: Vec<Entry>,
}

/// Takes a file apart. Never fails: what is no configuration line gets a remark and is left out.
pub fn parse(file: &Path, bytes: &[u8], remarks: &mut Remarks) -> Document {
    let mut document = Document::default();
    if is_utf16(bytes) {
        remarks.error(
            file,
            None,
            "is UTF-16 text, which cannot be read; save it as UTF-8. Nothing of it is used",
        );
        return document;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut place = Place::BeforeSections;
    let mut headings = HashSet::new();
    for (index, raw) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = index + 1;
        if let Err(why) = read_line(raw, line, &mut place, &mut headings, &mut document) {
            remarks.line_warning(file, line, why);
        }
    }
    document
}

/// Which section the next line belongs to.
enum Place {
    BeforeSections,
    In(String),
    /// Below a heading that could not be read: its lines must not fall into the section above.
    InUnreadable,
}

fn read_line(
    raw: &[u8],
    line: usize,
    place: &mut Place,
    headings: &mut HashSet<String>,
    document: &mut Document,
) -> Result<(), String> {
    let text = trim(raw);
    if matches!(text.first(), None | Some(b'#' | b';')) {
        return Ok(());
    }
    let is_heading = text.starts_with(b"[") && text.ends_with(b"]");
    let text = match readable(raw, text) {
        Ok(text) => text,
        Err(why) => {
            if is_heading {
                *place = Place::InUnreadable;
                return Err(format!("{why}, and so are the lines of its section"));
            }
            return Err(why);
        }
    };
    if let Some(heading) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        if headings.insert(heading.to_owned()) {
            document.sections.push((heading.to_owned(), line));
        }
        *place = Place::In(heading.to_owned());
        return Ok(());
    }
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!(
            "{} is neither `[section]` nor `name = value`; the line is ignored",
            quote(text)
        ));
    };
    let (name, value) = (name.trim_matches(is_blank), value.trim_matches(is_blank));
    if name.is_empty() {
        return Err("there is no name before `=`; the line is ignored".to_owned());
    }
    let section = match place {
        Place::In(section) => section.clone(),
        Place::InUnreadable => return Ok(()),
        Place::BeforeSections => {
            return Err(format!("{} stands before any [section]; the line is ignored", quote(name)));
        }
    };
    document.entries.push(Entry { section, name: name.to_owned(), value: value.to_owned(), line });
    Ok(())
}

fn readable<'text>(raw: &[u8], text: &'text [u8]) -> Result<&'text str, String> {
    if raw.len() > LONGEST_LINE {
        let length = raw.len();
        return Err(format!("the line has {length} bytes, more than {LONGEST_LINE}; it is ignored"));
    }
    if text.contains(&0) {
        return Err("the line contains a NUL byte; it is ignored".to_owned());
    }
    std::str::from_utf8(text).map_err(|_| "the line is not UTF-8 text; it is ignored".to_owned())
}

fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff")
}

/// C's `isspace`, which unlike Rust's counts the vertical tab.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n' | '\x0b' | '\x0c')
}

fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| is_blank(char::from(*byte));
    let Some(start) = bytes.iter().position(|byte| !blank(byte)) else {
        return &[];
    };
    let end = bytes.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as `section/name=value@line`, and the remarks as they are shown.
    fn read(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
        let mut remarks = Remarks::default();
        let document = parse(Path::new("f"), bytes, &mut remarks);
        let show = |entry: &Entry| format!("{}/{}={}@{}", entry.section, entry.name, entry.value, entry.line);
        let shown = remarks.into_list().iter().map(ToString::to_string).collect();
        (document.entries.iter().map(show).collect(), shown)
    }

    #[test]
    fn entries_carry_section_and_line() {
        let (entries, remarks) =
            read(b"# head\n[global]\n  a b =  1 # 2 = 3 \r\n\n[other]\nx=\n[global]\n\x0by\t=\t[z]\n; old\n");
        assert_eq!(entries, ["global/a b=1 # 2 = 3@3", "other/x=@6", "global/y=[z]@8"]);
        assert!(remarks.is_empty(), "{remarks:?}");
    }

    #[test]
    fn the_name_of_a_section_is_kept_exactly() {
        let (entries, _) = read(b"[ Global]\na=1\n[]\nb=2\n");
        assert_eq!(entries, [" Global/a=1@2", "/b=2@4"]);
    }

    #[test]
    fn lines_that_are_no_configuration_are_named() {
        let (entries, remarks) = read(b"a=1\n[global]\nno equals sign\n= 5\n[open\nb=2\n");
        assert_eq!(entries, ["global/b=2@6"]);
        assert_eq!(
            remarks,
            [
                "f:1: `a` stands before any [section]; the line is ignored",
                "f:3: `no equals sign` is neither `[section]` nor `name = value`; the line is ignored",
                "f:4: there is no name before `=`; the line is ignored",
                "f:5: `[open` is neither `[section]` nor `name = value`; the line is ignored",
            ]
        );
    }

    #[test]
    fn bytes_that_are_no_text_cost_their_line_only() {
        let (entries, remarks) = read(b"[s]\na=\xff\nb=1\0 2\n# \xe4 comment\n[\xff]\nc=3\n[s]\nd=4");
        assert_eq!(entries, ["s/d=4@8"]);
        assert_eq!(
            remarks,
            [
                "f:2: the line is not UTF-8 text; it is ignored",
                "f:3: the line contains a NUL byte; it is ignored",
                "f:5: the line is not UTF-8 text; it is ignored, and so are the lines of its section",
            ]
        );
    }

    #[test]
    fn a_line_too_long_is_not_cut_into_two() {
        let mut bytes = b"[s]\na = ".to_vec();
        bytes.extend(std::iter::repeat_n(b'x', LONGEST_LINE));
        bytes.extend(b"\nb = 2\n");
        let (entries, remarks) = read(&bytes);
        assert_eq!(entries, ["s/b=2@3"]);
        assert_eq!(remarks, ["f:2: the line has 8195 bytes, more than 8191; it is ignored"]);
    }

    #[test]
    fn byte_order_marks() {
        assert_eq!(read(b"\xef\xbb\xbf[s]\na=1").0, ["s/a=1@2"]);
        let (entries, remarks) = read(b"\xff\xfe[\0s\0]\0");
        assert!(entries.is_empty());
        assert_eq!(remarks.len(), 1);
        assert!(remarks[0].contains("save it as UTF-8"));
    }
}
