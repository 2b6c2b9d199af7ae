//! The report about a kernel that does not run, from its files.

use std::path::Path;

use anyhow::{Context, Result};
use shared::btf::Btf;
use shared::config::{Config, ConfigDirs};
use shared::forecast::{self, Kernel};
use shared::host::{self, Fact, HostFacts, parse_config};
use shared::symbols::Symbols;

use super::read;
use super::report::{CanaryVerdict, Program, Report};
use crate::cli::Cli;

/// The report; `kallsyms`: the file of symbols.
pub fn report(cli: &Cli, kallsyms: &Path, dirs: &ConfigDirs, config: &Config) -> Result<Report> {
    let (kernel, facts) = gather(cli, kallsyms)?;
    // Only what the files tell.
    let told = ["config", "kernel.btf", "kernel.symbols", "kernel.preemption"];
    let mut findings = host::findings(&facts, None);
    findings.retain(|finding| told.iter().any(|id| finding.id.starts_with(id)));
    let mut programs = Vec::new();
    for (table, hook_overrides) in crate::tables(dirs, config)? {
        let order = crate::start_order(config, hook_overrides, true);
        let plan = forecast::plan(&table, &order, &kernel);
        let mut program =
            Program::planned(&table, config.load_mode, config.apps, &plan, CanaryVerdict::NotTried, &facts);
        program.tried_hooks = forecast::every_hook(&table, &order, &kernel);
        programs.push(program);
    }
    Ok(Report::new("forecast", &facts, findings, programs))
}

fn gather(cli: &Cli, kallsyms: &Path) -> Result<(Kernel, HostFacts)> {
    let text = |file: &Path| read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let symbols = Symbols::parse(&text(kallsyms)?);
    let mut facts = HostFacts { symbols: Fact::Is(symbols.len() as u64), ..HostFacts::default() };
    facts.btf = Fact::Missing("no --btf was given".to_owned());
    let mut kernel = Kernel { symbols, ..Kernel::default() };
    if let Some(file) = &cli.btf {
        let bytes = read(file)?;
        facts.btf = Fact::Is(bytes.len() as u64);
        kernel.btf = Some(Btf::parse(&bytes).with_context(|| format!("{}", file.display()))?);
    }
    if let Some(file) = &cli.kernel_config {
        let text = text(file)?;
        facts.release = release(&text).unwrap_or_default().to_owned();
        facts.config = Fact::Is(parse_config(&text));
        facts.config_source = file.display().to_string();
        kernel.config = Some(parse_config(&text));
    }
    if let Some(file) = &cli.functions {
        let text = text(file)?;
        let names = text.lines().filter_map(|line| line.split_ascii_whitespace().next());
        kernel.traceable = Some(names.map(str::to_owned).collect());
    }
    Ok((kernel, facts))
}

/// `# Linux/x86 6.1.192 Kernel Configuration`.
fn release(config: &str) -> Option<&str> {
    let line = config.lines().take(10).find(|line| line.contains("Kernel Configuration"))?;
    line.split_ascii_whitespace().nth(2)
}
