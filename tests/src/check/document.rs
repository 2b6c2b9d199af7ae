//! Results as lines between programs, and as `docs/check.md`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// What came of one set-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The kernel, perhaps with how it is locked down.
    pub kernel: String,
    /// The set-up.
    pub setup: String,
    /// Exit code of `--check`.
    pub code: i32,
    /// What it says of each program.
    pub programs: String,
    /// Charts that it says will be there.
    pub charts: usize,
    /// Where the plugin did something else; empty when nowhere.
    pub wrong: String,
}

/// Tabs between the words; there are none in them.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [&self.kernel, &self.setup, &self.programs, &self.wrong]
            .map(|word| word.replace(['\t', '\n'], " "));
        let [kernel, setup, programs, wrong] = words;
        write!(f, "{kernel}\t{setup}\t{}\t{programs}\t{}\t{wrong}", self.code, self.charts)
    }
}

impl FromStr for Line {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Line> {
        let words: Vec<&str> = text.trim_end_matches(['\r', '\n']).split('\t').collect();
        let [kernel, setup, code, programs, charts, wrong] = words.as_slice() else {
            bail!("`{text}` has {} words between tabs instead of 6", words.len());
        };
        Ok(Line {
            kernel: (*kernel).to_owned(),
            setup: (*setup).to_owned(),
            code: code.parse().context("no exit code")?,
            programs: (*programs).to_owned(),
            charts: charts.parse().context("no number of charts")?,
            wrong: (*wrong).to_owned(),
        })
    }
}

/// All results in a program's output, whose other lines carry no tab.
pub fn parse_lines(text: &str) -> Result<Vec<Line>> {
    text.lines().filter(|line| line.contains('\t')).map(str::parse).collect()
}

impl Line {
    /// Its row of the document.
    pub fn row(&self) -> String {
        let agrees = if self.wrong.is_empty() { "yes".to_owned() } else { format!("**NO**: {}", self.wrong) };
        let programs = self.programs.replace("; ", "<br>");
        format!("| {} | {} | {programs} | {} | {agrees} |", self.setup, self.code, self.charts)
    }
}

const HEAD: &str = "\
# What `--check` says, and what the plugin then does

Made by `tools/check-table`; the tests compare a part of it. Do not edit.

Each line is one set-up on one kernel: first `supervisor --check --json`, then the plugin in the same set-up. `as told`: each
chart that `--check` says there will be was announced by the plugin with exactly those dimensions, and no other of the tables'
charts was. The mode is `return`, so that every chart is asked for. The guests are virtual machines with one CPU, without
mounts of tracefs and debugfs unless said. Forecasts are made on the machine that made this document, from each kernel's
symbols, BTF, configuration and list of traceable functions, and held against what `--check --hooks` found on that kernel.
";

/// The document.
pub fn render(lines: &[Line]) -> String {
    let mut text = HEAD.to_owned();
    let mut kernel = "";
    for line in lines {
        if line.kernel != kernel {
            kernel = &line.kernel;
            text += &format!(
                "\n## {kernel}\n\n| set-up | exit code | what it says | charts | as told |\n|---|---|---|---|---|\n"
            );
        }
        text += &(line.row() + "\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let line = Line {
            kernel: "6.1 lockdown=integrity".to_owned(),
            setup: "root".to_owned(),
            code: 10,
            programs: "process: all (rows: fexit); network viewer: cannot run".to_owned(),
            charts: 25,
            wrong: String::new(),
        };
        assert_eq!(parse_lines(&format!("vm: noise\n{line}\r\n")).unwrap(), [line]);
        assert!("a\tb".parse::<Line>().is_err());
    }
}
