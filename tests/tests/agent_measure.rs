//! The agent's sums are right for known lines: the tests' own measure is measured first. Needs netdata-core,
//! not the plugin.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tests::agent::{Agent, complaints};
use tests::system::beside;

/// Announces `known` with zero, then bursts of 211; later a new dimension: announced with zero, and not.
const FAKE_PLUGIN: &str = r#"#!/bin/bash
head="CHART ebpf.t '' t calls/s f ebpf.t line 1 1 '' ebpf.plugin process
DIMENSION known '' incremental 1 1"
echo "$head"
for tick in $(seq 0 600); do
    [ $tick = 4 ] && printf '%s\nDIMENSION announced %s incremental 1 1\nDIMENSION lost %s incremental 1 1\n' "$head" "''" "''"
    echo "BEGIN ebpf.t"
    echo "SET known = $(( tick == 0 ? 0 : tick < 3 ? 211 : 422 ))"
    [ $tick -ge 4 ] && echo "SET announced = $(( tick == 4 ? 0 : 97 ))" && echo "SET lost = 97"
    echo END
    sleep 1
done
"#;

#[test]
fn the_sum_of_the_seconds_is_the_number_of_events() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("fake");
    fs::write(&plugin, FAKE_PLUGIN).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let mut agent = Agent::start_with(&plugin, true, "", "").unwrap();
    let sums = |agent: &Agent| {
        let data = agent.data("ebpf.t").ok();
        ["known", "announced", "lost"]
            .map(|label| data.as_ref().and_then(|data| data.sum(label)).map(f64::round))
    };
    let wanted = [Some(422.0), Some(97.0), Some(0.0)];
    let waited = agent.wait("the sums", Duration::from_secs(20), |agent| Ok(sums(agent) == wanted));
    assert!(waited.is_ok(), "sums are {:?}, must be {wanted:?}: {:?}", sums(&agent), agent.data("ebpf.t"));
    let (status, log) = agent.stop().unwrap();
    assert!(status.success(), "{status}: {log}");
    let complaints = complaints(&log);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// A line that breaks the protocol must be found in the log, or the test of a quiet log would test nothing.
#[test]
fn complaints_are_found() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("fake");
    fs::write(&plugin, "#!/bin/bash\necho 'BEGIN ebpf.unknown'\nsleep 600\n").unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let mut agent = Agent::start_with(&plugin, true, "", "").unwrap();
    let found =
        |agent: &Agent| Ok(complaints(&agent.error_log()).iter().any(|line| line.contains("ebpf.unknown")));
    agent.wait("a complaint", Duration::from_secs(10), found).unwrap();
}
