//! Netdata's external plugin protocol on standard output (reference: docs of plugins.d; rules in `reference/plugin-protocol.md` of the design).
//!
//! One wrong line costs the whole plugin, so lines are made here only, and a value can be set only for a dimension that was announced.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::time::Instant;

use crate::chart::{Algorithm, Chart, Dimension, Shape};

/// What the agent shows as the plugin of a chart.
const PLUGIN: &str = "ebpf.plugin";

/// Writes charts, and remembers what the agent knows of them.
#[derive(Debug)]
pub struct Protocol<W> {
    out: W,
    update_every_s: u32,
    known: HashMap<String, Known>,
}

#[derive(Debug, Default)]
struct Known {
    dimensions: HashSet<String>,
    last_begin: Option<Instant>,
}

impl<W: Write> Protocol<W> {
    /// `update_every_s`: seconds between two samples, as every CHART line says.
    pub fn new(out: W, update_every_s: u32) -> Self {
        Protocol { out, update_every_s, known: HashMap::new() }
    }

    /// Announces what is new in `charts`, with a first value of zero, then sets the values of all.
    ///
    /// The agent draws a growing counter from its second value on; so the first is a zero, and a first burst is not lost.
    /// Fails when the agent has gone (EPIPE).
    pub fn publish(&mut self, charts: &[Chart]) -> io::Result<()> {
        for chart in charts {
            let fresh: Vec<&Dimension> =
                chart.dimensions.iter().filter(|dimension| !self.knows(chart, dimension)).collect();
            if !fresh.is_empty() {
                self.announce(chart, &fresh)?;
                // The known ones, too: what is not set in a block counts as not collected, and draws a hole.
                let is_fresh = |dimension: &Dimension| fresh.iter().any(|known| known.id == dimension.id);
                self.set(chart, |dimension| if is_fresh(dimension) { 0 } else { dimension.printed() })?;
            }
            if chart.dimensions.iter().any(|dimension| dimension.value != 0) || fresh.is_empty() {
                self.set(chart, Dimension::printed)?;
            }
        }
        self.out.flush()
    }

    fn knows(&self, chart: &Chart, dimension: &Dimension) -> bool {
        self.known.get(&chart.id).is_some_and(|known| known.dimensions.contains(&dimension.id))
    }

    /// CHART, and DIMENSION for those that the agent does not know.
    fn announce(&mut self, chart: &Chart, fresh: &[&Dimension]) -> io::Result<()> {
        let shape = match chart.shape {
            Shape::Line => "line",
            Shape::Stacked => "stacked",
        };
        let id = word(&chart.id);
        writeln!(
            self.out,
            "CHART {id} '' '{}' '{}' '{}' '{id}' {shape} {} {} '' '{PLUGIN}' '{}'",
            text(&chart.title),
            text(&chart.unit),
            text(&chart.family),
            chart.priority,
            self.update_every_s,
            text(&chart.module),
        )?;
        let known = self.known.entry(chart.id.clone()).or_default();
        for dimension in fresh {
            let algorithm = match dimension.algorithm {
                Algorithm::Absolute => "absolute",
                Algorithm::Incremental => "incremental",
            };
            let (id, name) = (word(&dimension.id), text(&dimension.name));
            writeln!(self.out, "DIMENSION {id} '{name}' {algorithm} {} 1", dimension.multiplier)?;
            known.dimensions.insert(dimension.id.clone());
        }
        Ok(())
    }

    /// BEGIN, SET for every dimension that the agent knows, END.
    fn set(&mut self, chart: &Chart, value: impl Fn(&Dimension) -> i64) -> io::Result<()> {
        let Some(known) = self.known.get_mut(&chart.id) else {
            return Ok(());
        };
        let now = Instant::now();
        match known.last_begin.replace(now) {
            None => writeln!(self.out, "BEGIN {}", word(&chart.id))?,
            // Zero microseconds would mean "not known".
            Some(last) => writeln!(
                self.out,
                "BEGIN {} {}",
                word(&chart.id),
                now.duration_since(last).as_micros().max(1)
            )?,
        }
        for dimension in chart.dimensions.iter().filter(|dimension| known.dimensions.contains(&dimension.id))
        {
            writeln!(self.out, "SET {} = {}", word(&dimension.id), value(dimension))?;
        }
        writeln!(self.out, "END")
    }
}

/// An id: what would end the word, or mean something else, becomes an underscore.
fn word(id: &str) -> String {
    id.replace(|c: char| c.is_whitespace() || c.is_control() || "'\"=\\".contains(c), "_")
}

/// Text between single quotes.
fn text(text: &str) -> String {
    text.replace('\'', "`").replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_cannot_leave_their_word() {
        assert_eq!(word("a b='c\n"), "a_b__c_");
        assert_eq!(text("it's\na"), "it`s a");
    }
}
