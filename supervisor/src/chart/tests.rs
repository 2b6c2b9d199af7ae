use shared::config::LoadMode;
use shared::snapshot::{Identity, Missed, Snapshot};
use shared::wire::PlannedEvent;

use super::*;

fn table() -> Table {
    Table::of("network_viewer").unwrap()
}

fn plan_of(table: &Table) -> Plan {
    let attached = |event: &shared::table::Event| PlannedEvent {
        event: event.name.clone(),
        attached: vec!["fexit:x".to_owned()],
        refused: Vec::new(),
    };
    Plan { events: table.events.iter().map(attached).collect(), ..Plan::default() }
}

fn charts(table: &Table, plan: &Plan) -> Charts {
    Charts::new(table, LoadMode::Return, plan, true)
}

fn chart<'a>(charts: &'a Charts, id: &str) -> &'a Chart {
    charts.charts.iter().find(|chart| chart.id == id).unwrap_or_else(|| panic!("no chart {id}"))
}

/// One row of one process, whose counters are 1, 2, 3, … in table order.
fn totals(table: &Table) -> Totals {
    let counters = table.counters().count();
    let mut totals = Totals::new(counters, 1);
    let (groups, _) = shared::apps::AppsGroups::load(None, None);
    let mut processes = shared::apps::ProcessTable::new(groups, "/nonexistent");
    let identity = Identity {
        tgid: 1,
        parent_tgid: 0,
        generation: 0,
        start_ns: 1,
        comm: [0; 16],
        comm_of_thread: false,
        ended: false,
    };
    let snapshot = Snapshot {
        epoch: 1,
        taken_at_ns: 0,
        identities: vec![identity],
        values: (1..=counters as u64).collect(),
        unattributed: vec![0; counters],
        command_lines: Vec::new(),
        flows: Vec::new(),
        missed: Missed { no_flow: 7, ..Missed::default() },
        baseline: shared::snapshot::Baseline::default(),
    };
    assert!(totals.merge(&snapshot, Some(&mut processes)).unwrap());
    totals
}

#[test]
fn counters_that_name_the_same_chart_of_applications_are_added_up() {
    let table = table();
    let mut charts = charts(&table, &plan_of(&table));
    charts.refresh(&totals(&table), &["other".to_owned()]);
    let value = |counter: &str| table.slot(counter).unwrap() as u64 + 1;
    let sent = &chart(&charts, "apps.bandwidth_sent").dimensions[0];
    assert_eq!(sent.value, value("tcp_sent_bytes") + value("udp_sent_bytes"));
    assert_eq!((sent.multiplier, sent.baseline(), sent.printed()), (-1, 0, sent.value as i64));
    let received = &chart(&charts, "apps.bandwidth_recv").dimensions[0];
    assert_eq!(received.value, value("tcp_received_bytes") + value("udp_received_bytes"));
    assert_eq!(received.multiplier, 1);
    let calls = &chart(&charts, "apps.bandwidth_udp_send").dimensions[0];
    assert_eq!((calls.value, calls.multiplier), (value("udp_send"), 1));
}

#[test]
fn what_is_not_attached_is_not_added() {
    let table = table();
    let mut plan = plan_of(&table);
    plan.events.iter_mut().filter(|event| event.event == "udp_send").for_each(|event| event.attached.clear());
    let mut charts = charts(&table, &plan);
    charts.refresh(&totals(&table), &["other".to_owned()]);
    let sent = &chart(&charts, "apps.bandwidth_sent").dimensions[0];
    assert_eq!(sent.value, table.slot("tcp_sent_bytes").unwrap() as u64 + 1);
    assert!(!charts.charts.iter().any(|chart| chart.id == "apps.bandwidth_udp_send"));
}

#[test]
fn unknown_peers_are_a_loss_of_modules_with_flows_only() {
    let table = table();
    let mut charts = charts(&table, &plan_of(&table));
    charts.refresh(&totals(&table), &["other".to_owned()]);
    let losses = chart(&charts, "ebpf.network_viewer_missed");
    let last = losses.dimensions.last().unwrap();
    assert_eq!((last.id.as_str(), last.name.as_str(), last.value), ("no_flow", "peer unknown", 7));
    let process = Table::of("process").unwrap();
    let charts = Charts::new(&process, LoadMode::Entry, &plan_of(&process), false);
    assert!(chart(&charts, "ebpf.process_missed").dimensions.iter().all(|loss| loss.id != "no_flow"));
}
