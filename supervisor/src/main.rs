//! Netdata's `ebpf.plugin`: reads the configuration, starts a worker for each program, merges what they count, prints charts.
//!
//! Loads no eBPF and needs no privilege of its own; workers do. Standard output carries the protocol and nothing else.
#![forbid(unsafe_code)]

mod boundaries;
mod breaker;
mod canary;
mod chart;
mod check;
mod cli;
mod events;
mod facts;
mod instance;
mod log;
mod memory;
mod module;
mod output;
mod protocol;
mod sandbox;
mod supervise;
mod temporary;
mod totals;
mod viewer;
mod worker;

use std::io::{BufWriter, IsTerminal, Stdout, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use launcher::client::Launcher;
use launcher::confine;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use shared::apps::{AppsGroups, ProcessTable};
use shared::config::{self, Config, ConfigDirs, Loaded};
use shared::file;
use shared::host::{self, HostFacts};
use shared::table::{MODULES, Table};
use shared::wire::StartOrder;

use breaker::Verdict;
use cli::Cli;
use module::Module;
use output::{Once, Terminal, WHOLE_INTERVAL};
use protocol::Protocol;
use supervise::{Output, Supervisor};
use viewer::{Servers, Viewer};

/// More than anybody writes by hand: hooks of a module, a list of kernels.
const LONGEST_TEXT: u64 = 1 << 20;

/// Wrong usage, as in sysexits.h.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help and version are no errors.
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            log::error(format!("{error:#}"));
            // A file that was named on the command line and cannot be used.
            if cli.facts.is_some() || cli.kallsyms.is_some() {
                ExitCode::from(EX_USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let early = events::end_at_signals().context("cannot watch for signals")?;
    launcher::heap::give_back_large_blocks();
    confine::as_caller(log::learn_time_zone)?;
    temporary::ensure()?;
    allow_open_files();
    let dirs = ConfigDirs::from_environment();
    let mut loaded = confine::as_caller(|| config::load_with(&dirs, cli.overrides()))?;
    if let Ok(port) = std::env::var(config::LISTEN_PORT) {
        loaded.name_agent_port(&port);
    }
    log::diagnostics(&loaded.diagnostics);
    if cli.print_config {
        print(&config::render(&loaded.values))?;
        return Ok(ExitCode::SUCCESS);
    }
    let reject_list = confine::as_caller(|| reject_list(&dirs))?;
    let elsewhere = confine::as_caller(|| check::elsewhere(cli, &dirs, &loaded.config, &reject_list))?;
    if let Some(report) = elsewhere? {
        return check::tell(cli, &report);
    }
    let facts = facts::gather(&loaded.config.btf_path);
    let findings = host::findings(&facts, host::rejected_by(&reject_list, &facts.version_text));
    if cli.check {
        return check::run(cli, &dirs, &loaded.config, &facts, findings);
    }
    if let Some(finding) = host::hopeless(&findings) {
        log::error(format!("{}: {}; {}; {}", finding.subject, finding.evidence, finding.cause, finding.fix));
        // The agent must not start it again and again: nothing changes before somebody acts.
        print("DISABLE\n")?;
        return Ok(ExitCode::FAILURE);
    }
    let facts = Arc::new(facts);
    let _mark = instance::mark();
    let update_every = Duration::from_secs(u64::from(update_every_s(cli, &loaded.config)));
    let out = BufWriter::new(stdout());
    if cli.once {
        supervise(cli, &dirs, &loaded, update_every, facts, &early, Once::new(out, cli.json))
    } else if stdout().is_terminal() {
        supervise(cli, &dirs, &loaded, update_every, facts, &early, Terminal::new(out))
    } else {
        let protocol: Protocol<BufWriter<Stdout>> = Protocol::new(out, update_every.as_secs() as u32);
        supervise(cli, &dirs, &loaded, update_every, facts, &early, protocol)
    }
}

/// Writes to standard output; that nobody reads it is no error.
fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// As many open files as are allowed: a module takes one for each program and link.
fn allow_open_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If it cannot be raised, what fails later says so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// The slower of what the agent asks for and what the file says; one second if neither says anything.
fn update_every_s(cli: &Cli, config: &Config) -> u32 {
    cli.update_every.unwrap_or(1).max(config.update_every_s.unwrap_or(1))
}

/// The list of bad kernels: the user's, else the stock one, else the built-in.
fn reject_list(dirs: &ConfigDirs) -> String {
    let files =
        [&dirs.user, &dirs.stock].into_iter().flatten().map(|dir| dir.join("ebpf_kernel_reject_list.txt"));
    let found = files.into_iter().find_map(|file| match file::read_text(&file, LONGEST_TEXT) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            log::warning(format!("cannot read {}: {error}; another list is used", file.display()));
            None
        }
    });
    found.unwrap_or_else(|| host::REJECTED_KERNELS.to_owned())
}

fn supervise(
    cli: &Cli,
    dirs: &ConfigDirs,
    loaded: &Loaded,
    update_every: Duration,
    facts: Arc<HostFacts>,
    early: &AtomicBool,
    output: impl Output,
) -> Result<ExitCode> {
    let tables = tables(dirs, &loaded.config)?;
    let groups = loaded.config.apps.then(|| {
        let load = || AppsGroups::load(dirs.user.as_deref(), dirs.stock.as_deref());
        confine::as_caller(load).map(|(groups, remarks)| {
            log::diagnostics(&remarks);
            groups
        })
    });
    let groups = groups.transpose()?;
    let (tables, breaker, rest) = match confine::as_caller(breaker::arm)? {
        Verdict::Attach(breaker) => (tables, breaker, None),
        Verdict::Rest { why, left } => {
            log::error(why);
            (Vec::new(), None, Some(left))
        }
    };
    let (launcher, ended) = Launcher::start(&worker_program()?)?;
    sandbox::enter();
    log::info(match launcher.cgroups() {
        Ok(cgroups) => format!("worker limits: rlimits; {cgroups}"),
        Err(why) => format!("worker limits: rlimits alone, no cgroups: {why}"),
    });
    let (sender, events) = channel();
    events::watch_signals(sender.clone()).context("cannot watch for signals")?;
    early.store(false, Ordering::Release);
    events::watch_ends(sender.clone()).context("cannot watch standard input and output")?;
    events::watch_launcher(ended, sender.clone()).context("cannot watch the launcher")?;
    let (processes, running) = applications(groups);
    let groups = processes.as_ref().map_or(0, |processes| processes.groups().groups().len());
    let command_lines = processes.as_ref().is_some_and(|processes| processes.groups().reads_command_lines());
    let mut modules = Vec::new();
    for (table, hook_overrides) in tables {
        let shows_flows = table.has_flows() && loaded.config.programs.network_connections;
        let order = start_order(&loaded.config, hook_overrides, command_lines);
        let mut module = Module::start(table, order, groups, &launcher, &sender, facts.clone())?;
        module.expect_groups(&running);
        if let Some(seconds) = cli.canary_every {
            module.repeat_canary(Duration::from_secs(seconds.into()));
        }
        if shows_flows {
            module.show_flows(viewer(loaded));
        }
        modules.push(module);
    }
    if modules.is_empty() && rest.is_none() {
        log::warning("no program is switched on; there is nothing to draw");
    }
    let iterations = if cli.once { Some(u64::from(WHOLE_INTERVAL)) } else { cli.iterations };
    let supervisor = Supervisor {
        modules,
        processes,
        output,
        update_every,
        iterations,
        launcher,
        breaker,
        rest: rest.map(|left| Instant::now() + left),
        sender,
        events,
    };
    log::info(format!("ends: {}", supervisor.run()));
    Ok(ExitCode::SUCCESS)
}

/// What draws peers and ports.
fn viewer(loaded: &Loaded) -> Viewer {
    let file = loaded.file.as_deref().unwrap_or(Path::new("ebpf.conf"));
    let (viewer, remarks) = Viewer::new(&loaded.config, file, Servers::OfTheSystem);
    log::diagnostics(&remarks);
    viewer
}

/// The table of processes and the groups that have some now; nothing without applications.
fn applications(groups: Option<AppsGroups>) -> (Option<ProcessTable>, Vec<shared::apps::GroupId>) {
    let Some(groups) = groups else { return (None, Vec::new()) };
    let mut processes = ProcessTable::new(groups, "/proc");
    let running = processes.seed().unwrap_or_else(|error| {
        log::warning(format!(
            "cannot list /proc: {error}; processes that run already are known when they do something"
        ));
        Vec::new()
    });
    (Some(processes), running)
}

/// The tables of the programs that are switched on, each with the user's own hooks for it.
fn tables(dirs: &ConfigDirs, config: &Config) -> Result<Vec<(Table, Option<String>)>> {
    let mut tables = Vec::new();
    for module in MODULES {
        let mut table = Table::of(module)?;
        let enabled = match table.option.as_str() {
            "network viewer" => config.programs.network_viewer,
            _ => config.programs.process,
        };
        if enabled {
            let overrides = confine::as_caller(|| hook_overrides(dirs, &mut table))?;
            tables.push((table, overrides));
        }
    }
    Ok(tables)
}

/// The text of the user's `ebpf.d/<module>.toml`, if it is sound; it replaces hooks of `table`.
fn hook_overrides(dirs: &ConfigDirs, table: &mut Table) -> Option<String> {
    let file = dirs.user.as_ref()?.join("ebpf.d").join(format!("{}.toml", table.module));
    let text = match file::read_text(&file, LONGEST_TEXT) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            log::error(format!("cannot read {}: {error}; the built-in hooks are used", file.display()));
            return None;
        }
    };
    match table.replace_hooks(&text) {
        Ok(()) => {
            log::info(format!("{}: hooks replaced", file.display()));
            Some(text)
        }
        Err(error) => {
            log::error(format!("{}: {error}; the built-in hooks are used", file.display()));
            None
        }
    }
}

fn start_order(config: &Config, hook_overrides: Option<String>, command_lines: bool) -> StartOrder {
    StartOrder {
        load_mode: config.load_mode,
        apps: config.apps,
        command_lines: config.apps && command_lines,
        strategy: config.strategy,
        type_format: config.type_format,
        btf_path: config.btf_path.clone(),
        pid_table_size: config.pid_table_size,
        flows: config.programs.network_connections,
        hook_overrides,
        step: Duration::ZERO,
    }
}

/// `ebpf-worker`, which is installed beside this program.
fn worker_program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the path of this program")?;
    let worker = own.parent().unwrap_or(Path::new("/")).join("ebpf-worker");
    if !worker.is_file() {
        anyhow::bail!("{} is missing; it is installed beside {}", worker.display(), own.display());
    }
    Ok(worker)
}
