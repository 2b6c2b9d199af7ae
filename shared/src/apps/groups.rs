//! The groups of `apps_groups.conf`, and which of them a name or command line leads to.

use std::io;
use std::path::{Path, PathBuf};

use super::matcher::{Hit, Matcher, first_of};
use super::parser::{self, Parsed};
use crate::diagnostic::Diagnostic;
use crate::file;

/// Name of the file in each configuration directory.
const FILE_NAME: &str = "apps_groups.conf";
/// More of a file is not read. Netdata's own has 14 kB.
pub const MAX_FILE_BYTES: usize = 4 << 20;
/// What processes without a group of their own are charged to.
pub(super) const OTHER: &str = "other";

/// One group of the file that made it; [`AppsGroups::groups`] is indexed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub(super) u16);

impl GroupId {
    /// Place of the group in [`AppsGroups::groups`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The groups of one file and the patterns that lead to them.
#[derive(Debug)]
pub struct AppsGroups {
    ids: Vec<String>,
    other: GroupId,
    matcher: Matcher,
    source: Option<PathBuf>,
}

impl Default for AppsGroups {
    /// No patterns: every process is `other`.
    fn default() -> Self {
        Self { ids: vec![OTHER.to_owned()], other: GroupId(0), matcher: Matcher::default(), source: None }
    }
}

impl AppsGroups {
    /// Reads `apps_groups.conf` of the user's directory or, if there is none that can be read, of the stock
    /// directory.
    ///
    /// Returns remarks for the log. Does not fail: without a file every process is `other`, and a remark says
    /// so.
    pub fn load(user_dir: Option<&Path>, stock_dir: Option<&Path>) -> (Self, Vec<Diagnostic>) {
        let mut remarks = Vec::new();
        let candidates: Vec<PathBuf> =
            [user_dir, stock_dir].into_iter().flatten().map(|dir| dir.join(FILE_NAME)).collect();
        for file in &candidates {
            match read_bounded(file) {
                Ok((text, complete)) => {
                    let (groups, found) = Self::parse(&text, file);
                    remarks.extend(found);
                    if !complete {
                        let message = format!("larger than {MAX_FILE_BYTES} bytes; the rest is ignored");
                        remarks.push(Diagnostic::warning(file, None, message));
                    }
                    return (groups, remarks);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    remarks.push(Diagnostic::warning(file, None, format!("cannot be read: {error}")))
                }
            }
        }
        let file = candidates.first().cloned().unwrap_or_else(|| PathBuf::from(FILE_NAME));
        let also = candidates.get(1).map(|stock| format!(", nor is {}", stock.display())).unwrap_or_default();
        let message = format!(
            "not usable{also}: every process counts as `{OTHER}`; install Netdata's {FILE_NAME} or write one"
        );
        remarks.push(Diagnostic::warning(file, None, message));
        (Self::default(), remarks)
    }

    /// Reads the text of a file; `file` is its name for the remarks. Needs no UTF-8: names of processes are
    /// bytes.
    pub fn parse(text: &[u8], file: &Path) -> (Self, Vec<Diagnostic>) {
        let Parsed { ids, other, matcher, remarks } = parser::parse(text, file);
        (Self { ids, other, matcher, source: Some(file.to_owned()) }, remarks)
    }

    /// Dimension ids, usable in the protocol without quotes, in file order; `other` is among them, last
    /// unless the file places it.
    pub fn groups(&self) -> &[String] {
        &self.ids
    }

    /// The dimension id of a group of these groups.
    pub fn id(&self, group: GroupId) -> &str {
        &self.ids[group.index()]
    }

    /// The group of processes that nothing else claims.
    pub fn other(&self) -> GroupId {
        self.other
    }

    /// The file that the groups come from; `None` when there was none.
    pub fn source(&self) -> Option<&Path> {
        self.source.as_deref()
    }

    /// Number of different patterns.
    pub fn pattern_count(&self) -> usize {
        self.matcher.len()
    }

    /// True when at least one pattern (`*text*`) looks at command lines; else nobody needs to read them.
    pub fn reads_command_lines(&self) -> bool {
        self.matcher.has_substrings()
    }

    /// The group of the first pattern that matches a process of which only the name is known.
    pub fn match_name(&self, comm: &[u8]) -> Option<GroupId> {
        self.match_process(comm, None)
    }

    /// The group of the first pattern, in file order, that matches. `comm`: at most 15 bytes, without NUL.
    /// `command_line`: arguments separated by spaces; `None` or empty: the name stands in for it.
    pub fn match_process(&self, comm: &[u8], command_line: Option<&[u8]>) -> Option<GroupId> {
        let line = command_line.filter(|line| !line.is_empty()).unwrap_or(comm);
        first_of(self.match_comm(comm), self.match_command_line(line)).map(|hit| hit.group)
    }

    pub(crate) fn match_comm(&self, comm: &[u8]) -> Option<Hit> {
        self.matcher.match_comm(comm)
    }

    pub(crate) fn match_command_line(&self, text: &[u8]) -> Option<Hit> {
        self.matcher.match_command_line(text)
    }
}

/// The first [`MAX_FILE_BYTES`] of a file, up to a line's end, and whether that is all of it.
fn read_bounded(path: &Path) -> io::Result<(Vec<u8>, bool)> {
    let (mut text, _) = file::read(path, MAX_FILE_BYTES as u64)?;
    if text.len() <= MAX_FILE_BYTES {
        return Ok((text, true));
    }
    let end = text[..MAX_FILE_BYTES].iter().rposition(|&byte| byte == b'\n').unwrap_or(MAX_FILE_BYTES);
    text.truncate(end);
    Ok((text, false))
}

#[cfg(test)]
mod tests;
