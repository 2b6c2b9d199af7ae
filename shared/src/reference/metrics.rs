//! What is counted and where it is drawn.

use super::{code, head, headings, line, mode};
use crate::snapshot::Direction;
use crate::table::{Chart, Counter, Event, FlowValue, FlowsOf, Mode, Table};

/// Every counter and every chart of `tables`.
pub fn markdown(tables: &[Table]) -> String {
    let mut text = head("probe-objects/*/module.toml");
    text.push_str(INTRODUCTION);
    for table in tables {
        text.push_str(&format!("\n## Counters of the module `{}`\n", table.module));
        table.events.iter().for_each(|event| text.push_str(&of_event(event)));
        text.push_str(&format!("\n## Charts of the module `{}`\n\n", table.module));
        text.push_str(&charts(table));
        text.push_str(&filtered(table));
        text.push_str(&losses(table));
        text.push_str(&canary(table));
    }
    text
}

const INTRODUCTION: &str = "
# Metrics

What system calls and tasks exactly are behind the numbers, and what is not seen: [definitions.md](definitions.md). Which part of the \
kernel is hooked for an event: [hooks.md](hooks.md).

- *Counter*: one number, kept for each process and added up for each application group and for the system. The counters of all groups, \
`other` included, add up to the system's.
- *Mode*: `both`, or `return` for what exists only with `ebpf load mode = return`.
- *Context* of a chart: always its id. Plugin: `ebpf.plugin`. Module: the module's name.
";

fn of_event(event: &Event) -> String {
    let mut text = format!("\n### Event `{}`\n\nCounts {}.", event.name, event.means);
    if event.counters.is_empty() {
        text = format!("\n### Event `{}`\n\nHas no counter. Hears of {}.", event.name, event.means);
    }
    if event.mode == Mode::Return {
        text.push_str(" Only in `return` mode.");
    }
    text.push('\n');
    if event.counters.is_empty() {
        return text;
    }
    text.push('\n');
    text.push_str(&headings([
        "counter",
        "meaning",
        "adds up",
        "unit",
        "mode",
        "system chart",
        "dimension (name)",
        "applications chart",
    ]));
    event.counters.iter().for_each(|counter| text.push_str(&of_counter(counter)));
    text
}

fn of_counter(counter: &Counter) -> String {
    let (chart, dimension) = counter.chart.as_ref().map_or(("-".to_owned(), "-".to_owned()), |place| {
        let sign = if place.negative { ", drawn below zero" } else { "" };
        (code([place.id.as_str()]), format!("`{}` ({}){sign}", place.dimension, place.name))
    });
    line([
        &code([counter.name.as_str()]),
        &counter.means,
        &counter.value,
        &counter.unit,
        mode(counter.mode),
        &chart,
        &dimension,
        &code(counter.apps.as_deref()),
    ])
}

fn charts(table: &Table) -> String {
    let mut text =
        headings(["chart", "context", "title", "unit", "family", "priority", "type", "mode", "dimensions"]);
    for chart in &table.charts {
        let id = code([chart.id.as_str()]);
        text.push_str(&line([
            &id,
            &id,
            &chart.title,
            unit(table, chart),
            &chart.family,
            &chart.priority.to_string(),
            if is_stacked(table, chart) { "stacked" } else { "line" },
            mode(mode_of(table, chart)),
            &dimensions(table, chart),
        ]));
    }
    text
}

/// The counters that a chart adds up for each application group; none for a chart of the system.
fn of_groups<'a>(table: &'a Table, chart: &'a Chart) -> impl Iterator<Item = &'a Counter> {
    table.counters().filter(|counter| counter.apps.as_ref() == Some(&chart.id))
}

fn is_stacked(table: &Table, chart: &Chart) -> bool {
    chart.flows.is_some() || of_groups(table, chart).next().is_some()
}

/// Counters that are dimensions of a chart of the system.
fn of_system<'a>(table: &'a Table, chart: &'a Chart) -> impl Iterator<Item = &'a Counter> {
    let is_here = |counter: &&Counter| counter.chart.as_ref().is_some_and(|place| place.id == chart.id);
    table.counters().filter(is_here)
}

fn unit<'a>(table: &'a Table, chart: &'a Chart) -> &'a str {
    let counted = || of_system(table, chart).chain(of_groups(table, chart)).next();
    chart.unit.as_deref().or_else(|| counted().map(|counter| counter.unit.as_str())).unwrap_or("-")
}

/// A chart exists as soon as one of its dimensions does; a difference exists when both its counters do.
fn mode_of(table: &Table, chart: &Chart) -> Mode {
    let of_counter =
        |name: &str| table.counters().find(|counter| counter.name == name).map(|counter| counter.mode);
    let both = |mode: Option<Mode>| mode == Some(Mode::Both);
    let counted =
        of_system(table, chart).chain(of_groups(table, chart)).any(|counter| both(Some(counter.mode)));
    let mut differences = chart.differences.iter();
    if chart.flows.is_some()
        || counted
        || differences.any(|row| both(of_counter(&row.of)) && both(of_counter(&row.less)))
    {
        Mode::Both
    } else {
        Mode::Return
    }
}

fn dimensions(table: &Table, chart: &Chart) -> String {
    if let Some(flows) = chart.flows {
        return of_flows(flows).to_owned();
    }
    let names: Vec<String> = of_groups(table, chart).map(|counter| code([counter.name.as_str()])).collect();
    if !names.is_empty() {
        let sign = if chart.negative { ", drawn below zero" } else { "" };
        return format!("one for each group, of {}{sign}", names.join(" + "));
    }
    let counters = of_system(table, chart).filter_map(|counter| {
        let place = counter.chart.as_ref()?;
        Some(format!("`{}` of `{}`", place.dimension, counter.name))
    });
    let differences = chart
        .differences
        .iter()
        .map(|row| format!("`{}` = `{}` - `{}` of one interval", row.dimension, row.of, row.less));
    counters.chain(differences).collect::<Vec<_>>().join(", ")
}

fn of_flows(flows: FlowsOf) -> &'static str {
    match (flows.direction, flows.value) {
        (_, FlowValue::Retransmits) => "one for each peer, `SERVICE:PROTOCOL:HOST`, and `other:ALL:other`",
        (Direction::Outbound, _) => {
            "two for each peer, `SERVICE:PROTOCOL:HOST_sent` (drawn below zero) and `…_recv`, and two of `other:ALL:other`"
        }
        (Direction::Inbound, _) => {
            "two for each port, `SERVICE:PROTOCOL_sent` (drawn below zero) and `…_recv`, and two of `other:ALL`"
        }
    }
}

/// The chart of the traffic that no chart of flows shows (supervisor/src/viewer/charts.rs); it has no row in the tables.
fn filtered(table: &Table) -> String {
    if !table.has_flows() {
        return String::new();
    }
    format!(
        "\nBeside these, `{FILTERED_ID}` (\"{FILTERED_TITLE}\", {FILTERED_UNIT}, family {FILTERED_FAMILY}, priority \
         {FILTERED_PRIORITY}, stacked, both modes) shows what `ports`, `ips` and `hostnames` leave out: `outbound_sent` and \
         `inbound_sent` (drawn below zero), `outbound_recv`, `inbound_recv`. All peers, all ports, the `other`s and this together are \
         the bytes of `ebpf.tcp_bandwidth` and `ebpf.udp_bandwidth`.\n"
    )
}

/// The chart of filtered traffic, as the supervisor draws it.
pub const FILTERED_ID: &str = "ebpf.network_filtered";
/// Its title.
pub const FILTERED_TITLE: &str = "Traffic that the filters leave out";
/// Its unit.
pub const FILTERED_UNIT: &str = "bytes/s";
/// Its family.
pub const FILTERED_FAMILY: &str = "Network connections";
/// Its priority: below the charts that it completes.
pub const FILTERED_PRIORITY: u32 = 21086;

/// The chart that every module has of its own losses (supervisor/src/chart.rs); it has no row in the tables.
fn losses(table: &Table) -> String {
    format!(
        "\nBeside these, `ebpf.{}_missed` (\"{LOSSES_TITLE}\", {LOSSES_UNIT}, family {LOSSES_FAMILY}, priority \
         {LOSSES_PRIORITY}, line, both modes) shows what was lost. All zero is the normal state:\n\n{}",
        table.module,
        LOSSES
            .iter()
            .filter(|(id, ..)| *id != "no_flow" || table.has_flows())
            .fold(headings(["dimension (name)", "counts"]), |text, (id, name, counts)| {
                text + &line([&format!("`{id}` ({name})"), counts])
            })
    )
}

/// The chart of the canary (supervisor/src/chart.rs); nothing for a module without one.
fn canary(table: &Table) -> String {
    if crate::canary::deeds(&table.module).is_empty() {
        return String::new();
    }
    format!(
        "\n`ebpf.{}_canary` (\"{CANARY_TITLE}\", {CANARY_UNIT}, family {LOSSES_FAMILY}, priority {CANARY_PRIORITY}, line, both modes) shows \
         whether what is counted is what was done: after each attachment, and hourly, a process of the plugin's own does a known number of \
         operations ([definitions.md](definitions.md#the-canary)). `done` is what the last one did, `counted` what of it was counted; they \
         are equal in the normal state.\n",
        table.module
    )
}

/// Heading of the canary's chart, as the supervisor draws it.
pub const CANARY_TITLE: &str = "Operations of our own, done and counted";
/// Its unit.
pub const CANARY_UNIT: &str = "operations";
/// Its priority.
pub const CANARY_PRIORITY: u32 = 21901;

/// Heading of the chart of losses, as the supervisor draws it.
pub const LOSSES_TITLE: &str = "Events that were not counted, or not where they belong";
/// Its unit.
pub const LOSSES_UNIT: &str = "events/s";
/// Its family.
pub const LOSSES_FAMILY: &str = "Plugin";
/// Its priority.
pub const LOSSES_PRIORITY: u32 = 21900;
/// Its dimensions: id, name, what each counts.
pub const LOSSES: [(&str, &str, &str); 5] = [
    (
        "no_row",
        "in no application",
        "Events that found every table full: right in the system's charts, `other` in those of applications. Raise `pid table size`.",
    ),
    (
        "recursion",
        "skipped by the kernel",
        "Runs of a program that the kernel skipped, because a program was already running on that CPU. Their events are not counted. \
         Kernels before 5.12 do not tell, and show 0.",
    ),
    (
        "kretprobe",
        "result lost",
        "Returns that a kretprobe missed, because too many threads waited inside the function: the call is counted, its bytes or its \
         failure is not. Kernels before 6.7 do not tell, and show 0.",
    ),
    (
        "failed_reads",
        "detail unreadable",
        "Details of an event in memory that could not be read, such as the flags of a clone3 call with a bad address.",
    ),
    (
        "no_flow",
        "peer unknown",
        "Transfers counted with an unknown peer, because the table of flows was full: right in all totals, `other` in the charts of \
         peers and ports.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::MODULES;

    #[test]
    fn every_counter_and_every_chart_is_there() {
        MODULES.iter().for_each(|module| is_complete(&Table::of(module).unwrap()));
    }

    fn is_complete(table: &Table) {
        let text = markdown(std::slice::from_ref(table));
        for counter in table.counters() {
            assert!(
                text.contains(&format!("\n| `{}` | {}", counter.name, counter.means)),
                "{}",
                counter.name
            );
        }
        for chart in &table.charts {
            assert!(
                text.contains(&format!("\n| `{0}` | `{0}` | {1} |", chart.id, chart.title)),
                "{}",
                chart.id
            );
        }
        assert!(!text.contains("|  |"), "a chart without dimensions: {text}");
        assert_eq!(text.contains(FILTERED_ID), table.has_flows());
        assert_eq!(text.contains("peer unknown"), table.has_flows());
        assert!(!text.contains("| - | - | - |"), "a chart without dimensions: {text}");
    }

    #[test]
    fn a_chart_of_errors_is_of_return_mode_and_one_of_differences_of_both() {
        let table = Table::of("process").unwrap();
        let modes =
            |id: &str| table.charts.iter().find(|chart| chart.id == id).map(|chart| mode_of(&table, chart));
        assert_eq!(modes("ebpf.io_error"), Some(Mode::Return));
        assert_eq!(modes("ebpf.process_status"), Some(Mode::Both));
        assert_eq!(modes("apps.file_open"), Some(Mode::Both));
    }
}
