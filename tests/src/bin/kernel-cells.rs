//! Runs the matrix's cells on the running kernel, as root: inside a guest of `tools/vm`, or on this machine.
//!
//! Results on stdout, one line for each event (`tests::matrix::line`); progress on stderr. Ends with 1 when anything
//! is inexact, with 2 when it could not be found out.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tests::matrix::cell::rounds;
use tests::matrix::line::{Line, Outcome, parse_lines};
use tests::matrix::round::{self, Machine};
use tests::matrix::{document, kills, traffic};

const USAGE: &str = "\
usage: kernel-cells KERNEL [--quiet] [--preempts] KIND...      KIND: cells, lockdown, twists, tracefs, refusals, alone, network
       kernel-cells KERNEL --kills COUNT STRATEGY starts and kills, COUNT times
       kernel-cells --document RESULTS...         the document, from files with results
--quiet: nothing else runs on this machine, so that totals of the system can be compared too
--preempts: this kernel preempts eBPF programs, so what is missing must be drawn as skipped";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kernel-cells: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<bool> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--document", files @ ..] => {
            let mut lines = Vec::new();
            for file in files {
                let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
                lines.extend(parse_lines(&text)?);
            }
            print!("{}", document::render(&lines));
            Ok(true)
        }
        [kernel, "--kills", count, strategy] => {
            report(&[kills::run(kernel, strategy, count.parse().context(USAGE)?)?])
        }
        [kernel, words @ ..] if !kernel.starts_with('-') => run_kinds(kernel, words),
        _ => bail!("{USAGE}"),
    }
}

fn run_kinds(kernel: &str, words: &[&str]) -> Result<bool> {
    let (options, kinds): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("--"));
    if kinds.is_empty() || options.iter().any(|option| !["--quiet", "--preempts"].contains(option)) {
        bail!("{USAGE}");
    }
    let machine = Machine { quiet: options.contains(&"--quiet"), preempts: options.contains(&"--preempts") };
    let _alone = tests::system::alone()?;
    let mut all_good = true;
    for kind in kinds {
        if kind == "network" {
            let started = Instant::now();
            all_good &= report(&traffic::run(kernel, machine)?)?;
            eprintln!("kernel-cells: network in {:.1} s", started.elapsed().as_secs_f64());
            continue;
        }
        for cells in rounds(kind).with_context(|| format!("no such kind `{kind}`\n{USAGE}"))? {
            let started = Instant::now();
            all_good &= report(&round::run(kernel, &cells, machine)?)?;
            eprintln!(
                "kernel-cells: {kind}: {} cells in {:.1} s",
                cells.len(),
                started.elapsed().as_secs_f64()
            );
        }
    }
    Ok(all_good)
}

fn report(lines: &[Line]) -> Result<bool> {
    for line in lines {
        println!("{line}");
    }
    Ok(!lines.iter().any(|line| matches!(line.outcome, Outcome::Wrong(_))))
}
