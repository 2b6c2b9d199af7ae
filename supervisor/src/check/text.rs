//! The report for people, coloured on a terminal.

use std::fmt::{self, Write};

use shared::host::{Finding, Grade, State};

use super::report::{CanaryVerdict, ChartState, Program, ProgramState, Report, Verdict};

/// How to write it.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// With colours.
    pub colour: bool,
    /// Nothing at all where all is well, and else only what is not.
    pub quiet: bool,
}

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";

impl Report {
    /// For people.
    pub fn text(&self, style: Style) -> String {
        let mut out = String::new();
        if !(style.quiet && self.verdict == Verdict::All) {
            // Writing to a String cannot fail.
            let _ = self.write(&mut out, style);
        }
        out
    }

    fn write(&self, out: &mut String, style: Style) -> fmt::Result {
        for finding in &self.findings {
            write_finding(out, finding, style)?;
        }
        for program in &self.programs {
            write_program(out, program, style)?;
        }
        let verdict = match self.verdict {
            Verdict::All if self.how == "facts" => "nothing speaks against it",
            Verdict::All => "everything is counted",
            Verdict::Degraded => "every program runs, but something is not counted",
            Verdict::Part => "a program cannot run",
            Verdict::Nothing => "no program can run",
        };
        let how = match self.how {
            "facts" => "; judged by the facts alone, nothing was tried",
            "forecast" => "; forecast for a kernel that does not run",
            _ => "",
        };
        writeln!(out, "{verdict}{how}")
    }
}

/// A word of five columns.
fn mark(word: &str, colour: &str, style: Style) -> String {
    if style.colour { format!("{colour}{word:<4}\x1b[0m ") } else { format!("{word:<4} ") }
}

/// A second line, under what it belongs to.
fn below(out: &mut String, word: &str, text: &str) -> fmt::Result {
    if text.is_empty() { Ok(()) } else { writeln!(out, "     {word:>14}: {text}") }
}

fn write_finding(out: &mut String, finding: &Finding, style: Style) -> fmt::Result {
    let mark = match (finding.grade, finding.state) {
        (Grade::Good, State::Yes) => mark("ok", GREEN, style),
        (Grade::Good, _) => mark("-", GREEN, style),
        (_, State::Unknown) => mark("?", YELLOW, style),
        (Grade::Note, _) => mark("note", YELLOW, style),
        (Grade::Less, _) => mark("LESS", RED, style),
        (Grade::Bad, _) => mark("BAD", RED, style),
    };
    if style.quiet && finding.grade < Grade::Less {
        return Ok(());
    }
    writeln!(out, "{mark}{:<14} {}", finding.subject, finding.evidence)?;
    below(out, "why", &finding.cause)?;
    below(out, "fix", &finding.fix)?;
    below(out, "lost", &finding.lost)
}

fn write_program(out: &mut String, program: &Program, style: Style) -> fmt::Result {
    let (word, colour) = match program.state {
        ProgramState::All => ("ok", GREEN),
        ProgramState::Degraded => ("LESS", RED),
        ProgramState::Cannot => ("BAD", RED),
    };
    if style.quiet && program.state == ProgramState::All {
        return Ok(());
    }
    let mark_of = mark(word, colour, style);
    if let Some(failure) = &program.failure {
        writeln!(out, "{mark_of}{:<14} cannot run: {}", program.program, failure.evidence)?;
        below(out, "why", &failure.cause)?;
        below(out, "fix", &failure.fix)?;
        return Ok(());
    }
    let memory = program.map_bytes.map_or_else(
        || "memory in the kernel not told".to_owned(),
        |bytes| format!("{} kB of maps in the kernel", bytes / 1000),
    );
    writeln!(
        out,
        "{mark_of}{:<14} {} mode, {} objects, {memory}",
        program.program, program.mode, program.objects
    )?;
    write_rights(out, program, style)?;
    write_events(out, program, style)?;
    write_charts(out, program, style)?;
    write_hooks(out, program, style)?;
    write_canary(out, program, style)
}

fn write_rights(out: &mut String, program: &Program, style: Style) -> fmt::Result {
    let Some(rights) = program.rights.as_ref().filter(|_| !style.quiet) else { return Ok(()) };
    let calls = if rights.seccomp { "system calls filtered" } else { "system calls not filtered" };
    if rights.kept.is_empty() {
        return writeln!(out, "     worker         no capabilities, {calls}");
    }
    writeln!(out, "     worker         keeps {}, {calls}", rights.kept.join(" "))?;
    below(out, "why", &format!("the kernel wants them for reading maps: {}", rights.why))
}

fn write_hooks(out: &mut String, program: &Program, style: Style) -> fmt::Result {
    if style.quiet {
        return Ok(());
    }
    for hook in &program.tried_hooks {
        let word = match hook.works {
            Some(true) => mark("yes", GREEN, style),
            Some(false) => mark("no", YELLOW, style),
            None => mark("?", YELLOW, style),
        };
        writeln!(out, "  {word}{:<14} {:<7} {} {}", hook.event, hook.objects, hook.hook, hook.reason)?;
    }
    Ok(())
}

fn write_events(out: &mut String, program: &Program, style: Style) -> fmt::Result {
    for event in &program.events {
        if event.hooks.is_empty() {
            let verb = if event.counts { "counted" } else { "heard" };
            writeln!(out, "     {:<14} is not {verb}", event.event)?;
        } else if style.quiet {
            continue;
        } else {
            writeln!(out, "     {:<14} {}", event.event, event.hooks.join(" "))?;
        }
        for refusal in &event.refused {
            writeln!(out, "     {:<14}   not {}", "", refusal.evidence)?;
            if event.hooks.is_empty() {
                below(out, "why", &refusal.cause)?;
                below(out, "fix", &refusal.fix)?;
            }
        }
    }
    Ok(())
}

fn write_charts(out: &mut String, program: &Program, style: Style) -> fmt::Result {
    for chart in &program.charts {
        if style.quiet && chart.state == ChartState::Yes {
            continue;
        }
        let word = match chart.state {
            ChartState::Yes => mark("ok", GREEN, style),
            ChartState::Part => mark("LESS", RED, style),
            ChartState::No => mark("NONE", RED, style),
        };
        let dimensions: Vec<String> = chart
            .dimensions
            .iter()
            .map(|dimension| {
                format!("{} by {}", dimension.dimension, dimension.strategy.as_deref().unwrap_or("nothing"))
            })
            .collect();
        writeln!(out, "  {word}{:<22} {}", chart.chart, dimensions.join(", "))?;
    }
    Ok(())
}

fn write_canary(out: &mut String, program: &Program, style: Style) -> fmt::Result {
    match &program.canary {
        CanaryVerdict::NotTried => Ok(()),
        CanaryVerdict::Failed(why) => writeln!(out, "  {}canary: {why}", mark("LESS", RED, style)),
        CanaryVerdict::Counted(outcome) => {
            let (done, counted) = outcome.operations();
            let wrong = outcome.wrong();
            if wrong.is_empty() {
                if style.quiet {
                    return Ok(());
                }
                let mark = mark("ok", GREEN, style);
                return writeln!(
                    out,
                    "  {mark}canary: {counted} of {done} operations of our own were counted"
                );
            }
            writeln!(out, "  {}canary: {}", mark("LESS", RED, style), wrong.join(", "))?;
            below(out, "fix", "try another way (`ebpf co-re tracing`), and report this output")
        }
    }
}
