//! What a host offers, and what follows from it: facts first, then rules. Pure; the supervisor gathers the facts.
//!
//! Every fact is known, known to be missing, or could not be found out, with the reason. Rules never guess: what could not be found out is
//! said to be so, and the trial with the real worker (`supervisor --check`) has the last word.

use std::collections::BTreeMap;

use serde::Serialize;

/// One thing that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact<T> {
    /// It is there.
    Is(T),
    /// It could not be found out, and why.
    Unknown(String),
}

/// Whether a filesystem that the kernel offers is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// `tracefs`, `debugfs`, `securityfs`.
    pub kind: String,
    /// Where; `None` when it is not mounted.
    pub place: Option<String>,
}

/// What was found on a host.
#[derive(Debug, Clone, Serialize)]
pub struct HostFacts {
    /// `uname -r`.
    pub release: String,
    /// The text that lists of bad kernels are compared with: /proc/version_signature, else /proc/version, else the release.
    pub version_text: String,
    /// The kernel's configuration: option without `CONFIG_` to its value; absent means not set.
    pub config: Fact<BTreeMap<String, String>>,
    /// Size of the kernel's BTF in bytes.
    pub btf: Fact<u64>,
    /// The lockdown state in force: `none`, `integrity`, `confidentiality`.
    pub lockdown: Fact<String>,
    /// tracefs, debugfs, securityfs.
    pub mounts: Vec<Mount>,
    /// Whether the kernel can probe functions through perf.
    pub kprobe_pmu: bool,
    /// /proc/sys/kernel/perf_event_paranoid.
    pub perf_event_paranoid: Fact<i32>,
    /// Capabilities in the effective set, as `CAP_BPF`.
    pub capabilities: Fact<Vec<String>>,
    /// Effective user id.
    pub effective_uid: u32,
}

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Good,
    /// It works, or may work, but less well.
    Note,
    /// It does not work like this.
    Bad,
}

/// One conclusion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How good or bad.
    pub grade: Grade,
    /// What it is about.
    pub subject: String,
    /// What was found.
    pub text: String,
    /// What to do; empty when there is nothing to do.
    pub fix: String,
}

fn finding(grade: Grade, subject: &str, text: impl Into<String>, fix: &str) -> Finding {
    Finding { grade, subject: subject.to_owned(), text: text.into(), fix: fix.to_owned() }
}

/// What the facts say. The order is that in which a person would mend things.
pub fn findings(facts: &HostFacts, rejected_by: Option<&str>) -> Vec<Finding> {
    let mut findings =
        vec![kernel(facts, rejected_by), privileges(facts), config(facts), btf(facts), lockdown(facts)];
    findings.push(kprobes(facts));
    findings.extend(mounts(facts));
    findings
}

fn kernel(facts: &HostFacts, rejected_by: Option<&str>) -> Finding {
    match rejected_by {
        Some(line) => finding(
            Grade::Bad,
            "kernel",
            format!(
                "{} is on the list of kernels that cannot run eBPF safely (`{line}`)",
                facts.version_text
            ),
            "update the kernel",
        ),
        None => finding(Grade::Good, "kernel", facts.release.clone(), ""),
    }
}

/// Capabilities that let a worker load and attach everything; SYS_ADMIN alone does, too, as it did before 5.8.
const WANTED: [&str; 2] = ["CAP_BPF", "CAP_PERFMON"];

/// Whether these capabilities let a worker load and attach.
pub fn may_load(capabilities: &[String]) -> bool {
    let has = |name: &str| capabilities.iter().any(|capability| capability == name);
    has("CAP_SYS_ADMIN") || WANTED.iter().all(|name| has(name))
}

fn privileges(facts: &HostFacts) -> Finding {
    const FIX: &str = "run as root, or install the plugin as `root:netdata`, mode 4750";
    let capabilities = match &facts.capabilities {
        Fact::Is(capabilities) => capabilities,
        Fact::Unknown(why) => return finding(Grade::Note, "privileges", format!("not known: {why}"), ""),
    };
    if !may_load(capabilities) {
        let text = format!(
            "uid {} has neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON: nothing can be loaded",
            facts.effective_uid
        );
        return finding(Grade::Bad, "privileges", text, FIX);
    }
    // Debian's level 3 asks for CAP_SYS_ADMIN where others are content with CAP_PERFMON.
    let paranoid = matches!(facts.perf_event_paranoid, Fact::Is(level) if level > 2);
    if paranoid && !capabilities.iter().any(|capability| capability == "CAP_SYS_ADMIN") {
        let text = "perf_event_paranoid is 3 and CAP_SYS_ADMIN is missing: kprobes and tracepoints cannot be attached";
        return finding(Grade::Note, "privileges", text, FIX);
    }
    finding(Grade::Good, "privileges", "eBPF programs may be loaded", "")
}

/// Options without which nothing works, with what each is for.
const REQUIRED: [(&str, &str); 2] = [("BPF", "eBPF"), ("BPF_SYSCALL", "eBPF from user space")];

/// Options of which some strategy has a use.
const USEFUL: [(&str, &str); 6] = [
    ("BPF_JIT", "eBPF at full speed"),
    ("DEBUG_INFO_BTF", "typed programs (fentry, fexit, tp_btf)"),
    ("KPROBES", "kprobes"),
    ("KPROBE_EVENTS", "kprobes through perf and tracefs"),
    ("KPROBES_ON_FTRACE", "kprobes at the price of a call"),
    ("FTRACE_SYSCALLS", "tracepoints of system calls"),
];

fn config(facts: &HostFacts) -> Finding {
    let config = match &facts.config {
        Fact::Is(config) => config,
        Fact::Unknown(why) => return finding(Grade::Note, "kernel config", format!("not known: {why}"), ""),
    };
    let on = |option: &str| config.get(option).is_some_and(|value| value == "y" || value == "m");
    let missing = |options: &[(&str, &str)]| -> Vec<String> {
        let missing = options.iter().filter(|(option, _)| !on(option));
        missing.map(|(option, what)| format!("CONFIG_{option} ({what})")).collect()
    };
    let (required, useful) = (missing(&REQUIRED), missing(&USEFUL));
    if !required.is_empty() {
        let text = format!("lacks {}", required.join(", "));
        return finding(Grade::Bad, "kernel config", text, "use a kernel that is built with them");
    }
    if !useful.is_empty() {
        return finding(
            Grade::Note,
            "kernel config",
            format!("lacks {}; other ways are used", useful.join(", ")),
            "",
        );
    }
    finding(Grade::Good, "kernel config", "has everything", "")
}

fn btf(facts: &HostFacts) -> Finding {
    match &facts.btf {
        Fact::Is(bytes) => finding(Grade::Good, "BTF", format!("{bytes} bytes: typed programs"), ""),
        Fact::Unknown(why) => finding(
            Grade::Note,
            "BTF",
            format!("none ({why}): kprobes and raw tracepoints are used, which cost more"),
            "a kernel with CONFIG_DEBUG_INFO_BTF; or set `btf path` in ebpf.conf",
        ),
    }
}

fn lockdown(facts: &HostFacts) -> Finding {
    match &facts.lockdown {
        Fact::Is(state) if state == "confidentiality" && !matches!(facts.btf, Fact::Is(_)) => finding(
            Grade::Bad,
            "lockdown",
            "confidentiality forbids kprobes and reading kernel memory, and without BTF there is no other way",
            "boot with lockdown=integrity, or use a kernel with BTF",
        ),
        Fact::Is(state) if state == "confidentiality" => {
            finding(Grade::Note, "lockdown", "confidentiality: typed programs only", "")
        }
        Fact::Is(state) => finding(Grade::Good, "lockdown", state.clone(), ""),
        Fact::Unknown(why) => finding(
            Grade::Note,
            "lockdown",
            format!("not known: {why}"),
            "to see it: mount -t securityfs securityfs /sys/kernel/security",
        ),
    }
}

fn kprobes(facts: &HostFacts) -> Finding {
    if facts.kprobe_pmu {
        return finding(Grade::Good, "kprobes", "through perf", "");
    }
    finding(Grade::Note, "kprobes", "not offered through perf; needed only without BTF", "")
}

fn mounts(facts: &HostFacts) -> Vec<Finding> {
    let wanted = [
        ("tracefs", "/sys/kernel/tracing", "where it is needed a worker mounts it for itself alone"),
        ("debugfs", "/sys/kernel/debug", "needed only for tracefs before Linux 4.1"),
    ];
    let of = |kind: &str| {
        facts.mounts.iter().find(|mount| mount.kind == kind).and_then(|mount| mount.place.clone())
    };
    let judge = |(kind, place, need): (&str, &str, &str)| match of(kind) {
        Some(at) => finding(Grade::Good, kind, format!("mounted on {at}"), ""),
        None => finding(
            Grade::Note,
            kind,
            format!("not mounted; {need}"),
            &format!("mount -t {kind} nodev {place}"),
        ),
    };
    wanted.map(judge).into()
}

/// The line of a list of bad kernels that `version_text` begins with.
///
/// `list`: as Netdata's `ebpf_kernel_reject_list.txt`: one prefix a line; empty lines and lines that start with `#` say nothing.
pub fn rejected_by<'a>(list: &'a str, version_text: &str) -> Option<&'a str> {
    let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.into_iter().find(|line| version_text.starts_with(line))
}

/// The kernels that are known to break under eBPF; Netdata's own list, as of v1.29.0 and later.
pub const REJECTED_KERNELS: &str = include_str!("../../conf/ebpf_kernel_reject_list.txt");

/// What /boot/config-RELEASE or /proc/config.gz says.
pub fn parse_config(text: &str) -> BTreeMap<String, String> {
    let settings = text.lines().filter_map(|line| line.trim().strip_prefix("CONFIG_")?.split_once('='));
    settings.map(|(option, value)| (option.to_owned(), value.to_owned())).collect()
}

/// The word in brackets: `none [integrity] confidentiality`.
pub fn lockdown_in_force(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(state, _)| state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_good() -> HostFacts {
        let config = "CONFIG_BPF=y\nCONFIG_BPF_SYSCALL=y\nCONFIG_BPF_JIT=y\nCONFIG_DEBUG_INFO_BTF=y\nCONFIG_KPROBES=y\n\
                      CONFIG_KPROBE_EVENTS=y\nCONFIG_KPROBES_ON_FTRACE=y\nCONFIG_FTRACE_SYSCALLS=y\n# CONFIG_X is not set\n";
        HostFacts {
            release: "6.12.1".to_owned(),
            version_text: "Linux version 6.12.1".to_owned(),
            config: Fact::Is(parse_config(config)),
            btf: Fact::Is(5_000_000),
            lockdown: Fact::Is("none".to_owned()),
            mounts: ["tracefs", "debugfs"]
                .map(|kind| Mount { kind: kind.to_owned(), place: Some("/sys/kernel".to_owned()) })
                .into(),
            kprobe_pmu: true,
            perf_event_paranoid: Fact::Is(3),
            capabilities: Fact::Is(vec!["CAP_SYS_ADMIN".to_owned()]),
            effective_uid: 0,
        }
    }

    fn worst(facts: &HostFacts) -> Grade {
        findings(facts, None).into_iter().map(|finding| finding.grade).max().unwrap_or(Grade::Good)
    }

    #[test]
    fn a_good_host_has_nothing_to_say_against_it() {
        assert_eq!(worst(&all_good()), Grade::Good);
    }

    #[test]
    fn each_missing_fact_changes_the_verdict_as_it_should() {
        type Case = (fn(&mut HostFacts), Grade, &'static str);
        let cases: [Case; 9] = [
            (|facts| facts.btf = Fact::Unknown("no such file".to_owned()), Grade::Note, "BTF"),
            (|facts| facts.kprobe_pmu = false, Grade::Note, "kprobes"),
            (|facts| facts.mounts.clear(), Grade::Note, "tracefs"),
            (|facts| facts.lockdown = Fact::Is("confidentiality".to_owned()), Grade::Note, "lockdown"),
            (|facts| facts.lockdown = Fact::Unknown("not mounted".to_owned()), Grade::Note, "lockdown"),
            (|facts| facts.config = Fact::Unknown("no file".to_owned()), Grade::Note, "kernel config"),
            (|facts| facts.config = Fact::Is(BTreeMap::new()), Grade::Bad, "kernel config"),
            (|facts| facts.capabilities = Fact::Is(Vec::new()), Grade::Bad, "privileges"),
            (
                |facts| facts.capabilities = Fact::Is(vec!["CAP_BPF".to_owned(), "CAP_PERFMON".to_owned()]),
                Grade::Note,
                "privileges",
            ),
        ];
        for (remove, grade, subject) in cases {
            let mut facts = all_good();
            remove(&mut facts);
            let changed: Vec<Finding> =
                findings(&facts, None).into_iter().filter(|finding| finding.grade != Grade::Good).collect();
            assert_eq!(worst(&facts), grade, "{changed:?}");
            assert!(changed.iter().any(|finding| finding.subject == subject), "{subject}: {changed:?}");
        }
    }

    #[test]
    fn confidentiality_without_btf_is_the_end() {
        let mut facts = all_good();
        facts.lockdown = Fact::Is("confidentiality".to_owned());
        facts.btf = Fact::Unknown("none".to_owned());
        assert_eq!(worst(&facts), Grade::Bad);
    }

    #[test]
    fn a_bad_kernel_is_known_by_the_beginning_of_its_version_text() {
        assert_eq!(
            rejected_by("\n# bad\nUbuntu 4.18.0-13.\n", "Ubuntu 4.18.0-13.14 x"),
            Some("Ubuntu 4.18.0-13.")
        );
        assert_eq!(rejected_by("Ubuntu 4.18.0-13.\n", "Ubuntu 4.18.0-130.1"), None);
        assert_eq!(rejected_by("", "anything"), None);
        assert!(rejected_by(REJECTED_KERNELS, "Ubuntu 4.18.0-13.14-generic 4.18.17").is_some());
    }

    #[test]
    fn the_state_in_force_stands_in_brackets() {
        assert_eq!(lockdown_in_force("none [integrity] confidentiality\n"), Some("integrity"));
        assert_eq!(lockdown_in_force("rubbish"), None);
    }
}
