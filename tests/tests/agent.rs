//! "Shows" 3, second half: a real agent shows all charts and the right sums, and complains about nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tests::agent::{Agent, complaints};
use tests::compare::COUNTERS;
use tests::effects::Expected;
use tests::load::Load;
use tests::plugin::{STOP_LIMIT, only_process};
use tests::residue::{Residue, wait_dead};
use tests::system::alone;

const CHARTS_LIMIT: Duration = Duration::from_secs(30);
const VALUES_LIMIT: Duration = Duration::from_secs(15);
const GROUPS: &str = "first: ebpft_first\nlate: ebpft_late\nagain: ebpft_again\n";
const SCRIPT: &str = "open=211 open_fail=13 close_fail=7 read=331:100 read_fail=5 write=97:50 write_fail=3 unlink=41 \
    unlink_fail=2 fork=29 thread=31 fork_fail=3";

fn conf() -> String {
    only_process("ebpf load mode = return")
}

/// Waits until the sums of all charts of `group` are right; each stays right afterwards or the test fails.
fn check_group(agent: &mut Agent, group: &str, expected: &Expected) {
    let differences = |agent: &Agent| -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for counter in &COUNTERS {
            let Some(chart) = counter.apps else { continue };
            // The agent interpolates to whole seconds and keeps about seven digits; the sum stays.
            let shown = agent.data(chart)?.sum(group).unwrap_or(0.0);
            let wanted = (counter.of)(expected) as f64;
            if (shown - wanted).abs() > 0.5 + wanted * 1e-6 {
                found.push(format!(
                    "{chart} {group}: must be {wanted}, the agent's seconds add up to {shown}"
                ));
            }
        }
        Ok(found)
    };
    let waited = agent.wait("the right sums", VALUES_LIMIT, |agent| Ok(differences(agent)?.is_empty()));
    let last = differences(agent).unwrap();
    assert!(last.is_empty(), "{}\n{waited:?}", last.join("\n"));
    waited.unwrap();
}

fn wait_for_charts(agent: &mut Agent) {
    agent
        .wait("every chart", CHARTS_LIMIT, |agent| {
            let charts = agent.charts()?;
            let system = COUNTERS.iter().filter_map(|counter| counter.system).map(|(chart, _)| chart);
            let apps = COUNTERS.iter().filter_map(|counter| counter.apps);
            Ok(system.chain(apps).chain(["ebpf.process_status"]).all(|chart| charts.contains_key(chart)))
        })
        .unwrap();
}

#[test]
fn sums_are_right_from_the_first_burst_on() {
    let _alone = alone().unwrap();
    let before = Residue::now().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(true, &conf(), GROUPS).unwrap();
    wait_for_charts(&mut agent);
    // The first burst of all comes at once after the start, of a group that nobody has seen.
    let first = Load::run(directory.path(), "ebpft_first", SCRIPT).unwrap();
    check_group(&mut agent, "first", &first);
    // The first burst of a group that appears while others are shown.
    let late =
        Load::run(directory.path(), "ebpft_late", "swarm_die=50:3 open=5 read=1000:1000 die=1").unwrap();
    check_group(&mut agent, "late", &late);
    // A second burst of a known group.
    let mut again = Load::run(directory.path(), "ebpft_again", SCRIPT).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    again += Load::run(directory.path(), "ebpft_again", SCRIPT).unwrap();
    check_group(&mut agent, "again", &again);
    check_group(&mut agent, "first", &first);

    let charts = agent.charts().unwrap();
    for (id, chart) in &charts {
        assert_eq!(chart["plugin"], "ebpf.plugin", "{id}");
        assert_eq!(chart["context"], id.as_str(), "{id}");
        assert_eq!(chart["update_every"], 1, "{id}");
    }
    let pids = agent.plugin_pids().unwrap();
    assert_eq!(pids.len(), 1, "the agent runs one ebpf.plugin");
    let (status, log) = agent.stop().unwrap();
    assert!(status.success(), "{status}");
    let complaints = complaints(&log);
    assert!(complaints.is_empty(), "the agent's log complains:\n{}", complaints.join("\n"));
    wait_dead(&pids, Duration::from_secs(2)).unwrap();
    before.wait_gone(Duration::from_secs(2)).unwrap();
}

/// `[plugins] ebpf = no` switches it off.
#[test]
fn the_agents_switch_works() {
    let _alone = alone().unwrap();
    let agent = Agent::start(false, &conf(), GROUPS).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(agent.plugin_pids().unwrap().is_empty());
    assert!(agent.charts().unwrap().keys().all(|id| !id.starts_with("ebpf.") && !id.starts_with("apps.")));
    agent.stop().unwrap();
}

/// However an agent ends, no plugin outlives it, and the next agent starts one again. `EBPF_CHAOS_AGENTS`: how many agents.
#[test]
fn no_plugin_outlives_its_agent() {
    let _alone = alone().unwrap();
    let before = Residue::now().unwrap();
    let rounds = std::env::var("EBPF_CHAOS_AGENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    for round in 0..rounds {
        let mut agent = Agent::start(true, &conf(), GROUPS).unwrap();
        agent
            .wait("the plugin's charts", CHARTS_LIMIT, |agent| Ok(agent.charts()?.contains_key("ebpf.io")))
            .unwrap();
        let plugins = agent.plugin_pids().unwrap();
        assert_eq!(plugins.len(), 1);
        if round % 2 == 0 {
            // SIGKILL: the plugin sees that its pipes have no other end.
            drop(agent);
        } else {
            let (_, log) = agent.stop().unwrap();
            assert!(complaints(&log).is_empty(), "{:?}", complaints(&log));
        }
        wait_dead(&plugins, STOP_LIMIT).unwrap();
        before.wait_gone(STOP_LIMIT).unwrap();
    }
}
