//! The clock is set, a CPU is taken away and comes back: in a virtual machine, as it would hurt this one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

/// `EBPF_STEPS_KERNEL`: a name of `tools/kernels.txt`.
#[test]
fn samples_and_counts_survive_steps_of_the_clock_and_cpus_that_come_and_go() {
    let _beside = tests::system::beside().unwrap();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let programs = tests::system::program_directory().unwrap();
    let kernel = std::env::var("EBPF_STEPS_KERNEL").unwrap_or_else(|_| "6.12".to_owned());
    let output = Command::new(workspace.join("tools/vm"))
        .args([
            "--kernel",
            &kernel,
            "--cpus",
            "2",
            "--memory",
            "768",
            "--timeout",
            "240",
            "--mount",
            "tracefs,debugfs",
        ])
        .args(["--file", programs.join("supervisor").to_str().unwrap()])
        .args(["--file", programs.join("ebpf-worker").to_str().unwrap()])
        .args(["--file", env!("CARGO_BIN_EXE_chaos-cells")])
        .args(["--", "sh", "-c", "EBPF_BIN_DIR=/vm exec chaos-cells --steps"])
        .output()
        .unwrap();
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && out.matches("exact after").count() == 2,
        "{}: {out}\n{log}",
        output.status
    );
    eprintln!("{out}");
}
