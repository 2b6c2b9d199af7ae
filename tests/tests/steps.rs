//! What would hurt this machine, in a virtual one: the clock is set, a CPU is taken away and comes back, workers pass the limits of their cgroups.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

/// Runs `chaos-cells` with an option in a guest, and returns what it printed. `EBPF_STEPS_KERNEL`: a name of `tools/kernels.txt`.
fn run(option: &str, mounts: &str) -> String {
    let _beside = tests::system::beside().unwrap();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let programs = tests::system::program_directory().unwrap();
    let kernel = std::env::var("EBPF_STEPS_KERNEL").unwrap_or_else(|_| "6.12".to_owned());
    let output = Command::new("nice")
        .arg(workspace.join("tools/vm"))
        .args(["--kernel", &kernel, "--cpus", "2", "--memory", "768", "--timeout", "240", "--mount", mounts])
        .args(["--file", programs.join("supervisor").to_str().unwrap()])
        .args(["--file", programs.join("ebpf-worker").to_str().unwrap()])
        .args(["--file", env!("CARGO_BIN_EXE_chaos-cells")])
        .args(["--", "sh", "-c", &format!("EBPF_BIN_DIR=/vm exec chaos-cells {option}")])
        .output()
        .unwrap();
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {out}\n{log}", output.status);
    eprintln!("{out}");
    out.into_owned()
}

#[test]
fn samples_and_counts_survive_steps_of_the_clock_and_cpus_that_come_and_go() {
    let out = run("--steps", "tracefs,debugfs");
    assert_eq!(out.matches("exact after").count(), 2, "{out}");
}

#[test]
fn workers_are_bounded_by_cgroups_where_these_are_delegated() {
    let out = run("--cgroups", "tracefs,debugfs,cgroup2");
    assert!(out.contains("exact after") && out.contains("after SIGKILL"), "{out}");
}
