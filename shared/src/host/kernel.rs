//! Rules about the kernel itself: its version, its name on the list of bad ones, its types and symbols.

use super::{Fact, Finding, Grade, HostFacts};

/// The kernels that are known to break under eBPF; Netdata's own list, as of v1.29.0 and later.
pub const REJECTED_KERNELS: &str = include_str!("../../../conf/ebpf_kernel_reject_list.txt");

/// The line of a list of bad kernels that `version_text` begins with.
///
/// `list`: as Netdata's `ebpf_kernel_reject_list.txt`: one prefix a line; empty lines and lines that start with `#` say nothing.
pub fn rejected_by<'a>(list: &'a str, version_text: &str) -> Option<&'a str> {
    let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.into_iter().find(|line| version_text.starts_with(line))
}

pub(super) fn findings(facts: &HostFacts, rejected: Option<&str>) -> Vec<Finding> {
    let mut all = vec![version(facts)];
    all.extend(rejected.map(|line| reject(facts, line)));
    all.extend([btf(facts), symbols(facts)]);
    all.extend(preemption(facts));
    all
}

fn reject(facts: &HostFacts, line: &str) -> Finding {
    Finding::no(Grade::Bad, "kernel.rejected", "kernel", facts.version_text.clone())
        .because(format!("it is on the list of kernels that eBPF crashes (`{line}`)"))
        .fix("install a newer kernel package of the distribution and reboot")
        .loses("everything: no program is loaded")
}

/// Major and minor of `CentOS Linux release 7.6.1810 (Core)`.
fn red_hat_version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_ascii_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut words = number.split('.').map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

fn version(facts: &HostFacts) -> Finding {
    const ID: &str = "kernel.version";
    let (major, minor) = facts.kernel_version();
    if (major, minor) == (0, 0) {
        return Finding::unknown(ID, "kernel", &format!("the release `{}` is no version", facts.release));
    }
    let red_hat = facts.red_hat.value().and_then(|text| red_hat_version(text));
    if (major, minor) >= (4, 11) {
        return Finding::good(ID, "kernel", facts.release.clone());
    }
    match red_hat {
        Some(version) if version >= (7, 6) => Finding::good(
            ID,
            "kernel",
            format!(
                "{} of Red Hat {}.{}, which has eBPF of later kernels",
                facts.release, version.0, version.1
            ),
        ),
        _ => Finding::no(Grade::Bad, ID, "kernel", facts.release.clone())
            .because("eBPF needs Linux 4.11, or RHEL or CentOS 7.6")
            .fix("install a newer kernel package of the distribution (RHEL, CentOS: yum update) and reboot")
            .loses("everything: no program can be loaded"),
    }
}

fn btf(facts: &HostFacts) -> Finding {
    const ID: &str = "kernel.btf";
    let why = match &facts.btf {
        Fact::Is(bytes) => return Finding::good(ID, "BTF", format!("{bytes} bytes")),
        Fact::Missing(why) => why,
        Fact::Unknown(why) => return Finding::unknown(ID, "BTF", why),
    };
    let fix = match facts.option("DEBUG_INFO_BTF") {
        Some(false) | None => {
            "a kernel with CONFIG_DEBUG_INFO_BTF=y (Debian 11, Ubuntu 20.10, RHEL 8.2 and later have it); or set `btf path` in ebpf.conf to the directory of a vmlinux with this kernel's BTF"
        }
        // The kernel has it, so it is hidden, as in some containers.
        Some(true) => {
            "the kernel has it: let this mount namespace see /sys/kernel/btf (mount sysfs), or set `btf path` in ebpf.conf"
        }
    };
    Finding::no(Grade::Note, ID, "BTF", why.clone())
        .because("typed programs (fentry, fexit, tp_btf) need it; raw tracepoints and kprobes are used instead")
        .fix(fix)
        .loses("some nanoseconds for each event, command lines of processes that lived for an instant, and lockdown=confidentiality")
}

fn symbols(facts: &HostFacts) -> Finding {
    const ID: &str = "kernel.symbols";
    match &facts.symbols {
        Fact::Is(0) => Finding::no(Grade::Bad, ID, "symbols", "/proc/kallsyms names no function")
            .because("functions and system calls are found by their names")
            .fix("a kernel with CONFIG_KALLSYMS=y")
            .loses("everything that is counted at functions and system calls"),
        Fact::Is(count) => Finding::good(ID, "symbols", format!("{count} functions")),
        Fact::Missing(why) => Finding::no(Grade::Bad, ID, "symbols", why.clone())
            .because("functions and system calls are found by their names")
            .fix("a kernel with CONFIG_KALLSYMS=y, and /proc mounted")
            .loses("everything: workers need /proc/kallsyms"),
        Fact::Unknown(why) => Finding::unknown(ID, "symbols", why),
    }
}

/// Only told where it is so.
fn preemption(facts: &HostFacts) -> Option<Finding> {
    let preempts = facts.option("PREEMPT") == Some(true)
        || facts.option("PREEMPT_LAZY") == Some(true)
        || facts.option("PREEMPT_RT") == Some(true);
    preempts.then(|| {
        Finding::no(Grade::Note, "kernel.preemption", "preemption", "CONFIG_PREEMPT, PREEMPT_LAZY or PREEMPT_RT")
            .because("tasks may be preempted inside programs, which the kernel then skips for others; a trial at the start decides whether safer hooks are used")
            .fix("nothing has to be done; boot with preempt=voluntary or preempt=none where the kernel offers it for the cheapest hooks")
            .loses("what is skipped is drawn in ebpf.process_missed")
    })
}
