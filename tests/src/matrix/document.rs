//! The document: one table for each kernel, cells down, events across; reasons and hooks below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::judge::EVENTS;
use super::line::{Line, Outcome};
use super::traffic;

const HEAD: &str = "\
# Kernels: what is counted exactly

Made by `tools/matrix`; `tools/matrix --check` compares. Do not edit.

Each line is one way of counting on one kernel, beside known loads: files, reads and writes with errors, forks, threads,
failed creations, processes that live for an instant or are killed, 32-bit calls, several at once. The guests are virtual
machines with one CPU of twelve possible ones; `host` is the machine that made this document.

- `exact`: every number of the event (calls, errors, bytes) is as done, to the unit. With applications that is the number
  of each load's group, and the groups' sum is the system's total; without, the growth of the system's total.
- `exact*`: the system's total grew by what the loads did, and by what the plugins themselves open, read and write every
  second, which is in the total too.
- `told`: exact, or fewer and told. This kernel preempts tasks inside typed programs (full or lazy preemption) and skips a
  program for all other tasks on that CPU until the first goes on. Never more than done is shown, and no more is missing
  than `ebpf.process_missed` draws as skipped by the kernel.
- `≤`: never more than done. The tracepoint `sched_process_free` of the host's kernel leaves out tasks under load, a few in a
  thousand or many at once, also for perf; kernels that offer `release_task` to us count all.
- Hooks on the function `tcp_retransmit_skb` (fexit, kprobe) do not hear of tail-loss probes, and the host's kernel runs programs
  at raw tracepoints (raw_tp) for some retransmits only: there `exact` and `≥` mean never more than done.
- `≥`: not fewer than done; other processes of the machine count too and cannot be told apart.
- `(n)`: not counted, for the reason n below the table, which the plugin logs.
- `-`: the mode has no numbers of this event.

A kretprobe follows few tasks in a call at once (one for each possible CPU before 6.2, so twelve here; then ten, or two for
each possible CPU if that is more), so it loses results where more wait or are preempted there. Where the hooks below name
one, `exact` holds for the loads that run one after the other and for all calls; results of the loads that run all at once
may be fewer, if `ebpf.process_missed` shows lost returns or, on kernels before 6.7, which do not tell, the log warns of it.
Without BTF the plugin therefore takes results from `sys_exit` unless `ebpf co-re tracing = probe` is set.

`objects`: which of the three builds of the programs counts; the hooks below would hardly tell.
`missed`: `ebpf.process_missed` is zero, but for such lost returns and, where programs are preempted, for what is skipped.
`sums`: groups add up to the system. `output`: the output is well-formed and no counter goes down; in the cells about a
faked release or replaced hooks also that what they are about holds.

Parts named `network` are about the network viewer, beside known traffic over TCP and UDP, IPv4 and IPv6: all ways of counting
at once, since the plugins themselves have none (they fly no canaries there). `tcp_retransmit` is compared with the kernel's own count (`RetransSegs`).
`flows`: bytes and packets of each peer and of each port are as done, and add up to the system's bytes.
";

/// Checks of a cell as a whole, after the events.
const CHECKS: [&str; 4] = ["objects", "missed", "sums", "output"];

/// The whole document. Kernels and cells come in the order of the lines.
pub fn render(lines: &[Line]) -> String {
    let mut text = HEAD.to_owned();
    for kernel in in_order(lines.iter().map(|line| line.kernel.as_str())) {
        let mut of_kernel: Vec<&Line> = Vec::new();
        for line in lines.iter().filter(|line| line.kernel == kernel) {
            // A cell that others are compared with runs once more beside them.
            if !of_kernel.iter().any(|known| (&known.cell, &known.event) == (&line.cell, &line.event)) {
                of_kernel.push(line);
            }
        }
        text += &section(kernel, &of_kernel);
    }
    text
}

/// One kernel's part.
fn section(kernel: &str, lines: &[&Line]) -> String {
    let mut text = format!("\n## {kernel}\n");
    let traffic = traffic::EVENTS.iter().map(|(event, _)| *event).chain([traffic::CHECK]);
    let columns: Vec<&str> = EVENTS.iter().map(|(event, _)| *event).chain(traffic).chain(CHECKS).collect();
    let shown: Vec<&str> =
        columns.iter().copied().filter(|column| lines.iter().any(|line| line.event == *column)).collect();
    let mut reasons = Vec::new();
    if !shown.is_empty() {
        writeln!(text, "\n| way | {} |", shown.join(" | ")).expect("a string takes all");
        writeln!(text, "|---|{}", "---|".repeat(shown.len())).expect("a string takes all");
        for cell in in_order(lines.iter().map(|line| line.cell.as_str())) {
            let of_cell: Vec<&Line> = lines.iter().copied().filter(|line| line.cell == cell).collect();
            if !of_cell.iter().any(|line| shown.contains(&line.event.as_str())) {
                continue;
            }
            let values: Vec<String> =
                shown.iter().map(|column| value(&of_cell, column, &mut reasons)).collect();
            writeln!(text, "| {cell} | {} |", values.join(" | ")).expect("a string takes all");
        }
    }
    for (reason, number) in reasons.iter().zip(1..) {
        write!(text, "\n({number}) {reason}\n").expect("a string takes all");
    }
    for line in lines.iter().filter(|line| !columns.contains(&line.event.as_str())) {
        write!(text, "\n{}: {}: {}\n", line.cell, line.event, line.outcome).expect("a string takes all");
    }
    text + &hooks(lines)
}

fn value(lines: &[&Line], column: &str, reasons: &mut Vec<String>) -> String {
    let Some(line) = lines.iter().find(|line| line.event == column) else {
        return "-".to_owned();
    };
    match &line.outcome {
        Outcome::Exact => "exact".to_owned(),
        Outcome::BesideOwn => "exact*".to_owned(),
        Outcome::Told => "told".to_owned(),
        Outcome::LeavesOut => "≤".to_owned(),
        Outcome::AtLeast => "≥".to_owned(),
        Outcome::Wrong(what) => format!("**{what}**"),
        Outcome::Fact(word) => word.clone(),
        Outcome::NotOffered(reason) => {
            let reason = general(reason);
            let at = reasons.iter().position(|known| *known == reason).unwrap_or_else(|| {
                reasons.push(reason);
                reasons.len() - 1
            });
            format!("({})", at + 1)
        }
    }
}

/// A reason without the function that it happens to be about: the same for all events.
fn general(reason: &str) -> String {
    // What the verifier printed has addresses and times in it; the log has all of it.
    let reason = reason.split(". Verifier output").next().unwrap_or(reason);
    let kinds = ["fexit:", "fentry:", "kretprobe:", "kprobe:"];
    let mut words = Vec::new();
    for word in reason.split(' ') {
        match kinds.iter().find(|kind| word.starts_with(**kind)) {
            Some(kind) => words.push(format!("{kind}…:")),
            None if word.starts_with('`') && word.ends_with('`') => words.push("`…`".to_owned()),
            None => words.push(word.to_owned()),
        }
    }
    let text = words.join(" ");
    let mut hooks: Vec<&str> = text.split("; ").collect();
    // Where programs are preempted, a trial decides which of the two tracepoints of a call is tried first.
    if hooks.iter().all(|hook| hook.starts_with("tracepoint:")) {
        hooks.sort_unstable();
    }
    hooks.join("; ")
}

/// Which hooks the ways used, where the mode and the applications make no difference: once for each way.
fn hooks(lines: &[&Line]) -> String {
    let mut by_hooks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for cell in in_order(lines.iter().map(|line| line.cell.as_str())) {
        let used: Vec<String> = lines
            .iter()
            .filter(|line| line.cell == cell && line.hook != "-" && line.hook != "none")
            .map(|line| format!("{} {}", line.event, line.hook))
            .collect();
        if !used.is_empty() {
            by_hooks.entry(used.join(", ")).or_default().insert(cell.to_owned());
        }
    }
    if by_hooks.is_empty() {
        return String::new();
    }
    let mut text = "\nHooks:\n\n".to_owned();
    for (used, cells) in by_hooks {
        writeln!(text, "- {used}: {}", cells.into_iter().collect::<Vec<_>>().join("; "))
            .expect("a string takes all");
    }
    text
}

/// Each once, in the order of their first appearance.
fn in_order<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for word in words {
        if !seen.contains(&word) {
            seen.push(word);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_reasons_are_told_once_and_missing_events_are_marked() {
        let line = |cell: &str, event: &str, hook: &str, outcome| Line {
            kernel: "6.1".to_owned(),
            cell: cell.to_owned(),
            event: event.to_owned(),
            hook: hook.to_owned(),
            outcome,
        };
        let refused = |function| Outcome::NotOffered(format!("kprobe:{function}: gone"));
        let text = render(&[
            line("probe", "open", "none", refused("a")),
            line("probe", "close", "none", refused("b")),
            line("auto", "open", "fexit ×4", Outcome::Exact),
        ]);
        let table = text.split_once("## 6.1\n\n").unwrap().1;
        assert_eq!(
            table,
            "| way | open | close |\n|---|---|---|\n| probe | (1) | (1) |\n| auto | exact | - |\n\n(1) kprobe:…: gone\n\
             \nHooks:\n\n- open fexit ×4: auto\n"
        );
    }
}
