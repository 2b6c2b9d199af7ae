//! One remark about a text that a person wrote: a configuration file, a group file, a table.

use std::fmt;
use std::path::PathBuf;

/// How much the operator should care about a [`Diagnostic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing is wrong; the text is understood but has no effect here.
    Info,
    /// Something was ignored or replaced by a default; the plugin runs.
    Warning,
    /// The whole file could not be used; the plugin runs on defaults.
    Error,
}

/// A remark with the place that it is about; shown to the operator as `FILE:LINE: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How severe the remark is; the display text does not contain it, the log line does.
    pub level: Level,
    /// The file as it was opened.
    pub file: PathBuf,
    /// The line, counted from 1; `None` when the remark is about the file as a whole.
    pub line: Option<usize>,
    /// What is wrong, and what is used instead.
    pub message: String,
}

impl Diagnostic {
    /// A remark of level [`Level::Info`].
    pub fn info(file: impl Into<PathBuf>, line: Option<usize>, message: impl Into<String>) -> Self {
        Self::new(Level::Info, file, line, message)
    }

    /// A remark of level [`Level::Warning`].
    pub fn warning(file: impl Into<PathBuf>, line: Option<usize>, message: impl Into<String>) -> Self {
        Self::new(Level::Warning, file, line, message)
    }

    /// A remark of level [`Level::Error`].
    pub fn error(file: impl Into<PathBuf>, line: Option<usize>, message: impl Into<String>) -> Self {
        Self::new(Level::Error, file, line, message)
    }

    fn new(level: Level, file: impl Into<PathBuf>, line: Option<usize>, message: impl Into<String>) -> Self {
        Self { level, file: file.into(), line, message: message.into() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.message),
            None => write!(f, "{}: {}", self.file.display(), self.message),
        }
    }
}
