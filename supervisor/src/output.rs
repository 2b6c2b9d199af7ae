//! The three ways to look at charts: the agent's protocol, a terminal that refreshes, and one interval for people or programs.

use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize;

use crate::chart::{Algorithm, Chart};
use crate::protocol::Protocol;
use crate::supervise::Output;

impl<W: Write> Output for Protocol<W> {
    fn publish(&mut self, charts: &[Chart]) -> io::Result<()> {
        Protocol::publish(self, charts)
    }
}

/// A person's terminal: the charts of the system and the busiest applications, refreshed at every interval.
#[derive(Debug)]
pub struct Terminal<W> {
    out: W,
    rows: Vec<String>,
    last: Instant,
}

impl<W: Write> Terminal<W> {
    /// Draws on `out`.
    pub fn new(out: W) -> Self {
        Terminal { out, rows: Vec::new(), last: Instant::now() }
    }
}

/// Clears the screen and goes to its first corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

impl<W: Write> Output for Terminal<W> {
    fn publish(&mut self, charts: &[Chart]) -> io::Result<()> {
        let seconds = self.last.elapsed().as_secs_f64().max(0.001);
        self.rows.extend(charts.iter().map(|chart| row_of(chart, seconds)));
        Ok(())
    }

    fn end_of_interval(&mut self) -> io::Result<()> {
        self.last = Instant::now();
        writeln!(
            self.out,
            "{CLEAR}{:<26} {:<12} values of the last interval, per second (total)\n",
            "CHART", "UNIT"
        )?;
        for row in self.rows.drain(..) {
            writeln!(self.out, "{row}")?;
        }
        writeln!(self.out, "\nCtrl-C ends.")?;
        self.out.flush()
    }
}

/// Dimensions of one line; a chart of many applications shows its busiest.
const SHOWN: usize = 6;

fn row_of(chart: &Chart, seconds: f64) -> String {
    let mut dimensions: Vec<_> = chart.dimensions.iter().collect();
    if dimensions.len() > SHOWN {
        dimensions.sort_by_key(|dimension| std::cmp::Reverse(dimension.grown));
    }
    let words: Vec<String> = dimensions
        .iter()
        .take(SHOWN)
        .map(|dimension| {
            let name = if dimension.name.is_empty() { &dimension.id } else { &dimension.name };
            match dimension.algorithm {
                Algorithm::Absolute => format!("{name} {}", dimension.grown),
                Algorithm::Incremental => {
                    format!(
                        "{name} {} ({})",
                        short(dimension.grown as f64 / seconds),
                        short(dimension.value as f64)
                    )
                }
            }
        })
        .collect();
    format!("{:<26} {:<12} {}", chart.id, chart.unit, words.join("   "))
}

/// Four digits and a letter.
fn short(value: f64) -> String {
    const STEPS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")];
    let step = STEPS.iter().find(|(size, _)| value >= *size);
    match step {
        Some((size, "k")) => format!("{:.1}k", value / size * 10.0),
        Some((size, letter)) => format!("{:.2}{letter}", value / size),
        None => format!("{value:.0}"),
    }
}

/// One interval, printed when it is over.
#[derive(Debug)]
pub struct Once<W> {
    out: W,
    json: bool,
    charts: Vec<Chart>,
}

impl<W: Write> Once<W> {
    /// Prints on `out`, as JSON or as text.
    pub fn new(out: W, json: bool) -> Self {
        Once { out, json, charts: Vec::new() }
    }
}

#[derive(Serialize)]
struct ChartOfInterval<'a> {
    id: &'a str,
    title: &'a str,
    unit: &'a str,
    dimensions: Vec<DimensionOfInterval<'a>>,
}

#[derive(Serialize)]
struct DimensionOfInterval<'a> {
    id: &'a str,
    name: &'a str,
    value: i64,
}

impl<W: Write> Output for Once<W> {
    fn publish(&mut self, charts: &[Chart]) -> io::Result<()> {
        for chart in charts {
            self.charts.retain(|known| known.id != chart.id);
            self.charts.push(chart.clone());
        }
        Ok(())
    }

    fn end_of_interval(&mut self) -> io::Result<()> {
        if !self.json {
            for chart in &self.charts {
                writeln!(self.out, "{}", row_of(chart, 1.0))?;
            }
            return self.out.flush();
        }
        let charts: Vec<ChartOfInterval<'_>> = self.charts.iter().map(of_interval).collect();
        serde_json::to_writer_pretty(&mut self.out, &charts)?;
        writeln!(self.out)?;
        self.out.flush()
    }
}

fn of_interval(chart: &Chart) -> ChartOfInterval<'_> {
    let dimensions = chart.dimensions.iter().map(|dimension| DimensionOfInterval {
        id: &dimension.id,
        name: if dimension.name.is_empty() { &dimension.id } else { &dimension.name },
        value: dimension.grown,
    });
    ChartOfInterval {
        id: &chart.id,
        title: &chart.title,
        unit: &chart.unit,
        dimensions: dimensions.collect(),
    }
}
