//! What a plugin's output says: charts with metadata, dimensions and the history of their values.
//!
//! Input: lines that [`crate::protocol`] accepted. Output: totals as Netdata would show them.

use std::collections::BTreeMap;

/// Metadata of a CHART line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartLine {
    /// `type.id`.
    pub id: String,
    /// Empty when unset.
    pub name: String,
    /// Heading.
    pub title: String,
    /// For instance `calls/s`.
    pub units: String,
    /// Submenu.
    pub family: String,
    /// Groups equal charts over hosts.
    pub context: String,
    /// line, area or stacked.
    pub chart_type: String,
    /// Order on the dashboard.
    pub priority: i64,
    /// Seconds.
    pub update_every: i64,
    /// Separated by spaces.
    pub options: String,
    /// Which plugin collects it.
    pub plugin: String,
    /// Which part of the plugin collects it.
    pub module: String,
}

/// Metadata of a DIMENSION line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// Unique in the chart.
    pub id: String,
    /// Shown; the id when empty.
    pub name: String,
    /// absolute, incremental, ...
    pub algorithm: String,
    /// Shown value = value * multiplier / divisor.
    pub multiplier: i64,
    /// Never 0.
    pub divisor: i64,
    /// Hidden, and forgotten after a while, until it is announced again.
    pub obsolete: bool,
}

/// One BEGIN ... END.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Line of its BEGIN.
    pub line_number: usize,
    /// Microseconds since the block before, where they are told.
    pub microseconds: Option<u64>,
    /// Dimension id to value as sent.
    pub values: BTreeMap<String, i64>,
}

/// A chart with everything sent for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chart {
    /// Its last CHART line.
    pub line: ChartLine,
    /// In order of announcement.
    pub dimensions: Vec<Dimension>,
    /// In order.
    pub blocks: Vec<Block>,
}

impl Chart {
    /// The announced dimension `id`.
    pub fn dimension(&self, id: &str) -> Option<&Dimension> {
        self.dimensions.iter().find(|dimension| dimension.id == id)
    }

    /// All values sent for `id`, in order.
    pub fn history(&self, id: &str) -> Vec<i64> {
        self.blocks.iter().filter_map(|block| block.values.get(id).copied()).collect()
    }

    /// What Netdata shows in all for `id` after `blocks` blocks: of an incremental dimension the last value
    /// less the first (the first only sets the base), else the sum. 0 for what was never sent.
    pub fn total_after(&self, id: &str, blocks: usize) -> i64 {
        let Some(dimension) = self.dimension(id) else {
            return 0;
        };
        let sent = self.blocks.iter().take(blocks).filter_map(|block| block.values.get(id).copied());
        let values: Vec<i64> = sent.collect();
        let raw = match (dimension.algorithm.as_str(), values.first(), values.last()) {
            ("incremental", Some(first), Some(last)) => last - first,
            _ => values.iter().sum(),
        };
        raw * dimension.multiplier / dimension.divisor
    }

    /// [`Chart::total_after`] everything.
    pub fn total(&self, id: &str) -> i64 {
        self.total_after(id, self.blocks.len())
    }
}

/// Everything that a plugin printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// By `type.id`.
    pub charts: BTreeMap<String, Chart>,
    /// The plugin asked never to be started again.
    pub disabled: bool,
}

impl Output {
    /// [`Chart::total`]; 0 when there is no such chart.
    pub fn total(&self, chart: &str, dimension: &str) -> i64 {
        self.charts.get(chart).map_or(0, |chart| chart.total(dimension))
    }

    /// Incremental dimensions whose first value was not 0, of which Netdata therefore hides the first events,
    /// and incremental values that went down, which Netdata takes for a reset.
    pub fn counter_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for chart in self.charts.values() {
            for dimension in chart.dimensions.iter().filter(|dimension| dimension.algorithm == "incremental")
            {
                let history = chart.history(&dimension.id);
                let name = format!("{} {}", chart.line.id, dimension.id);
                if let Some(&first) = history.first().filter(|&&first| first != 0) {
                    faults.push(format!("{name} starts at {first}"));
                }
                if let Some(drop) = history.windows(2).find(|pair| pair[1].abs() < pair[0].abs()) {
                    faults.push(format!("{name} goes from {} down to {}", drop[0], drop[1]));
                }
            }
        }
        faults
    }
}
