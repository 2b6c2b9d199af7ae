//! The modules' tables: what is counted, where the kernel is hooked for it, and where it is drawn.
//!
//! In: the embedded `probe-objects/<module>/module.toml` and a user's `ebpf.d/<module>.toml`. Out: typed rows. The attach plan, the
//! charts and the reference are made from them elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::LoadMode;
use crate::snapshot::Direction;

/// Names of the modules, as their workers, folders and tables are called.
pub const MODULES: &[&str] = &["process", "network_viewer"];

/// What is wrong with a table or with a user's replacement of hooks.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// There is no such module.
    #[error("there is no module `{0}`")]
    UnknownModule(String),
    /// Not TOML, or not of the table's shape.
    #[error("cannot understand the table: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A user's file names an event that the module does not have.
    #[error("module `{module}` has no event `{event}`; its events are {known}")]
    UnknownEvent {
        /// The module.
        module: String,
        /// The name in the file.
        event: String,
        /// The names that it has.
        known: String,
    },
    /// The table contradicts itself.
    #[error("the table of `{module}` is wrong: {problem}")]
    Inconsistent {
        /// The module.
        module: String,
        /// What is wrong.
        problem: String,
    },
}

/// One module's table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Name of the module and of its chart's `module` field.
    pub module: String,
    /// The worker's argument.
    pub worker: String,
    /// The option under `[ebpf programs]` that switches it.
    pub option: String,
    /// Functions and tracepoints whose one program counts several events; it is told which.
    #[serde(default)]
    pub shared: Vec<String>,
    /// What is counted, in the order of the kernel's slots.
    #[serde(rename = "event")]
    pub events: Vec<Event>,
    /// The charts that the counters name.
    #[serde(rename = "chart", default)]
    pub charts: Vec<Chart>,
}

/// One thing that tasks do, seen by one hook.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Name, unique in the module.
    pub name: String,
    /// The definition: the one thing that is counted.
    pub means: String,
    /// The system calls that are this event, where it is one.
    #[serde(default)]
    pub system_calls: Vec<String>,
    /// Candidates, best first.
    pub hooks: Vec<Hook>,
    /// Only in this mode.
    #[serde(default)]
    pub mode: Mode,
    /// Only where groups are told by command lines.
    #[serde(default)]
    pub command_lines: bool,
    /// Only where traffic is counted by peer.
    #[serde(default)]
    pub flows: bool,
    /// Only in objects without BTF.
    #[serde(default)]
    pub legacy: bool,
    /// Only in objects with BTF.
    #[serde(default)]
    pub typed: bool,
    /// What is added up; may be empty for a hook that only tells who is who.
    #[serde(rename = "counter", default)]
    pub counters: Vec<Counter>,
}

/// In which load mode something exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In `entry` and in `return`.
    #[default]
    Both,
    /// In `return` only.
    Return,
}

impl Mode {
    /// Whether something of this mode exists when the programs are loaded in `load_mode`.
    pub fn exists_in(self, load_mode: LoadMode) -> bool {
        self == Mode::Both || load_mode == LoadMode::Return
    }
}

/// One candidate: every attachment that it names is made, or none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Kernel functions for fentry or fexit.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub function: Names,
    /// A tracepoint typed by BTF.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub tp_btf: Names,
    /// A raw tracepoint, without types.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub raw_tp: Names,
    /// A tracepoint through perf, `group/name`.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub tracepoint: Names,
    /// Kernel functions for kprobe and kretprobe.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub kprobe: Names,
    /// The kernel runs its programs with preemption off, so none is skipped because a task was preempted inside it. First choice on kernels
    /// where a trial shows that programs are preempted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpreemptible: bool,
    /// What a kernel must have for it, if that is not what the newest objects need. Told where other objects lack its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
}

impl Hook {
    /// What a kernel must have so that objects with a program for it can be used.
    pub fn needs(&self) -> &str {
        self.needs
            .as_deref()
            .unwrap_or("BTF and compare-and-swap, so Linux 5.12 and no `ebpf type format = legacy`")
    }
}

/// One name, or several: kernels call the same thing differently, so all that exist are used, and one is enough.
///
/// `system_calls` stands for the kernel's functions of all system calls of the event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "OneOrMany", into = "Vec<String>")]
pub struct Names(pub Vec<String>);

impl Names {
    /// Whether no name is given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Names {
    fn from(names: OneOrMany) -> Self {
        match names {
            OneOrMany::One(name) => Names(vec![name]),
            OneOrMany::Many(names) => Names(names),
        }
    }
}

impl From<Names> for Vec<String> {
    fn from(names: Names) -> Self {
        names.0
    }
}

/// One number kept for each process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// Name, unique in the module; its slot in the kernel is its place in the file.
    pub name: String,
    /// What of the event is added up: `calls`, `errors`, `bytes`, `processes`, `threads`.
    pub value: String,
    /// Unit of the charts.
    pub unit: String,
    /// What the number is.
    pub means: String,
    /// Only in this mode.
    #[serde(default)]
    pub mode: Mode,
    /// Its dimension in a chart of the system.
    pub chart: Option<DimensionOf>,
    /// The chart with a dimension for each application group.
    pub apps: Option<String>,
}

/// A counter's place in a chart.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DimensionOf {
    /// The chart.
    pub id: String,
    /// The dimension's id.
    pub dimension: String,
    /// The dimension's name, as people see it.
    pub name: String,
    /// Drawn below zero.
    #[serde(default)]
    pub negative: bool,
}

/// What a chart is called.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// `type.id`.
    pub id: String,
    /// Title.
    pub title: String,
    /// Sub-menu.
    pub family: String,
    /// Place on the dashboard; smaller is higher.
    pub priority: u32,
    /// Unit, where no counter gives it.
    pub unit: Option<String>,
    /// A chart of applications that is drawn below zero.
    #[serde(default)]
    pub negative: bool,
    /// Dimensions are peers or ports.
    pub flows: Option<FlowsOf>,
    /// Dimensions that are the difference of two counters in the last interval.
    #[serde(default)]
    pub differences: Vec<Difference>,
}

/// Which traffic a chart of peers or ports shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowsOf {
    /// Peers for outbound, ports of this host for inbound.
    pub direction: Direction,
    /// What of it.
    pub value: FlowValue,
}

/// What of a flow is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowValue {
    /// Bytes sent and received.
    Bytes,
    /// Packets sent and received.
    Packets,
    /// Segments sent once more.
    Retransmits,
}

/// A dimension made of two counters: `of` − `less`, of one interval.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The dimension's id.
    pub dimension: String,
    /// A counter.
    pub of: String,
    /// The counter that is taken away from it.
    pub less: String,
}

/// What a user's `ebpf.d/<module>.toml` may say: for each event, the hooks to use instead.
#[derive(Debug, Default, Deserialize)]
struct Overrides {
    #[serde(flatten)]
    events: BTreeMap<String, EventOverride>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventOverride {
    hooks: Vec<Hook>,
}

impl Table {
    /// The embedded table of a module.
    ///
    /// Fails when there is no such module; that the tables are sound is a test of theirs.
    pub fn of(module: &str) -> Result<Table, TableError> {
        let text = match module {
            "process" => include_str!("../../probe-objects/process/module.toml"),
            "network_viewer" => include_str!("../../probe-objects/network_viewer/module.toml"),
            _ => return Err(TableError::UnknownModule(module.to_owned())),
        };
        let table: Table = toml::from_str(text)?;
        table.check()?;
        Ok(table)
    }

    /// The embedded table of the module whose worker is called `worker`; fails when there is none.
    pub fn of_worker(worker: &str) -> Result<Table, TableError> {
        for module in MODULES {
            let table = Table::of(module)?;
            if table.worker == worker {
                return Ok(table);
            }
        }
        Err(TableError::UnknownModule(worker.to_owned()))
    }

    /// Replaces hooks by those of a user's `ebpf.d/<module>.toml`: `EVENT.hooks = [ … ]`, candidates as in the table.
    ///
    /// Fails, and changes nothing, when the text is not of that shape or names an event that the module lacks.
    pub fn replace_hooks(&mut self, text: &str) -> Result<(), TableError> {
        let overrides: Overrides = toml::from_str(text)?;
        for event in overrides.events.keys() {
            if !self.events.iter().any(|known| known.name == *event) {
                return Err(TableError::UnknownEvent {
                    module: self.module.clone(),
                    event: event.clone(),
                    known: self.events.iter().map(|event| event.name.as_str()).collect::<Vec<_>>().join(", "),
                });
            }
        }
        for (name, replacement) in overrides.events {
            for event in self.events.iter_mut().filter(|event| event.name == name) {
                event.hooks = replacement.hooks.clone();
            }
        }
        Ok(())
    }

    /// All counters, in slot order.
    pub fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.events.iter().flat_map(|event| &event.counters)
    }

    /// Whether the module counts traffic by peer and by port.
    pub fn has_flows(&self) -> bool {
        self.charts.iter().any(|chart| chart.flows.is_some())
    }

    /// The slot of a counter: its place among all counters of the file.
    pub fn slot(&self, counter: &str) -> Option<usize> {
        self.counters().position(|known| known.name == counter)
    }

    /// Refuses a table that contradicts itself.
    fn check(&self) -> Result<(), TableError> {
        let fail = |problem: String| Err(TableError::Inconsistent { module: self.module.clone(), problem });
        let mut names = BTreeSet::new();
        let mut dimensions = BTreeSet::new();
        let mut units: BTreeMap<&str, &str> = BTreeMap::new();
        for counter in self.counters() {
            if !names.insert(&counter.name) {
                return fail(format!("counter `{}` is there twice", counter.name));
            }
            let system = counter.chart.as_ref().map(|place| place.id.as_str());
            for chart in system.into_iter().chain(counter.apps.as_deref()) {
                if !self.charts.iter().any(|known| known.id == chart) {
                    return fail(format!(
                        "counter `{}` names the chart `{chart}`, which is not described",
                        counter.name
                    ));
                }
                if *units.entry(chart).or_insert(&counter.unit) != counter.unit {
                    return fail(format!("chart `{chart}` has two units"));
                }
            }
            if let Some(place) = &counter.chart
                && !dimensions.insert((&place.id, &place.dimension))
            {
                return fail(format!("dimension `{}` is twice in `{}`", place.dimension, place.id));
            }
        }
        for difference in self.charts.iter().flat_map(|chart| &chart.differences) {
            for counter in [&difference.of, &difference.less] {
                if self.slot(counter).is_none() {
                    return fail(format!("a difference names the counter `{counter}`, which does not exist"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_table_is_sound() {
        for module in MODULES {
            let table = Table::of(module).unwrap();
            assert_eq!(table.module, *module);
            assert!(table.counters().count() > 0);
            for event in &table.events {
                assert!(!event.hooks.is_empty(), "{} has no hook", event.name);
            }
        }
    }

    #[test]
    fn a_repeated_dimension_and_a_second_unit_are_refused() {
        let good = Table::of("process").unwrap();
        let mut twice = good.clone();
        let again = twice.events[0].counters[0].chart.clone();
        twice.events[1].counters[0].chart = again;
        assert!(twice.check().unwrap_err().to_string().contains("twice"));
        let mut mixed = good;
        mixed.events[1].counters[0].unit = "bytes/s".to_owned();
        assert!(mixed.check().unwrap_err().to_string().contains("two units"));
    }

    #[test]
    fn a_user_replaces_the_hooks_of_one_event_by_one_line() {
        let mut table = Table::of("process").unwrap();
        table.replace_hooks(r#"release.hooks = [ { function = "release_task_renamed" } ]"#).unwrap();
        let release = table.events.iter().find(|event| event.name == "release").unwrap();
        assert_eq!(release.hooks.len(), 1);
        assert_eq!(release.hooks[0].function, Names(vec!["release_task_renamed".to_owned()]));
    }

    #[test]
    fn a_wrong_replacement_says_what_is_wrong_and_changes_nothing() {
        let mut table = Table::of("process").unwrap();
        let unknown = table.replace_hooks(r#"reed.hooks = []"#).unwrap_err().to_string();
        assert!(unknown.contains("no event `reed`") && unknown.contains("read"), "{unknown}");
        let shape = table.replace_hooks(r#"read.hooks = [ { fprobe = "x" } ]"#).unwrap_err().to_string();
        assert!(shape.contains("fprobe"), "{shape}");
        assert_eq!(table.events.len(), Table::of("process").unwrap().events.len());
    }
}
