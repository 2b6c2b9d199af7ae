//! What the charts of peers ask of a real agent: a name that changes, a dimension that goes and comes back with its total.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tests::agent::{Agent, complaints};
use tests::system::beside;

const CHART: &str = "ebpf.peers";
const LIMIT: Duration = Duration::from_secs(40);

/// A plugin that prints as supervisor/src/protocol.rs does: `a` gets its name after 3 intervals, `b` is away from the 6th to the 16th.
/// `b` grows by 100000 an interval before, and by 1000 after until the 21st.
const PLUGIN: &str = r#"#!/bin/sh
a=0 b=0 n=0 last=
heading="CHART ebpf.peers '' 'Peers' 'bytes/s' 'Network connections' 'ebpf.peers' stacked 21080 1 '' 'ebpf.plugin' 'network_viewer'"
block() {
    now=$(($(date +%s%N) / 1000))
    echo "BEGIN ebpf.peers${last:+ $((now - last))}"
    last=$now
    echo "SET a = $a"
    if [ -n "$1" ]; then echo "SET b = $1"; fi
    echo END
}
printf "%s\nDIMENSION a '' incremental 1 1\nDIMENSION b '' incremental 1 1\n" "$heading"
block 0
while sleep 1; do
    n=$((n + 1))
    if [ $n -le 20 ]; then a=$((a + 1000)); fi
    case $n in
    3) printf "%s\nDIMENSION a 'https:TCP:host.example' incremental 1 1\n" "$heading" ;;
    6) printf "%s\nDIMENSION b '' incremental 1 1 obsolete\n" "$heading" ;;
    16)
        printf "%s\nDIMENSION b '' incremental 1 1\n" "$heading"
        block $b ;;
    esac
    if [ $n -lt 6 ]; then b=$((b + 100000)); fi
    if [ $n -ge 16 ] && [ $n -le 20 ]; then b=$((b + 1000)); fi
    if [ $n -ge 6 ] && [ $n -lt 16 ]; then block; else block $b; fi
done
"#;

#[test]
fn a_real_agent_takes_names_that_change_and_dimensions_that_come_back() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("plugin");
    fs::write(&plugin, PLUGIN).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let mut agent = Agent::start_with(&plugin, true, "", "").unwrap();
    let has = |agent: &Agent, dimension: &str| -> anyhow::Result<bool> {
        let charts = agent.charts()?;
        Ok(charts.get(CHART).is_some_and(|chart| chart["dimensions"].get(dimension).is_some()))
    };
    agent.wait("both dimensions", LIMIT, |agent| has(agent, "b")).unwrap();
    agent.wait("the one that is gone to be hidden", LIMIT, |agent| Ok(!has(agent, "b")?)).unwrap();
    let charts = agent.charts().unwrap();
    assert_eq!(charts[CHART]["dimensions"]["a"]["name"], "https:TCP:host.example");
    agent.wait("the one that comes back", LIMIT, |agent| has(agent, "b")).unwrap();
    let last = |agent: &Agent| {
        Ok(agent.data(CHART)?.rows.last().is_some_and(|(_, values)| values.contains(&Some(0.0))))
    };
    agent.wait("the end of all growth", LIMIT, last).unwrap();
    // The agent loses some of the first second, and on a busy machine some more; a total that counted twice would be twice as much.
    let sum = agent.data(CHART).unwrap().sum("b").unwrap();
    assert!((250_000.0..505_500.0).contains(&sum), "{sum}");
    let (status, log) = agent.stop().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(complaints(&log), [""; 0]);
}
