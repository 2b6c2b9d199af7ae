//! The reference for operators, as Markdown: every metric, every hook, every option.
//!
//! In: the modules' tables and the list of options. Out: the text of the generated files in `docs/`. Pure; `tests/tests/reference.rs`
//! compares the files with it. What the tables cannot say stands in `docs/definitions.md`, by hand.

pub mod hooks;
pub mod metrics;

use crate::config;
use crate::table::{MODULES, Mode, Table, TableError};

/// The command that writes the files anew.
pub const COMMAND: &str = "BLESS=1 cargo test -p tests --test reference";

/// One generated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its name in `docs/`.
    pub name: &'static str,
    /// All of its text.
    pub text: String,
}

/// Every generated file. Fails when an embedded table is not sound, which is a test of theirs.
pub fn documents() -> Result<Vec<Document>, TableError> {
    let tables: Vec<Table> = MODULES.iter().map(|module| Table::of(module)).collect::<Result<_, _>>()?;
    Ok(vec![
        Document { name: "metrics.md", text: metrics::markdown(&tables) },
        Document { name: "hooks.md", text: hooks::markdown(&tables) },
        Document { name: "options.md", text: options() },
    ])
}

/// Every option of `ebpf.conf`.
pub fn options() -> String {
    format!(
        "{}\n# Options\n\n\
         The plugin reads one `ebpf.conf`: that of the user's configuration directory, else the stock one. `conf/ebpf.conf` shows every \
         default with a comment. `ebpf.plugin --print-config` shows each value in effect and where it comes from. A line that is not \
         understood costs one warning with file and line, and the option keeps its default.\n\n{}",
        head("shared/src/config/options.rs"),
        config::markdown()
    )
}

/// First line of a generated file: from what and by which command it is made.
fn head(sources: &str) -> String {
    format!("<!-- Made from {sources} by `{COMMAND}`; do not edit. -->\n")
}

/// A line of a table. `|` would end a cell.
fn line<const N: usize>(cells: [&str; N]) -> String {
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// The first two lines of a table.
fn headings<const N: usize>(cells: [&str; N]) -> String {
    format!("{}|{}\n", line(cells), "---|".repeat(N))
}

/// Words as code, with commas between them; `-` for none.
fn code<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Both => "both",
        Mode::Return => "return",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_says_first_how_it_is_made() {
        for document in documents().unwrap() {
            let first = document.text.lines().next().unwrap();
            assert!(first.starts_with("<!-- Made from ") && first.contains(COMMAND), "{}", document.name);
            assert!(document.text.ends_with('\n'), "{}", document.name);
        }
    }

    #[test]
    fn every_line_of_a_table_has_as_many_cells_as_its_heading() {
        for document in documents().unwrap() {
            let mut cells = 0;
            for line in document.text.lines() {
                let bars = line.matches('|').count() - line.matches("\\|").count();
                if !line.starts_with('|') {
                    cells = 0;
                    continue;
                }
                assert!(cells == 0 || cells == bars, "{}: {line}", document.name);
                cells = bars;
            }
        }
    }
}
