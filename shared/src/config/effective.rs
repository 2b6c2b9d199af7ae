//! What `--print-config` shows: each option, the value in effect, and who decided it.

use std::fmt;
use std::path::PathBuf;

/// Who decided a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: the documented default.
    Default,
    /// A line of the configuration file.
    File {
        /// The file as it was opened.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// An option like `-p`.
    CommandLine,
    /// This environment variable.
    Environment(&'static str),
    /// Another option, for this reason.
    Implied(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::CommandLine => f.write_str("command line"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Implied(reason) => write!(f, "because {reason}"),
        }
    }
}

/// One option as it is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveValue {
    /// The section, without brackets.
    pub section: &'static str,
    /// The option's name in the specification; in `[service name]` the port.
    pub key: String,
    /// The value in its normal form; `None` for an option that is unset.
    pub value: Option<String>,
    /// Who decided.
    pub origin: Origin,
}

/// The values as a configuration file that would have the same effect, each below a comment with its origin.
///
/// `values`: grouped by section, as [`super::load`] returns them.
pub fn render(values: &[EffectiveValue]) -> String {
    let mut text = String::new();
    let mut section = "";
    for value in values {
        if value.section != section {
            section = value.section;
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{section}]\n"));
        }
        text.push_str(&match &value.value {
            Some(shown) => format!("    # {}\n    {} = {shown}\n", value.origin, value.key),
            None => format!("    # {}: unset\n    # {} =\n", value.origin, value.key),
        });
    }
    text
}
