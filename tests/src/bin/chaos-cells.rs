//! Ends workers at random on the running kernel, in each way of counting; for guests of `tools/vm`, by `tools/chaos`.
//!
//! Arguments: kills for each way of counting, longest pause between two in milliseconds, and the ways (all without); or `--steps`, to set the
//! clock and to take a CPU away; or `--cgroups`, to pass the limits of workers.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tests::plugin::{Setup, only_process};
use tests::{cgroups, chaos, steps};

/// Name of a way of counting, and what it says in `[global]`.
const WAYS: [(&str, &str); 4] = [
    ("default", ""),
    ("trampoline", "ebpf co-re tracing = trampoline"),
    ("probe", "ebpf co-re tracing = probe"),
    ("tracepoint", "ebpf co-re tracing = tracepoint"),
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos-cells: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--steps"] {
        return steps::run().map(|()| true);
    }
    if arguments == ["--cgroups"] {
        return cgroups::run().map(|()| true);
    }
    let kills = arguments.first().context("how many kills")?.parse()?;
    let pause_ms = arguments.get(1).context("longest pause")?.parse()?;
    let wanted = arguments.get(2..).unwrap_or_default();
    let mut all_exact = true;
    for (name, option) in
        WAYS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|way| way == name))
    {
        let conf = only_process(&format!("ebpf load mode = return\n    {option}"));
        let setup = Setup { ebpf_conf: Some(conf), ..Setup::new("return", &chaos::groups()) };
        let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
        match chaos::run(&setup, kills, pause_ms, seed, true) {
            Ok(report) => println!("chaos-cells: {name}: exact: {report}"),
            Err(error) => {
                all_exact = false;
                println!("chaos-cells: {name}: WRONG: {error:#}");
            }
        }
    }
    Ok(all_exact)
}
