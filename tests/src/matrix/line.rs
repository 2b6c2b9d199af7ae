//! One result: what one event of one cell showed. Written by the guest, read by the document.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// What became of an event in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every number as done, to the unit.
    Exact,
    /// As done, beside what the plugin itself reads and writes every second, which is in the system's totals too.
    BesideOwn,
    /// Never more than done, and the plugin itself draws that at least as much was skipped as is missing.
    Told,
    /// Never more than done; this kernel's tracepoint leaves some out.
    LeavesOut,
    /// Not fewer than done; other processes of a machine in use count too and cannot be told apart.
    AtLeast,
    /// Wrong: which counter must be what, and is what.
    Wrong(String),
    /// The kernel lacks the hook, as the plugin says itself.
    NotOffered(String),
    /// Not compared: something that the document should tell, one word.
    Fact(String),
}

/// The result of one event in one cell on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Short name, such as `6.12` or `6.1 lockdown=integrity`.
    pub kernel: String,
    /// [`super::cell::Cell::name`].
    pub cell: String,
    /// Event of `module.toml`, or a check of the cell as a whole.
    pub event: String,
    /// As the supervisor's log says, such as `fexit ×4`; `-` for checks.
    pub hook: String,
    /// What came of it.
    pub outcome: Outcome,
}

const BESIDE_OWN: &str = "exact beside own calls";
const TOLD: &str = "exact or told";
const LEAVES_OUT: &str = "the kernel leaves some out";
const AT_LEAST: &str = "at least";
const NOT_OFFERED: &str = "not offered: ";
const FACT: &str = "is ";

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Exact => f.write_str("exact"),
            Outcome::BesideOwn => f.write_str(BESIDE_OWN),
            Outcome::Told => f.write_str(TOLD),
            Outcome::LeavesOut => f.write_str(LEAVES_OUT),
            Outcome::AtLeast => f.write_str(AT_LEAST),
            Outcome::Wrong(what) => f.write_str(what),
            Outcome::NotOffered(reason) => write!(f, "{NOT_OFFERED}{reason}"),
            Outcome::Fact(word) => write!(f, "{FACT}{word}"),
        }
    }
}

/// Tabs between the words; there are none in them.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = self.outcome.to_string().replace(['\t', '\n'], " ");
        write!(f, "{}\t{}\t{}\t{}\t{outcome}", self.kernel, self.cell, self.event, self.hook)
    }
}

impl FromStr for Line {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Line> {
        let words: Vec<&str> = text.split('\t').collect();
        let [kernel, cell, event, hook, outcome] = words.as_slice() else {
            bail!("`{text}` has {} words between tabs instead of 5", words.len());
        };
        let outcome = match *outcome {
            "exact" => Outcome::Exact,
            BESIDE_OWN => Outcome::BesideOwn,
            TOLD => Outcome::Told,
            LEAVES_OUT => Outcome::LeavesOut,
            AT_LEAST => Outcome::AtLeast,
            other => match (other.strip_prefix(NOT_OFFERED), other.strip_prefix(FACT)) {
                (Some(reason), _) => Outcome::NotOffered(reason.to_owned()),
                (_, Some(word)) => Outcome::Fact(word.to_owned()),
                _ => Outcome::Wrong(other.to_owned()),
            },
        };
        let owned = |word: &&str| (*word).to_owned();
        Ok(Line { kernel: owned(kernel), cell: owned(cell), event: owned(event), hook: owned(hook), outcome })
    }
}

/// All results in a program's output, whose other lines carry no tab.
pub fn parse_lines(text: &str) -> Result<Vec<Line>> {
    let lines = text.lines().filter(|line| line.contains('\t'));
    lines.map(|line| line.trim_end().parse().with_context(|| format!("cannot read `{line}`"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let outcomes = [
            Outcome::Exact,
            Outcome::BesideOwn,
            Outcome::Told,
            Outcome::LeavesOut,
            Outcome::AtLeast,
            Outcome::Wrong("files: read expected 5 got 4".to_owned()),
            Outcome::NotOffered("this kernel has no function x".to_owned()),
            Outcome::Fact("rows".to_owned()),
        ];
        for outcome in outcomes {
            let line = Line {
                kernel: "6.1 lockdown=integrity".to_owned(),
                cell: "auto, return".to_owned(),
                event: "read".to_owned(),
                hook: "fexit ×8".to_owned(),
                outcome,
            };
            assert_eq!(parse_lines(&format!("vm: noise\n{line}\r\n")).unwrap(), [line]);
        }
        assert!("a\tb".parse::<Line>().is_err());
    }
}
