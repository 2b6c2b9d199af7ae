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

    fn end_of_interval(&mut self) -> io::Result<()> {
        self.keep_alive()
    }
}

/// The newest charts, and over what time they grew.
#[derive(Debug, Default)]
struct Board(Vec<Shown>);

#[derive(Debug)]
struct Shown {
    chart: Chart,
    at: Instant,
    seconds: f64,
}

impl Board {
    fn publish(&mut self, charts: &[Chart]) {
        let now = Instant::now();
        for chart in charts {
            match self.0.iter_mut().find(|shown| shown.chart.id == chart.id) {
                Some(shown) => {
                    let seconds = (now - shown.at).as_secs_f64().max(0.001);
                    *shown = Shown { chart: chart.clone(), at: now, seconds };
                }
                None => self.0.push(Shown { chart: chart.clone(), at: now, seconds: 1.0 }),
            }
        }
    }
}

/// A person's terminal: the charts of the system and the busiest applications, refreshed at every interval.
#[derive(Debug)]
pub struct Terminal<W> {
    out: W,
    board: Board,
}

impl<W: Write> Terminal<W> {
    /// Draws on `out`.
    pub fn new(out: W) -> Self {
        Terminal { out, board: Board::default() }
    }
}

/// Clears the screen and goes to its first corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

impl<W: Write> Output for Terminal<W> {
    fn publish(&mut self, charts: &[Chart]) -> io::Result<()> {
        self.board.publish(charts);
        Ok(())
    }

    fn end_of_interval(&mut self) -> io::Result<()> {
        writeln!(
            self.out,
            "{CLEAR}{:<26} {:<12} values of the last interval, per second (total)\n",
            "CHART", "UNIT"
        )?;
        for shown in &self.board.0 {
            writeln!(self.out, "{}", row_of(&shown.chart, shown.seconds))?;
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
            let name = short_name(if dimension.name.is_empty() { &dimension.id } else { &dimension.name });
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

/// Names of peers may be longer than a terminal is wide; both ends tell most.
fn short_name(name: &str) -> String {
    const ENDS: (usize, usize) = (28, 15);
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= ENDS.0 + 1 + ENDS.1 {
        return name.to_owned();
    }
    let (begin, end) = (&letters[..ENDS.0], &letters[letters.len() - ENDS.1..]);
    begin.iter().chain(['…'].iter()).chain(end).collect()
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

/// One whole interval, printed when it is over.
#[derive(Debug)]
pub struct Once<W> {
    out: W,
    json: bool,
    board: Board,
    intervals: u32,
}

impl<W: Write> Once<W> {
    /// Prints on `out`, as JSON or as text.
    pub fn new(out: W, json: bool) -> Self {
        Once { out, json, board: Board::default(), intervals: 0 }
    }
}

#[derive(Serialize)]
struct ChartOfInterval<'a> {
    id: &'a str,
    title: &'a str,
    unit: &'a str,
    /// Length of the interval.
    seconds: f64,
    dimensions: Vec<DimensionOfInterval<'a>>,
}

#[derive(Serialize)]
struct DimensionOfInterval<'a> {
    id: &'a str,
    name: &'a str,
    /// What the counter grew by in the interval; for differences the difference.
    grown: i64,
    /// The counter since the start.
    total: i64,
}

impl<W: Write> Output for Once<W> {
    fn publish(&mut self, charts: &[Chart]) -> io::Result<()> {
        self.board.publish(charts);
        Ok(())
    }

    fn end_of_interval(&mut self) -> io::Result<()> {
        self.intervals += 1;
        if self.intervals < WHOLE_INTERVAL {
            return Ok(());
        }
        if !self.json {
            for shown in &self.board.0 {
                writeln!(self.out, "{}", row_of(&shown.chart, shown.seconds))?;
            }
            return self.out.flush();
        }
        let charts: Vec<ChartOfInterval<'_>> = self.board.0.iter().map(of_interval).collect();
        serde_json::to_writer_pretty(&mut self.out, &charts)?;
        writeln!(self.out)?;
        self.out.flush()
    }
}

/// The first interval has begun before the workers were ready; the second is whole.
pub const WHOLE_INTERVAL: u32 = 2;

fn of_interval(shown: &Shown) -> ChartOfInterval<'_> {
    let chart = &shown.chart;
    let dimensions = chart.dimensions.iter().map(|dimension| DimensionOfInterval {
        id: &dimension.id,
        name: if dimension.name.is_empty() { &dimension.id } else { &dimension.name },
        grown: dimension.grown,
        total: dimension.value.cast_signed(),
    });
    ChartOfInterval {
        id: &chart.id,
        title: &chart.title,
        unit: &chart.unit,
        seconds: shown.seconds,
        dimensions: dimensions.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Dimension, Shape};

    #[test]
    fn a_chart_of_many_peers_shows_the_busiest_and_cuts_long_names() {
        let peer = |number: u64| Dimension::given(&format!("{number}:TCP_sent"), "", -1, 0, number * 1000);
        let mut dimensions: Vec<Dimension> = (1..50).map(peer).collect();
        dimensions.push(Dimension::given(
            "x",
            &format!("https:TCP:{}_sent", "host.".repeat(50)),
            -1,
            0,
            1 << 40,
        ));
        let chart = Chart {
            id: "ebpf.outbound_bytes".to_owned(),
            title: String::new(),
            unit: "bytes/s".to_owned(),
            family: String::new(),
            shape: Shape::Stacked,
            priority: 1,
            module: String::new(),
            dimensions,
        };
        let row = row_of(&chart, 1.0);
        assert!(
            row.contains("https:TCP:host.host.host.hos…host.host._sent 1.10T (1.10T)   49:TCP_sent"),
            "{row}"
        );
        assert!(row.contains("45:TCP_sent") && !row.contains("44:TCP_sent"), "{row}");
    }
}
