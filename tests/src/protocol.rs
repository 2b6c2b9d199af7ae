//! A strict parser of the plugin's output.
//!
//! Task: accept only what Netdata 1.26 and 1.37 read without a complaint and without repair. Stricter than
//! they are: no default is left to the agent (context, plugin and module are filled in), ids need no cleaning,
//! values are numbers, a chart keeps its metadata. Input: bytes of stdout. Output: [`Output`], every chart with
//! its history. Leaves the meaning of the numbers to the tests.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::fields::{chart_line, dimension_line, number};
use crate::model::{Block, Chart, ChartLine, Dimension, Output};
use crate::words::{SplitError, split};

/// A rule that a line breaks.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line_number}: {rule}: `{line}`")]
pub struct Violation {
    /// From 1.
    pub line_number: usize,
    /// The whole line, made printable.
    pub line: String,
    /// What is wrong.
    pub rule: String,
}

/// The parser's state: what is known, and which block is open.
#[derive(Debug, Default)]
pub struct Parser {
    output: Output,
    line_number: usize,
    /// Chart of the last CHART line and the dimensions announced since, until another command comes.
    announcing: Option<(String, Vec<String>)>,
    open: Option<(String, Block)>,
}

/// Parses a whole output; the last line must be complete and every block ended.
pub fn parse(text: &[u8]) -> Result<Output, Violation> {
    let mut parser = Parser::default();
    let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    let rest = lines.pop().unwrap_or_default();
    for line in lines {
        parser.line(line)?;
    }
    if !rest.is_empty() {
        parser.line_number += 1;
        return Err(parser.violation(rest, "last line has no end"));
    }
    parser.finish()
}

impl Parser {
    /// What was understood so far.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Whether a BEGIN waits for its END.
    pub fn in_block(&self) -> bool {
        self.open.is_some()
    }

    /// Takes one line without its line end.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Violation> {
        self.line_number += 1;
        let words = split(line).map_err(|error: SplitError| self.violation(line, &error.to_string()))?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.command(&words).map_err(|rule| self.violation(line, &rule))
    }

    /// Ends the text. Fails inside a block.
    pub fn finish(self) -> Result<Output, Violation> {
        if self.open.is_some() {
            return Err(self.violation(b"", "the output ends between BEGIN and END"));
        }
        Ok(self.output)
    }

    fn violation(&self, line: &[u8], rule: &str) -> Violation {
        let line = String::from_utf8_lossy(line).escape_debug().to_string();
        Violation { line_number: self.line_number, line, rule: rule.to_owned() }
    }

    fn command(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            // Says that the plugin lives (`reference/agent.md` of the design: agents take it).
            [] if self.open.is_none() => Ok(()),
            [] => Err("empty line inside a block".to_owned()),
            ["CHART", fields @ ..] => self.chart(fields),
            ["DIMENSION", fields @ ..] => self.dimension(fields),
            ["BEGIN", fields @ ..] => self.begin(fields),
            ["SET", fields @ ..] => self.set(fields),
            ["END"] => self.end(),
            ["DISABLE"] => {
                self.output.disabled = true;
                Ok(())
            }
            ["END" | "DISABLE", ..] => Err("takes no words".to_owned()),
            [other, ..] => Err(format!("unknown command {other}")),
        }
    }

    fn chart(&mut self, fields: &[&str]) -> Result<(), String> {
        if self.open.is_some() {
            return Err("CHART inside a block".to_owned());
        }
        let line = chart_line(fields)?;
        let id = line.id.clone();
        match self.output.charts.get_mut(&id) {
            Some(known)
                if (ChartLine { options: known.line.options.clone(), ..line.clone() }) != known.line =>
            {
                return Err(format!("chart changes its metadata, was {:?}", known.line));
            }
            Some(known) => known.line = line,
            None => {
                let chart = Chart { line, dimensions: Vec::new(), blocks: Vec::new() };
                self.output.charts.insert(id.clone(), chart);
            }
        }
        self.announcing = Some((id, Vec::new()));
        Ok(())
    }

    fn dimension(&mut self, fields: &[&str]) -> Result<(), String> {
        let Some((chart_id, announced)) = &mut self.announcing else {
            return Err("DIMENSION without a CHART right before".to_owned());
        };
        let dimension = dimension_line(fields)?;
        if announced.contains(&dimension.id) {
            return Err(format!("dimension `{}` twice in one announcement", dimension.id));
        }
        announced.push(dimension.id.clone());
        let Some(chart) = self.output.charts.get_mut(chart_id) else {
            return Err("chart not known".to_owned());
        };
        match chart.dimensions.iter_mut().find(|known| known.id == dimension.id) {
            Some(known) => {
                // What may change: the name, as of a peer that is resolved, and whether it is there.
                let (name, obsolete) = (known.name.clone(), known.obsolete);
                if (Dimension { name, obsolete, ..dimension.clone() }) != *known {
                    return Err(format!("dimension changes, was {known:?}"));
                }
                *known = dimension;
                Ok(())
            }
            None => {
                chart.dimensions.push(dimension);
                Ok(())
            }
        }
    }

    fn begin(&mut self, fields: &[&str]) -> Result<(), String> {
        self.announcing = None;
        if let Some((open, _)) = &self.open {
            return Err(format!("BEGIN while the block of {open} is open"));
        }
        let (id, since_us) = match fields {
            [id] => (*id, 0),
            [id, since_us] => (*id, number(since_us, "microseconds")?),
            _ => return Err("BEGIN takes a chart and microseconds".to_owned()),
        };
        let chart = self.output.charts.get(id).ok_or_else(|| format!("BEGIN of unknown chart {id}"))?;
        if chart.dimensions.is_empty() {
            return Err(format!("chart {id} has no dimension"));
        }
        if since_us < 0 || (since_us > 0 && chart.blocks.is_empty()) {
            return Err("microseconds below 0, or before there was an update".to_owned());
        }
        let microseconds = Some(since_us.cast_unsigned()).filter(|&passed| passed > 0);
        let block = Block { line_number: self.line_number, microseconds, values: BTreeMap::new() };
        self.open = Some((id.to_owned(), block));
        Ok(())
    }

    fn set(&mut self, fields: &[&str]) -> Result<(), String> {
        let Some((chart_id, block)) = &mut self.open else {
            return Err("SET outside a block".to_owned());
        };
        let [id, value] = fields else {
            return Err("SET takes a dimension and a value".to_owned());
        };
        let chart = self.output.charts.get(chart_id).ok_or("chart not known")?;
        match chart.dimension(id) {
            None => return Err(format!("SET of unknown dimension `{id}`")),
            Some(known) if known.obsolete => return Err(format!("SET of obsolete dimension `{id}`")),
            Some(_) => {}
        }
        match block.values.insert((*id).to_owned(), number(value, "value")?) {
            Some(_) => Err(format!("dimension `{id}` set twice in one block")),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        let (chart_id, block) = self.open.take().ok_or("END without BEGIN")?;
        if block.values.is_empty() {
            return Err(format!("block of {chart_id} without a value"));
        }
        let chart = self.output.charts.get_mut(&chart_id).ok_or("chart not known")?;
        chart.blocks.push(block);
        Ok(())
    }
}
