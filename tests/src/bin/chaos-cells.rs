//! Ends workers at random on the running kernel, in each way of counting; for guests of `tools/vm`, by `tools/chaos`.
//!
//! Arguments: the program (`process` or `network`), kills for each way of counting, longest pause between two in milliseconds, and the ways (all
//! without); or `--steps`, to set the clock and to take a CPU away; or `--cgroups`, to pass the limits of workers.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tests::chaos::{Plan, Report};
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
    let (module, numbers) = arguments.split_first().context("which program")?;
    let plan = Plan {
        kills: numbers.first().context("how many kills")?.parse()?,
        pause_ms: numbers.get(1).context("longest pause")?.parse()?,
        seed: SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64,
    };
    let wanted = numbers.get(2..).unwrap_or_default();
    let mut all_exact = true;
    for (way, option) in
        WAYS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|way| way == name))
    {
        match run_way(module, &format!("ebpf load mode = return\n    {option}"), plan) {
            Ok(report) => println!("chaos-cells: {module}, {way}: exact: {report}"),
            Err(error) => {
                all_exact = false;
                println!("chaos-cells: {module}, {way}: WRONG: {error:#}");
            }
        }
    }
    Ok(all_exact)
}

/// `global`: what the plugin has in `[global]`.
fn run_way(module: &str, global: &str, plan: Plan) -> Result<Report> {
    let groups = chaos::process::groups();
    match module {
        "process" => {
            let conf = Some(only_process(global));
            chaos::process::run(&Setup { ebpf_conf: conf, ..Setup::new("return", &groups) }, plan, true)
        }
        "network" => chaos::network::run(global, plan),
        _ => bail!("`{module}` is neither process nor network"),
    }
}
