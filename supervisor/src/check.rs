//! `--check`: what works on this host, why not, and how to fix it.
//!
//! Facts and rules first, then a proof: each worker that the configuration asks for is started, attaches, and counts a canary. Changes nothing
//! on the host.

mod forecast;
mod report;
mod text;
mod trial;

use std::io::{IsTerminal, Read, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result};
use launcher::client::Launcher;
use launcher::confine;
use shared::config::{Config, ConfigDirs};
use shared::host::{self, FACTS_VERSION, Finding, Grade, HostFacts};

use crate::breaker;
use crate::cli::Cli;
use crate::events;
use report::{Program, Report};
use trial::Happenings;

/// Longest file that is read for a report: a kernel's symbols are some 20 MB.
const LONGEST: u64 = 256 << 20;

/// Findings with which nothing is tried: the host may not survive it.
const NOT_TRIED: [&str; 2] = ["kernel.rejected", FIRST_ATTACHMENT];

const FIRST_ATTACHMENT: &str = "boot.first-attachment";

/// Longest wait for the launcher's end.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// Tells what works here, by trying. A kernel that is known to break is not tried, nor one that broke.
pub fn run(
    cli: &Cli,
    dirs: &ConfigDirs,
    config: &Config,
    facts: &HostFacts,
    mut findings: Vec<Finding>,
) -> Result<ExitCode> {
    if let Some(file) = &cli.save_facts {
        let text = serde_json::to_string_pretty(facts)? + "\n";
        let written = confine::as_caller(|| std::fs::write(file, text))?;
        written.with_context(|| format!("cannot write {}", file.display()))?;
    }
    let (sender, events) = channel();
    events::watch_signals(sender.clone()).context("cannot watch for signals")?;
    let (launcher, ended) = Launcher::start(&crate::worker_program()?)?;
    events::watch_launcher(ended, sender.clone()).context("cannot watch the launcher")?;
    findings.push(limits(launcher.cgroups()));
    findings.extend(confine::as_caller(breaker::rest)?.map(first_attachment));
    let mut events = Happenings::new(events);
    let mut programs = Vec::new();
    if !findings.iter().any(|finding| NOT_TRIED.contains(&finding.id.as_str())) {
        let modules: Vec<_> = crate::tables(dirs, config)?
            .into_iter()
            .map(|(table, overrides)| (table, crate::start_order(config, overrides, true)))
            .collect();
        let trials = trial::try_modules(&launcher, &modules, &sender, &mut events)?;
        for ((table, order), trial) in modules.iter().zip(trials) {
            let mut tried = Program::tried(table, config.load_mode, config.apps, trial, facts);
            if cli.hooks {
                tried.tried_hooks = trial::try_hooks(&launcher, table, order, &sender, &mut events)?;
            }
            programs.push(tried);
        }
    }
    launcher.stop(END_PATIENCE);
    tell(cli, &Report::new("tried", facts, findings, programs))
}

/// What bounds the workers. `cgroups`: as the launcher tells it.
fn limits(cgroups: Result<&str, &str>) -> Finding {
    const ID: &str = "limits.cgroups";
    match cgroups {
        Ok(cgroups) => Finding::good(ID, "worker limits", format!("rlimits; {cgroups}")),
        Err(why) => Finding::no(Grade::Good, ID, "worker limits", format!("rlimits alone, no cgroups: {why}"))
            .because("cgroups would bound a worker's kernel memory and its share of a CPU, too; seen from where --check was started")
            .fix("see Delegate= in conf/netdata.service.d/ebpf.conf, from systemd 254 on")
            .loses("nothing that is counted"),
    }
}

/// `rest`: why the plugin attaches nothing, although it could.
fn first_attachment(rest: String) -> Finding {
    Finding::no(Grade::Bad, FIRST_ATTACHMENT, "attachment", rest)
        .because("a program may have broken the kernel")
        .fix("look into the kernel's log of the boot before; if something else was the reason, remove that file and restart the agent")
        .loses("everything, until then")
}

/// The report about another host or kernel, if the command line asks for one.
pub fn elsewhere(cli: &Cli, dirs: &ConfigDirs, config: &Config, reject_list: &str) -> Result<Option<Report>> {
    if let Some(file) = &cli.facts {
        let facts = read_facts(file)?;
        let findings = host::findings(&facts, host::rejected_by(reject_list, &facts.version_text));
        return Ok(Some(Report::new("facts", &facts, findings, Vec::new())));
    }
    match &cli.kallsyms {
        Some(kallsyms) => forecast::report(cli, kallsyms, dirs, config).map(Some),
        None => Ok(None),
    }
}

/// Prints a report; its verdict is the exit code.
pub fn tell(cli: &Cli, report: &Report) -> Result<ExitCode> {
    let colour = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let text = if cli.json {
        serde_json::to_string_pretty(report)? + "\n"
    } else {
        report.text(text::Style { colour, quiet: cli.quiet })
    };
    crate::print(&text)?;
    Ok(ExitCode::from(report.exit_code))
}

/// The bytes of a file that somebody named.
fn read(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let open = std::fs::File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    open.take(LONGEST).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(bytes)
}

/// Facts that were saved on some host.
fn read_facts(file: &Path) -> Result<HostFacts> {
    let facts: HostFacts =
        serde_json::from_slice(&read(file)?).with_context(|| format!("{} holds no facts", file.display()))?;
    anyhow::ensure!(
        facts.version == FACTS_VERSION,
        "{} has version {}, this program knows {FACTS_VERSION}",
        file.display(),
        facts.version
    );
    Ok(facts)
}
