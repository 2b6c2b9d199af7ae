//! Turns the text of `apps_groups.conf` into groups and patterns.
//!
//! Each line names a group and patterns of processes: `sql: mysqld* postgres*`. Its words: [`super::words`].
//! A pattern may start with `-` (hidden), `+` (debug) and `*`, in any order; the first two are accepted and
//! mean nothing to us, as to Netdata's own eBPF plugin. Source: `netdata v1.26.0
//! collectors/ebpf.plugin/ebpf_apps.c`.
//!
//! Wrong text never stops the plugin: what cannot be used costs itself and one remark.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::groups::{GroupId, OTHER};
use super::matcher::{Kind, Matcher};
use super::words::{self, Words};
use crate::diagnostic::Diagnostic;

/// More patterns are not kept: a prepared search takes some 200 bytes. Netdata's own file has 500.
pub(super) const MAX_PATTERNS: usize = 65_536;
/// Netdata cuts names and patterns here (`EBPF_MAX_NAME`).
pub(super) const MAX_TEXT_BYTES: usize = 100;
/// Remarks on one file; a file that is no text at all would else fill the log.
pub(super) const MAX_REMARKS: usize = 20;

/// What a file says.
pub(super) struct Parsed {
    /// Dimension ids in the order of the groups' first patterns; `other` is among them.
    pub ids: Vec<String>,
    pub other: GroupId,
    pub matcher: Matcher,
    pub remarks: Vec<Diagnostic>,
}

/// Reads the text of a file; `file` is its name for the remarks.
pub(super) fn parse(text: &[u8], file: &Path) -> Parsed {
    let mut parser = Parser::new(file);
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        // A carriage return ends a line too: the first half of CRLF, or alone.
        for part in line.split(|&byte| byte == b'\r') {
            parser.line(index + 1, part);
        }
    }
    parser.finish()
}

/// What has been read so far.
struct Parser<'a> {
    file: &'a Path,
    remarks: Vec<Diagnostic>,
    remarks_left_out: usize,
    /// Names as the file spells them, with the line that made each.
    groups: Vec<(Vec<u8>, usize)>,
    by_name: HashMap<Vec<u8>, GroupId>,
    seen: HashMap<(Kind, Vec<u8>), (GroupId, usize)>,
    matcher: Matcher,
}

impl<'a> Parser<'a> {
    fn new(file: &'a Path) -> Self {
        Self {
            file,
            remarks: Vec::new(),
            remarks_left_out: 0,
            groups: Vec::new(),
            by_name: HashMap::new(),
            seen: HashMap::new(),
            matcher: Matcher::default(),
        }
    }

    fn remark(&mut self, make: impl FnOnce(PathBuf) -> Diagnostic) {
        if self.remarks.len() == MAX_REMARKS {
            self.remarks_left_out += 1;
            return;
        }
        self.remarks.push(make(self.file.to_owned()));
    }

    fn warn(&mut self, line: usize, message: String) {
        self.remark(|file| Diagnostic::warning(file, Some(line), message));
    }

    fn inform(&mut self, line: usize, message: String) {
        self.remark(|file| Diagnostic::info(file, Some(line), message));
    }

    fn line(&mut self, number: usize, line: &[u8]) {
        if line.contains(&0) {
            return self.warn(number, "has a NUL byte, which no text has; the line is ignored".to_owned());
        }
        let Words { words, quote_left_open } = words::split(line);
        if quote_left_open {
            self.warn(number, "a quote is not closed; it is taken to end with the line".to_owned());
        }
        let Some((&first, patterns)) = words.split_first() else {
            return;
        };

        let dashes = first.iter().take_while(|&&byte| byte == b'-').count();
        let name = &first[dashes..];
        if name.is_empty() {
            return self.warn(number, "the group has no name; the line is ignored".to_owned());
        }
        if name.len() > MAX_TEXT_BYTES {
            let message = format!("the group name `{}` is cut to {MAX_TEXT_BYTES} bytes", show(name));
            self.warn(number, message);
        }
        let name = cut(name);
        if patterns.is_empty() {
            return self.inform(
                number,
                format!("group `{}` names no process here; the line does nothing", show(name)),
            );
        }
        for pattern in patterns {
            self.pattern(number, name, pattern);
        }
    }

    fn pattern(&mut self, line: usize, group_name: &[u8], word: &[u8]) {
        let prefix = word.iter().take_while(|byte| matches!(byte, b'-' | b'+' | b'*')).count();
        let leading = word[..prefix].contains(&b'*');
        let text = &word[prefix..];
        // Of `**`, all is prefix: it matches every name, as `*` does.
        let (text, trailing) = match text.strip_suffix(b"*") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let kind = match (leading, trailing) {
            (false, false) => Kind::Exact,
            (false, true) => Kind::Prefix,
            (true, false) => Kind::Suffix,
            (true, true) => Kind::Substring,
        };
        if text.is_empty() && kind == Kind::Exact {
            return self.warn(line, format!("the pattern `{}` has no text; it is ignored", show(word)));
        }
        if text.len() > MAX_TEXT_BYTES {
            self.warn(line, format!("the pattern `{}` is cut to {MAX_TEXT_BYTES} bytes", show(word)));
        }
        let text = &text[..text.len().min(MAX_TEXT_BYTES)];

        if let Some(&(earlier, earlier_line)) = self.seen.get(&(kind, text.to_vec())) {
            let name = &self.groups[earlier.index()].0;
            if name != group_name {
                let message = format!(
                    "the pattern `{}` does nothing: line {earlier_line} gives it to group `{}`",
                    show(word),
                    show(name)
                );
                self.inform(line, message);
            }
            return;
        }
        if self.matcher.len() == MAX_PATTERNS {
            return self
                .warn(line, format!("more than {MAX_PATTERNS} patterns; `{}` is ignored", show(word)));
        }
        let Some(group) = self.group(line, group_name) else {
            return;
        };
        self.seen.insert((kind, text.to_vec()), (group, line));
        self.matcher.push(kind, text, group);
    }

    /// The group of that name; made now if this is its first pattern, so that order is that of first
    /// patterns.
    fn group(&mut self, line: usize, name: &[u8]) -> Option<GroupId> {
        if let Some(&known) = self.by_name.get(name) {
            return Some(known);
        }
        // One number is kept for `other`.
        let Some(id) = u16::try_from(self.groups.len()).ok().filter(|&id| id < u16::MAX) else {
            self.warn(line, format!("more than {} groups; `{}` is ignored", u16::MAX, show(name)));
            return None;
        };
        self.groups.push((name.to_vec(), line));
        self.by_name.insert(name.to_vec(), GroupId(id));
        Some(GroupId(id))
    }

    fn finish(mut self) -> Parsed {
        if self.groups.is_empty() {
            let message = format!("has no groups: every process counts as `{OTHER}`");
            self.remark(|file| Diagnostic::warning(file, None, message));
        }
        let other = match self.by_name.get(OTHER.as_bytes()) {
            Some(&other) => other,
            None => {
                self.groups.push((OTHER.as_bytes().to_vec(), 0));
                // `group` kept one number free.
                GroupId((self.groups.len() - 1) as u16)
            }
        };
        let ids = self.dimension_ids();
        if self.remarks_left_out > 0 {
            let message = format!("{} more remarks are left out", self.remarks_left_out);
            self.remarks.push(Diagnostic::warning(self.file, None, message));
        }
        Parsed { ids, other, matcher: self.matcher, remarks: self.remarks }
    }

    /// One id for each group, all different. Names that are usable as they stand keep their spelling,
    /// wherever they stand; the others step aside.
    fn dimension_ids(&mut self) -> Vec<String> {
        let groups = std::mem::take(&mut self.groups);
        let mut ids: Vec<String> = groups.iter().map(|(name, _)| dimension_id(name)).collect();
        let changed = |at: usize, ids: &[String]| groups[at].0 != ids[at].as_bytes();
        let mut taken: HashSet<String> =
            (0..ids.len()).filter(|&at| !changed(at, &ids)).map(|at| ids[at].clone()).collect();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        for at in 0..ids.len() {
            if !changed(at, &ids) {
                continue;
            }
            let base = ids[at].clone();
            let number = numbers.entry(base.clone()).or_insert(1);
            while !taken.insert(ids[at].clone()) {
                *number += 1;
                ids[at] = format!("{base}_{number}");
            }
            let (name, line) = &groups[at];
            let message =
                format!("the group name `{}` cannot name a dimension; `{}` is used", show(name), ids[at]);
            self.warn(*line, message);
        }
        ids
    }
}

/// `name` with `_` for each character that would end a word of the plugin protocol, or that is no character
/// at all.
fn dimension_id(name: &[u8]) -> String {
    let is_unusable = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\'' | '"' | '=' | '\\' | char::REPLACEMENT_CHARACTER)
    };
    String::from_utf8_lossy(name).replace(is_unusable, "_")
}

/// The first [`MAX_TEXT_BYTES`] bytes, fewer where that would split a UTF-8 character.
fn cut(name: &[u8]) -> &[u8] {
    if name.len() <= MAX_TEXT_BYTES {
        return name;
    }
    let is_continuation = |&at: &usize| name[at] & 0xc0 == 0x80;
    let end =
        (MAX_TEXT_BYTES - 3..=MAX_TEXT_BYTES).rev().find(|at| !is_continuation(at)).unwrap_or(MAX_TEXT_BYTES);
    &name[..end]
}

/// Foreign bytes for a remark: bounded, and nothing in it that a terminal or the log would obey.
fn show(text: &[u8]) -> String {
    let shown = text[..text.len().min(40)].escape_ascii();
    if text.len() > 40 { format!("{shown}...") } else { shown.to_string() }
}
