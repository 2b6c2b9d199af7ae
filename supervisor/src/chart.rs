//! Charts: what a module's table draws of its totals. Knows nothing of how charts are printed.

use std::collections::HashSet;

use shared::config::LoadMode;
use shared::table::{Chart as Heading, Table};
use shared::wire::Plan;

use crate::totals::Totals;

/// How Netdata treats the values of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// The value as it is.
    Absolute,
    /// A counter that only grows; drawn per second.
    Incremental,
}

/// How a chart is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Lines.
    Line,
    /// Areas, one on the other.
    Stacked,
}

/// A chart and its dimensions.
#[derive(Debug, Clone)]
pub struct Chart {
    /// `type.id`; the context, too.
    pub id: String,
    /// Title.
    pub title: String,
    /// Unit of all its dimensions.
    pub unit: String,
    /// Sub-menu.
    pub family: String,
    /// Drawn how.
    pub shape: Shape,
    /// Place on the dashboard.
    pub priority: u32,
    /// The module that it comes from.
    pub module: String,
    /// Its dimensions, in order.
    pub dimensions: Vec<Dimension>,
}

/// One line of a chart.
#[derive(Debug, Clone)]
pub struct Dimension {
    /// Id, unique in the chart.
    pub id: String,
    /// What people see; empty: the id.
    pub name: String,
    /// How the value is meant.
    pub algorithm: Algorithm,
    /// 1, or -1 for what is drawn below zero.
    pub multiplier: i32,
    source: Source,
    /// The newest value, in the unit of the counter.
    pub value: u64,
    /// What the value grew by in the last interval; may be below zero for differences.
    pub grown: i64,
}

/// Where a dimension's value comes from.
#[derive(Debug, Clone)]
enum Source {
    System(usize),
    /// The sum of several counters of a group.
    Group(usize, Vec<usize>),
    Difference(usize, usize),
    Missed(Loss),
    /// Not from the totals: whoever made the dimension gave it its value.
    Given,
    Canary(fn((u64, u64)) -> u64),
}

/// One kind of loss.
type Loss = fn(&shared::snapshot::Missed) -> u64;

impl Dimension {
    fn new(id: &str, name: &str, algorithm: Algorithm, source: Source) -> Self {
        Dimension {
            id: id.to_owned(),
            name: name.to_owned(),
            algorithm,
            multiplier: 1,
            source,
            value: 0,
            grown: 0,
        }
    }

    /// A counter that is kept elsewhere: it was `before` when it was drawn last (or would have been) and is `value` now.
    pub fn given(id: &str, name: &str, multiplier: i32, before: u64, value: u64) -> Self {
        let mut dimension = Dimension::new(id, name, Algorithm::Incremental, Source::Given);
        dimension.multiplier = multiplier;
        dimension.value = value;
        dimension.grown = value.wrapping_sub(before).cast_signed();
        dimension
    }

    /// Takes the newest totals.
    fn refresh(&mut self, totals: &Totals) {
        let value = match &self.source {
            Source::System(slot) => totals.system(*slot),
            Source::Group(group, slots) => {
                slots.iter().fold(0, |sum: u64, slot| sum.wrapping_add(totals.group(*group, *slot)))
            }
            Source::Missed(count) => count(&totals.missed()),
            Source::Canary(pick) => pick(totals.canary()),
            // Kept as a running total like the others, so that what it grew by is that of one interval.
            Source::Difference(of, less) => totals.system(*of).wrapping_sub(totals.system(*less)),
            Source::Given => return,
        };
        self.grown = value.wrapping_sub(self.value).cast_signed();
        self.value = value;
    }

    /// What is printed: the total of a counter, the last interval of a difference.
    pub fn printed(&self) -> i64 {
        match (self.algorithm, &self.source) {
            (Algorithm::Incremental, _) | (_, Source::Canary(_)) => self.value.cast_signed(),
            (Algorithm::Absolute, _) => self.grown,
        }
    }

    /// What is printed first when the agent does not know the dimension (any more): what it was before it grew.
    pub fn baseline(&self) -> i64 {
        match self.algorithm {
            Algorithm::Incremental => self.value.cast_signed().wrapping_sub(self.grown),
            Algorithm::Absolute => 0,
        }
    }
}

/// What a chart shows of each application group.
#[derive(Debug, Clone)]
struct OfGroups {
    /// Slots of the counters that are added up.
    slots: Vec<usize>,
    multiplier: i32,
}

/// All charts of one module.
#[derive(Debug)]
pub struct Charts {
    /// The system's charts, then the applications'.
    pub charts: Vec<Chart>,
    /// What is added up in each chart of applications, beside `charts`; `None` for a chart of the system.
    of_groups: Vec<Option<OfGroups>>,
    /// Groups that are dimensions already.
    drawn: HashSet<usize>,
}

impl Charts {
    /// The charts that the table has in this mode, without those of events that the plan could not attach.
    pub fn new(table: &Table, load_mode: LoadMode, plan: &Plan, apps: bool) -> Self {
        let mut charts = Charts { charts: Vec::new(), of_groups: Vec::new(), drawn: HashSet::new() };
        for heading in &table.charts {
            let system = system_dimensions(table, heading, load_mode, plan);
            if !system.is_empty() {
                charts.push(table, heading, Shape::Line, system, None);
            }
        }
        charts.push(table, &losses(table), Shape::Line, loss_dimensions(table), None);
        if !shared::canary::deeds(&table.module).is_empty() {
            charts.push(table, &canary(table), Shape::Line, canary_dimensions(), None);
        }
        if !apps {
            return charts;
        }
        for heading in &table.charts {
            let slots: Vec<usize> = counted(table, load_mode, plan)
                .filter(|(_, counter)| counter.apps.as_ref() == Some(&heading.id))
                .map(|(slot, _)| slot)
                .collect();
            if !slots.is_empty() {
                let of_groups = OfGroups { slots, multiplier: if heading.negative { -1 } else { 1 } };
                charts.push(table, heading, Shape::Stacked, Vec::new(), Some(of_groups));
            }
        }
        charts
    }

    fn push(
        &mut self,
        table: &Table,
        heading: &Heading,
        shape: Shape,
        dimensions: Vec<Dimension>,
        of_groups: Option<OfGroups>,
    ) {
        let unit = table.counters().find(|counter| {
            counter.chart.as_ref().is_some_and(|place| place.id == heading.id)
                || counter.apps.as_ref() == Some(&heading.id)
        });
        self.charts.push(Chart {
            id: heading.id.clone(),
            title: heading.title.clone(),
            unit: heading.unit.clone().or(unit.map(|counter| counter.unit.clone())).unwrap_or_default(),
            family: heading.family.clone(),
            shape,
            priority: heading.priority,
            module: table.module.clone(),
            dimensions,
        });
        self.of_groups.push(of_groups);
    }

    /// Takes the newest totals; `names` are the groups' names. Groups that did something for the first time become dimensions.
    pub fn refresh(&mut self, totals: &Totals, names: &[String]) {
        for group in totals.groups_seen() {
            if !self.drawn.insert(group) {
                continue;
            }
            for (chart, of_groups) in self.charts.iter_mut().zip(&self.of_groups) {
                if let Some(of_groups) = of_groups {
                    let source = Source::Group(group, of_groups.slots.clone());
                    let mut dimension = Dimension::new(&names[group], "", Algorithm::Incremental, source);
                    dimension.multiplier = of_groups.multiplier;
                    chart.dimensions.push(dimension);
                }
            }
        }
        for dimension in self.charts.iter_mut().flat_map(|chart| &mut chart.dimensions) {
            dimension.refresh(totals);
        }
    }
}

/// Counters of this mode whose event is attached, with their slots.
pub fn counted<'a>(
    table: &'a Table,
    load_mode: LoadMode,
    plan: &'a Plan,
) -> impl Iterator<Item = (usize, &'a shared::table::Counter)> {
    let of_event =
        |event: &'a shared::table::Event| event.counters.iter().map(move |counter| (event, counter));
    table.events.iter().flat_map(of_event).enumerate().filter_map(move |(slot, (event, counter))| {
        let attached =
            plan.events.iter().any(|planned| planned.event == event.name && !planned.attached.is_empty());
        (attached && counter.mode.exists_in(load_mode)).then_some((slot, counter))
    })
}

fn system_dimensions(table: &Table, heading: &Heading, load_mode: LoadMode, plan: &Plan) -> Vec<Dimension> {
    let mut dimensions: Vec<Dimension> = Vec::new();
    for (slot, counter) in counted(table, load_mode, plan) {
        let Some(place) = counter.chart.as_ref().filter(|place| place.id == heading.id) else {
            continue;
        };
        let mut dimension =
            Dimension::new(&place.dimension, &place.name, Algorithm::Incremental, Source::System(slot));
        dimension.multiplier = if place.negative { -1 } else { 1 };
        dimensions.push(dimension);
    }
    let slot_of = |name: &str| {
        counted(table, load_mode, plan).find(|(_, counter)| counter.name == name).map(|(slot, _)| slot)
    };
    for difference in &heading.differences {
        if let (Some(of), Some(less)) = (slot_of(&difference.of), slot_of(&difference.less)) {
            let source = Source::Difference(of, less);
            dimensions.push(Dimension::new(&difference.dimension, "", Algorithm::Absolute, source));
        }
    }
    dimensions
}

/// The chart of our own: what could not be counted, or not where it belongs.
fn losses(table: &Table) -> Heading {
    Heading {
        id: format!("ebpf.{}_missed", table.module),
        title: "Events that were not counted, or not where they belong".to_owned(),
        family: "Plugin".to_owned(),
        priority: 21900,
        unit: Some("events/s".to_owned()),
        negative: false,
        flows: None,
        differences: Vec::new(),
    }
}

fn loss_dimensions(table: &Table) -> Vec<Dimension> {
    let counts: [(&str, &str, Loss); 5] = [
        ("no_row", "in no application", |missed| missed.no_row),
        ("recursion", "skipped by the kernel", |missed| missed.recursion),
        ("kretprobe", "result lost", |missed| missed.kretprobe),
        ("failed_reads", "detail unreadable", |missed| missed.failed_reads),
        ("no_flow", "peer unknown", |missed| missed.no_flow),
    ];
    let exists = |(id, ..): &(&str, &str, Loss)| *id != "no_flow" || table.has_flows();
    let dimension = |(id, name, count): (&str, &str, Loss)| {
        Dimension::new(id, name, Algorithm::Incremental, Source::Missed(count))
    };
    counts.into_iter().filter(exists).map(dimension).collect()
}

/// The other chart of our own: whether a known number of operations is counted (`canary.rs`).
fn canary(table: &Table) -> Heading {
    Heading {
        id: format!("ebpf.{}_canary", table.module),
        title: "Operations of our own, done and counted".to_owned(),
        priority: 21901,
        unit: Some("operations".to_owned()),
        ..losses(table)
    }
}

fn canary_dimensions() -> Vec<Dimension> {
    vec![
        Dimension::new("done", "", Algorithm::Absolute, Source::Canary(|(done, _)| done)),
        Dimension::new("counted", "", Algorithm::Absolute, Source::Canary(|(_, counted)| counted)),
    ]
}

#[cfg(test)]
mod tests;
