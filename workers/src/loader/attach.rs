//! Attaches the programs of one hook: all that it names, or an error. aya calls only.
//!
//! Programs are found by name: `function_EVENT_N`, `tp_btf_NAME`, `raw_tp_NAME`, `tracepoint_EVENT`, `kprobe_EVENT`, `kretprobe_EVENT`; where a
//! system call has a program of its own, or an event one for a function (`kprobe_EVENT_FUNCTION`), that one instead of the event's. A
//! `function_FUNCTION` serves several events.

use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::Ebpf;
use aya::programs::{Program, ProgramError};
use shared::hooks;
use shared::symbols::{system_call_of, takes_registers};
use shared::table::{Event, Hook};

use super::facts::Facts;
use super::kprobe::{Kprobe, Place};

/// Attaches everything that `hook` names for `event`; returns the attachments as `kind:target`.
///
/// kprobes are added to `kprobes`, which keeps them attached; all else stays attached with `ebpf`.
pub fn attach(
    ebpf: &mut Ebpf,
    facts: &Facts,
    event: &Event,
    hook: &Hook,
    kprobes: &mut Vec<Kprobe>,
) -> Result<Vec<String>> {
    let mut attached = Vec::new();
    if !hook.function.is_empty() {
        attach_functions(ebpf, facts, event, &targets(facts, event, &hook.function.0)?, &mut attached)?;
    }
    if !hook.kprobe.is_empty() {
        attach_kprobes(ebpf, event, &targets(facts, event, &hook.kprobe.0)?, kprobes, &mut attached)?;
    }
    for name in &hook.tp_btf.0 {
        attach_tp_btf(ebpf, facts, name).with_context(|| format!("tp_btf:{name}"))?;
        attached.push(format!("tp_btf:{name}"));
    }
    for name in &hook.raw_tp.0 {
        attach_raw_tp(ebpf, name).with_context(|| format!("raw_tp:{name}"))?;
        attached.push(format!("raw_tp:{name}"));
    }
    for name in &hook.tracepoint.0 {
        attach_tracepoint(ebpf, &event.name, name).with_context(|| format!("tracepoint:{name}"))?;
        attached.push(format!("tracepoint:{name}"));
    }
    Ok(attached)
}

/// Whether the kernel has what `hook` names and the object the programs for it; attaches nothing.
pub fn check(ebpf: &Ebpf, facts: &Facts, event: &Event, hook: &Hook) -> Result<()> {
    for names in [&hook.function, &hook.kprobe].into_iter().filter(|names| !names.is_empty()) {
        targets(facts, event, &names.0)?;
    }
    for name in &hook.tracepoint.0 {
        if ebpf.program(&tracepoint_program(ebpf, &event.name, name)).is_none() {
            bail!("tracepoint:{name} needs {}", hook.needs());
        }
    }
    Ok(())
}

/// The functions of this kernel that the names stand for.
fn targets(facts: &Facts, event: &Event, names: &[String]) -> Result<Vec<String>> {
    let found = hooks::targets(&facts.symbols, event, names);
    if found.is_empty() {
        bail!("this kernel has no function {}", names.join(" or "));
    }
    Ok(found)
}

/// The program of the event and the function, or of the system call whose function this is, or the event's.
fn program_base(ebpf: &Ebpf, event: &Event, function: &str, name: impl Fn(&str) -> String) -> String {
    let of_function = format!("{}_{function}", event.name);
    let of_call = system_call_of(function).map(str::to_owned);
    let own = [Some(of_function), of_call].into_iter().flatten();
    own.into_iter().find(|own| ebpf.program(&name(own)).is_some()).unwrap_or_else(|| event.name.clone())
}

fn attach_functions(
    ebpf: &mut Ebpf,
    facts: &Facts,
    event: &Event,
    functions: &[String],
    attached: &mut Vec<String>,
) -> Result<()> {
    let btf = facts.btf.as_ref().context("no BTF")?;
    for function in functions {
        let own = format!("function_{function}");
        let name = match ebpf.program(&own).map(|program| program.fd().is_ok()) {
            Some(false) => own,
            Some(true) => {
                attached.push(format!("{}:{function}", kind_of(ebpf, &own)));
                continue;
            }
            None => free_copy(ebpf, event, function)?,
        };
        let kind = match program(ebpf, &name)? {
            Program::FExit(program) => {
                program.load(function, btf).map_err(explain).with_context(|| format!("fexit:{function}"))?;
                program.attach().map_err(explain).with_context(|| format!("fexit:{function}"))?;
                "fexit"
            }
            Program::FEntry(program) => {
                program.load(function, btf).map_err(explain).with_context(|| format!("fentry:{function}"))?;
                program.attach().map_err(explain).with_context(|| format!("fentry:{function}"))?;
                "fentry"
            }
            _ => bail!("program `{name}` is neither fentry nor fexit"),
        };
        attached.push(format!("{kind}:{function}"));
    }
    Ok(())
}

/// A copy of the event's program that is not bound to a function yet.
fn free_copy(ebpf: &Ebpf, event: &Event, function: &str) -> Result<String> {
    let base = program_base(ebpf, event, function, |base| format!("function_{base}_0"));
    (0..)
        .map(|n| format!("function_{base}_{n}"))
        .map_while(|name| ebpf.program(&name).map(|program| (name, program.fd().is_ok())))
        .find_map(|(name, loaded)| (!loaded).then_some(name))
        .with_context(|| format!("more functions for `{}` than the object has programs", event.name))
}

fn kind_of(ebpf: &Ebpf, program: &str) -> &'static str {
    match ebpf.program(program) {
        Some(Program::FExit(_)) => "fexit",
        _ => "fentry",
    }
}

fn attach_kprobes(
    ebpf: &mut Ebpf,
    event: &Event,
    functions: &[String],
    kprobes: &mut Vec<Kprobe>,
    attached: &mut Vec<String>,
) -> Result<()> {
    for function in functions {
        let base = program_base(ebpf, event, function, |base| format!("kprobe_{base}"));
        let by_arguments = format!("kprobe_{base}_arguments");
        let entry = if !takes_registers(function) && ebpf.program(&by_arguments).is_some() {
            by_arguments
        } else {
            format!("kprobe_{base}")
        };
        // The return first: a call that is counted must have its result counted.
        let names =
            [("kretprobe", Place::Return, format!("kretprobe_{base}")), ("kprobe", Place::Entry, entry)];
        for (kind, place, name) in names {
            // Some events need only the one or the other.
            if ebpf.program(&name).is_none() {
                continue;
            }
            let Program::KProbe(program) = program(ebpf, &name)? else {
                bail!("program `{name}` is no kprobe");
            };
            if program.fd().is_err() {
                program.load().map_err(explain).with_context(|| format!("{kind}:{function}"))?;
            }
            let program = program.fd().context("the program is loaded")?.as_fd();
            let kprobe =
                Kprobe::attach(program, function, place).with_context(|| format!("{kind}:{function}"))?;
            kprobes.push(kprobe);
            attached.push(format!("{kind}:{function}"));
        }
    }
    Ok(())
}

/// One program may serve several events: it is attached once.
fn attach_tp_btf(ebpf: &mut Ebpf, facts: &Facts, tracepoint: &str) -> Result<()> {
    let btf = facts.btf.as_ref().context("no BTF")?;
    let Program::BtfTracePoint(program) = program(ebpf, &format!("tp_btf_{tracepoint}"))? else {
        bail!("the program is no typed tracepoint");
    };
    if program.fd().is_err() {
        program.load(tracepoint, btf).map_err(explain)?;
        program.attach().map_err(explain)?;
    }
    Ok(())
}

fn attach_raw_tp(ebpf: &mut Ebpf, tracepoint: &str) -> Result<()> {
    let Program::RawTracePoint(program) = program(ebpf, &format!("raw_tp_{tracepoint}"))? else {
        bail!("the program is no raw tracepoint");
    };
    if program.fd().is_err() {
        program.load().map_err(explain)?;
        program.attach(tracepoint).map_err(explain)?;
    }
    Ok(())
}

/// The tracepoint's own program, which several events may share, or else the event's.
fn tracepoint_program(ebpf: &Ebpf, event: &str, tracepoint: &str) -> String {
    let shared = format!("tracepoint_{}", tracepoint.replace('/', "_"));
    if ebpf.program(&shared).is_some() { shared } else { format!("tracepoint_{event}") }
}

fn attach_tracepoint(ebpf: &mut Ebpf, event: &str, tracepoint: &str) -> Result<()> {
    let (group, name) = tracepoint.split_once('/').context("a tracepoint is called group/name")?;
    let Program::TracePoint(program) = program(ebpf, &tracepoint_program(ebpf, event, tracepoint))? else {
        bail!("the program is no tracepoint");
    };
    if program.fd().is_err() {
        crate::tracefs::make_visible().context("tracefs cannot be used")?;
        let there = crate::tracefs::root().map(|root| root.join("events").join(tracepoint).try_exists());
        ensure!(!matches!(there, Some(Ok(false))), "this kernel has no such tracepoint");
        program.load().map_err(explain)?;
        program.attach(group, name).map_err(explain)?;
    }
    Ok(())
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program> {
    ebpf.program_mut(name).with_context(|| format!("this object has no program `{name}`"))
}

/// The verifier's last words instead of all of them: they say what it refused.
pub fn explain(error: ProgramError) -> anyhow::Error {
    let ProgramError::LoadError { io_error, verifier_log } = &error else {
        return anyhow!(error);
    };
    let log = verifier_log.to_string();
    let words: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    // Statistics stand behind what was refused.
    let is_statistic = |line: &str| {
        ["processed ", "verification time ", "stack depth "].iter().any(|start| line.starts_with(start))
    };
    let end: Vec<&str> = words.iter().rev().filter(|line| !is_statistic(line)).take(2).copied().collect();
    match end.as_slice() {
        [] => anyhow!("the kernel refuses the program: {io_error}"),
        lines => anyhow!(
            "the kernel refuses the program: {io_error}: {}",
            lines.iter().rev().copied().collect::<Vec<_>>().join(" | ")
        ),
    }
}
