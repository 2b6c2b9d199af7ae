//! Rules about the kernel's configuration: one row for each option.

use super::{Fact, Finding, Grade, HostFacts};

/// When an option matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing works without it.
    Always,
    /// Kernels without BTF have fewer ways without it.
    WithoutBtf,
    /// Another way is used.
    Better,
}

/// An option, when it matters, what for, and what is lost without it.
type Row = (&'static str, Need, &'static str, &'static str);

/// The specification's options, and those that we really use.
const OPTIONS: [Row; 13] = [
    ("BPF", Need::Always, "eBPF", "everything"),
    ("BPF_SYSCALL", Need::Always, "bpf(2)", "everything"),
    ("PERF_EVENTS", Need::Always, "events that programs are attached to", "everything"),
    ("BPF_EVENTS", Need::Always, "programs on tracepoints, functions and kprobes", "everything"),
    ("KALLSYMS", Need::Always, "finding functions by name", "everything at functions and system calls"),
    (
        "BPF_JIT",
        Need::Better,
        "programs as machine code, and fentry and fexit",
        "speed: each event costs several times more",
    ),
    (
        "DEBUG_INFO_BTF",
        Need::Better,
        "typed programs (fentry, fexit, tp_btf)",
        "some nanoseconds for each event",
    ),
    (
        "DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
        Need::Better,
        "fentry and fexit",
        "speed: every system call pays for the tracepoint instead",
    ),
    (
        "FTRACE_SYSCALLS",
        Need::Better,
        "tracepoints of system calls",
        "failures of clone3, where functions cannot be hooked",
    ),
    ("HAVE_KPROBES", Need::WithoutBtf, "kprobes", "kprobes; tracepoints are used"),
    ("KPROBES", Need::WithoutBtf, "kprobes", "kprobes; tracepoints are used"),
    ("KPROBE_EVENTS", Need::WithoutBtf, "kprobes from user space", "kprobes; tracepoints are used"),
    (
        "KPROBES_ON_FTRACE",
        Need::WithoutBtf,
        "kprobes at the price of a call",
        "speed: each kprobe costs a trap",
    ),
];

pub(super) fn findings(facts: &HostFacts) -> Vec<Finding> {
    let config = match &facts.config {
        Fact::Is(config) => config,
        Fact::Missing(why) | Fact::Unknown(why) => {
            let unknown = Finding::unknown("config", "kernel config", why)
                .because("which options the kernel has cannot be told; the trial shows what works")
                .fix(format!(
                    "modprobe configs, or install the package that has /boot/config-{} (Debian: linux-image, RHEL: kernel-core)",
                    facts.release
                ));
            return vec![unknown];
        }
    };
    let on = |option: &str| config.get(option).is_some_and(|value| value == "y" || value == "m");
    let missing: Vec<Finding> =
        OPTIONS.iter().filter(|(option, ..)| !on(option)).map(|row| missing(facts, row)).collect();
    if missing.is_empty() {
        let evidence = format!("{} has all {} options", facts.config_source, OPTIONS.len());
        return vec![Finding::good("config", "kernel config", evidence)];
    }
    missing
}

fn missing(facts: &HostFacts, (option, need, what, lost): &Row) -> Finding {
    let has_btf = matches!(facts.btf, Fact::Is(_));
    let grade = match need {
        Need::Always => Grade::Bad,
        Need::WithoutBtf if has_btf => Grade::Good,
        Need::WithoutBtf | Need::Better => Grade::Note,
    };
    let evidence = format!("{} lacks CONFIG_{option}", facts.config_source);
    let finding = Finding::no(grade, &format!("config.{option}"), "kernel config", evidence)
        .because(format!("it is for {what}"));
    if grade == Grade::Good {
        return finding.loses("nothing here: this kernel has BTF, which other hooks use");
    }
    finding.fix(format!("a kernel that is built with CONFIG_{option}=y")).loses(*lost)
}
