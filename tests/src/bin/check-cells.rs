//! Runs the set-ups of `tests::check` on the running kernel, as root: inside a guest of `tools/vm`, or on this machine.
//!
//! Results on stdout, one line each (`tests::check::document`). Ends with 1 when the plugin does something else than `--check` says, with 2
//! when it could not be found out.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use tests::check::document::{Line, parse_lines, render};
use tests::check::setup::{LOCKED, SETUPS, Setup};
use tests::check::{forecast, run};

const USAGE: &str = "\
usage: check-cells KERNEL [--guest] [--quick] [--locked] [--save DIR]
       check-cells --forecast KERNEL DIR CONFIG   a forecast from the files in DIR, against the truth in them
       check-cells --document RESULTS...          the document, from files with results
--guest: settings of the kernel may be changed
--quick: the short list of set-ups
--locked: the kernel is locked down
--save: leave the kernel's files, its facts and the truth about its hooks in DIR, for a forecast";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match start(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("check-cells: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn start(arguments: &[&str]) -> Result<bool> {
    match arguments {
        ["--document", files @ ..] => {
            let mut lines = Vec::new();
            for file in files {
                let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
                lines.extend(parse_lines(&text)?);
            }
            print!("{}", render(&lines));
            Ok(true)
        }
        ["--forecast", kernel, directory, config] => {
            report(&forecast::compare(kernel, Path::new(directory), Path::new(config))?)
        }
        [kernel, options @ ..] if !kernel.starts_with('-') => setups(kernel, options),
        _ => bail!("{USAGE}"),
    }
}

fn setups(kernel: &str, options: &[&str]) -> Result<bool> {
    let has = |option: &str| options.contains(&option);
    let _alone = tests::system::alone()?;
    let mut good = true;
    let list: &[Setup] = if has("--locked") { &LOCKED } else { &SETUPS };
    for setup in
        list.iter().filter(|setup| (has("--guest") || !setup.guest_only) && (!has("--quick") || setup.quick))
    {
        good &= report(&run::run(kernel, setup)?)?;
    }
    if let Some(at) = options.iter().position(|option| *option == "--save") {
        save(Path::new(options.get(at + 1).context(USAGE)?))?;
    }
    Ok(good)
}

fn report(line: &Line) -> Result<bool> {
    println!("{line}");
    Ok(line.wrong.is_empty())
}

/// What a forecast is made from and held against.
fn save(directory: &Path) -> Result<()> {
    // Some functions are listed only where tracefs is mounted; in a guest nothing has to be unmounted.
    let _ = Command::new("mount").args(["-t", "tracefs", "nodev", "/sys/kernel/tracing"]).status();
    for (file, name) in forecast::FILES {
        // Not by fs::copy: the kernel's files have no length.
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
        std::fs::write(directory.join(name), bytes).with_context(|| format!("cannot write {name}"))?;
    }
    let output = Command::new(tests::system::program_directory()?.join("supervisor"))
        .args(["--check", "--hooks", "--json", "-r", "--save-facts"])
        .arg(directory.join("facts.json"))
        .output()?;
    ensure!(!output.stdout.is_empty(), "--check --hooks: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(directory.join("check.json"), output.stdout).context("cannot write check.json")
}
