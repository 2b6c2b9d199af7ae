//! Netdata's external plugin protocol on standard output (reference: docs of plugins.d; rules in `reference/plugin-protocol.md` of the design).
//!
//! One wrong line costs the whole plugin, so lines are made here only, and a value can be set only for a dimension that was announced.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::chart::{Algorithm, Chart, Dimension, Shape};

/// What the agent shows as the plugin of a chart.
const PLUGIN: &str = "ebpf.plugin";

/// Newer agents end a plugin that is silent for two minutes (`pluginsd_process` in `pluginsd_parser.c`), as one is that has no charts.
const LONGEST_SILENCE: Duration = Duration::from_secs(110);

/// Writes charts, and remembers what the agent knows of them.
#[derive(Debug)]
pub struct Protocol<W> {
    out: W,
    update_every_s: u32,
    known: HashMap<String, Known>,
    last_line: Instant,
}

#[derive(Debug, Default)]
struct Known {
    dimensions: HashMap<String, Announced>,
    last_begin: Option<Instant>,
}

/// A dimension as the agent was told of it.
#[derive(Debug)]
struct Announced {
    name: String,
    algorithm: Algorithm,
    multiplier: i32,
}

impl<W: Write> Protocol<W> {
    /// `update_every_s`: seconds between two samples, as every CHART line says.
    pub fn new(out: W, update_every_s: u32) -> Self {
        Protocol { out, update_every_s, known: HashMap::new(), last_line: Instant::now() }
    }

    /// Announces what is new in `charts`, with a first value of what it was before, then sets the values of all.
    ///
    /// The agent draws a growing counter from its second value on; so the first is a zero, or the total of a dimension that comes
    /// back, and a first burst is not lost. A dimension that is not in its chart any more is announced as obsolete.
    /// Fails when the agent has gone (EPIPE).
    pub fn publish(&mut self, charts: &[Chart]) -> io::Result<()> {
        if !charts.is_empty() {
            self.last_line = Instant::now();
        }
        for chart in charts {
            let known = self.known.entry(chart.id.clone()).or_default();
            let fresh: HashSet<&str> = chart
                .dimensions
                .iter()
                .filter(|dimension| !known.dimensions.contains_key(&dimension.id))
                .map(|dimension| dimension.id.as_str())
                .collect();
            self.announce(chart, &fresh)?;
            if !fresh.is_empty() {
                // The known ones, too: what is not set in a block counts as not collected, and draws a hole.
                self.set(chart, |dimension| {
                    if fresh.contains(dimension.id.as_str()) {
                        dimension.baseline()
                    } else {
                        dimension.printed()
                    }
                })?;
            }
            if chart.dimensions.iter().any(|dimension| dimension.value != 0) || fresh.is_empty() {
                self.set(chart, Dimension::printed)?;
            }
        }
        self.out.flush()
    }

    /// Where there has long been nothing to say, says nothing in an empty line, which every agent takes. To be called in each interval.
    pub fn keep_alive(&mut self) -> io::Result<()> {
        let until_next = Duration::from_secs(self.update_every_s.into());
        if self.last_line.elapsed() + until_next < LONGEST_SILENCE {
            return Ok(());
        }
        self.last_line = Instant::now();
        writeln!(self.out)?;
        self.out.flush()
    }

    /// CHART, and DIMENSION for those that the agent does not know, knows by another name, or has to forget.
    fn announce(&mut self, chart: &Chart, fresh: &HashSet<&str>) -> io::Result<()> {
        let known = self.known.entry(chart.id.clone()).or_default();
        let mut lines = Vec::new();
        // Only if there are more known ones than stay, is somebody gone.
        if known.dimensions.len() + fresh.len() > chart.dimensions.len() {
            let stay: HashSet<&str> =
                chart.dimensions.iter().map(|dimension| dimension.id.as_str()).collect();
            for (id, gone) in known.dimensions.extract_if(|id, _| !stay.contains(id.as_str())) {
                lines.push(dimension_line(&id, &gone, " obsolete"));
            }
        }
        for dimension in &chart.dimensions {
            let mut name = dimension.name.as_str();
            match known.dimensions.get_mut(&dimension.id) {
                Some(announced) if announced.name == name => continue,
                // The agent keeps the old name when the new one is empty.
                Some(_) if name.is_empty() => name = &dimension.id,
                Some(_) | None => {}
            }
            let (algorithm, multiplier) = (dimension.algorithm, dimension.multiplier);
            let mut announced = Announced { name: name.to_owned(), algorithm, multiplier };
            lines.push(dimension_line(&dimension.id, &announced, ""));
            announced.name.clone_from(&dimension.name);
            known.dimensions.insert(dimension.id.clone(), announced);
        }
        if lines.is_empty() {
            return Ok(());
        }
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
        lines.iter().try_for_each(|line| writeln!(self.out, "{line}"))
    }

    /// BEGIN, SET for every dimension that the agent knows, END.
    fn set(&mut self, chart: &Chart, value: impl Fn(&Dimension) -> i64) -> io::Result<()> {
        // A chart without dimensions is not announced.
        let Some(known) = self.known.get_mut(&chart.id).filter(|known| !known.dimensions.is_empty()) else {
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
        for dimension in
            chart.dimensions.iter().filter(|dimension| known.dimensions.contains_key(&dimension.id))
        {
            writeln!(self.out, "SET {} = {}", word(&dimension.id), value(dimension))?;
        }
        writeln!(self.out, "END")
    }
}

/// DIMENSION; `option` with a blank before it, or nothing.
fn dimension_line(id: &str, announced: &Announced, option: &str) -> String {
    let algorithm = match announced.algorithm {
        Algorithm::Absolute => "absolute",
        Algorithm::Incremental => "incremental",
    };
    let (id, name) = (word(id), text(&announced.name));
    format!("DIMENSION {id} '{name}' {algorithm} {} 1{option}", announced.multiplier)
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
mod tests;
