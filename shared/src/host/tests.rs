use std::collections::BTreeSet;

use super::*;

/// A host on which everything is as it should be.
fn all_good() -> HostFacts {
    let config = "CONFIG_BPF=y\nCONFIG_BPF_SYSCALL=y\nCONFIG_BPF_JIT=y\nCONFIG_DEBUG_INFO_BTF=y\nCONFIG_KPROBES=y\n\
                  CONFIG_KPROBE_EVENTS=y\nCONFIG_KPROBES_ON_FTRACE=y\nCONFIG_FTRACE_SYSCALLS=y\nCONFIG_HAVE_KPROBES=y\n\
                  CONFIG_PERF_EVENTS=y\nCONFIG_BPF_EVENTS=y\nCONFIG_KALLSYMS=y\n\
                  CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y\n# CONFIG_X is not set\n";
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let all =
        strings(&["CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON", "CAP_SYS_RESOURCE", "CAP_DAC_READ_SEARCH"]);
    HostFacts {
        version: FACTS_VERSION,
        release: "6.12.1".to_owned(),
        version_text: "Linux version 6.12.1".to_owned(),
        config: Fact::Is(parse_config(config)),
        config_source: "/boot/config-6.12.1".to_owned(),
        btf: Fact::Is(5_000_000),
        symbols: Fact::Is(100_000),
        lockdown: Fact::Is("none".to_owned()),
        security_modules: Fact::Is(strings(&["capability", "lockdown"])),
        selinux: Selinux { mode: Fact::Missing("not in this kernel".to_owned()), ..Selinux::default() },
        mounts: ["tracefs", "debugfs"]
            .map(|kind| Mount {
                kind: kind.to_owned(),
                place: Some("/sys/kernel".to_owned()),
                mode: "0700 root".to_owned(),
                readable: true,
            })
            .into(),
        kprobe_pmu: true,
        capabilities: Capabilities { effective: Fact::Is(all.clone()), bounding: Fact::Is(all) },
        cpus: Cpus { online: 2, possible: 2 },
        ..HostFacts::default()
    }
}

fn set(facts: &mut HostFacts, name: &str, value: i64) {
    facts.settings.insert(name.to_owned(), Fact::Is(value.to_string()));
}

fn only(facts: &mut HostFacts, capabilities: &[&str]) {
    facts.capabilities.effective = Fact::Is(capabilities.iter().map(|name| (*name).to_owned()).collect());
}

fn not_good(facts: &HostFacts) -> Vec<Finding> {
    findings(facts, None).into_iter().filter(|finding| finding.grade != Grade::Good).collect()
}

#[test]
fn a_good_host_has_nothing_to_say_against_it() {
    assert_eq!(not_good(&all_good()), []);
}

#[test]
fn each_fact_that_is_not_good_changes_the_verdict_as_it_should() {
    type Case = (&'static str, Grade, fn(&mut HostFacts));
    let cases: [Case; 31] = [
        ("kernel.version", Grade::Bad, |facts| facts.release = "4.10.0-1".to_owned()),
        ("kernel.version", Grade::Note, |facts| facts.release = "odd".to_owned()),
        ("kernel.btf", Grade::Note, |facts| facts.btf = Fact::Missing("no such file".to_owned())),
        ("kernel.btf", Grade::Note, |facts| facts.btf = Fact::Unknown("denied".to_owned())),
        ("kernel.symbols", Grade::Bad, |facts| facts.symbols = Fact::Is(0)),
        ("kernel.symbols", Grade::Bad, |facts| facts.symbols = Fact::Missing("no such file".to_owned())),
        ("kernel.preemption", Grade::Note, |facts| {
            facts.config = Fact::Is(
                facts
                    .config
                    .value()
                    .unwrap()
                    .iter()
                    .map(|(a, b)| (a.clone(), b.clone()))
                    .chain([("PREEMPT_LAZY".to_owned(), "y".to_owned())])
                    .collect(),
            );
        }),
        ("rights.capabilities", Grade::Bad, |facts| only(facts, &[])),
        ("rights.capabilities", Grade::Note, |facts| {
            facts.capabilities.effective = Fact::Unknown("?".to_owned())
        }),
        ("rights.bounding", Grade::Bad, |facts| facts.capabilities.bounding = Fact::Is(Vec::new())),
        ("rights.bounding", Grade::Note, |facts| {
            facts.capabilities.bounding = Fact::Is(vec!["CAP_SYS_ADMIN".to_owned()]);
        }),
        ("rights.no_new_privs", Grade::Note, |facts| {
            (facts.no_new_privs, facts.effective_uid) = (Fact::Is(true), 999);
        }),
        ("rights.nosuid", Grade::Note, |facts| (facts.plugin.nosuid, facts.effective_uid) = (true, 999)),
        ("rights.paranoid", Grade::Note, |facts| {
            only(facts, &["CAP_BPF", "CAP_PERFMON"]);
            set(facts, "kernel.perf_event_paranoid", 3);
        }),
        ("rights.tracefs", Grade::Note, |facts| {
            only(facts, &["CAP_BPF", "CAP_PERFMON"]);
            facts.effective_uid = 999;
        }),
        ("rights.seccomp", Grade::Note, |facts| facts.seccomp = Fact::Is(true)),
        ("rights.memlock", Grade::Less, |facts| {
            facts.release = "5.10.0".to_owned();
            only(facts, &["CAP_SYS_ADMIN"]);
            facts.locked_memory = Fact::Is(Limit { soft: 65_536, hard: 65_536 });
        }),
        ("rights.open_files", Grade::Less, |facts| facts.open_files = Fact::Is(Limit { soft: 64, hard: 64 })),
        ("lockdown.state", Grade::Note, |facts| facts.lockdown = Fact::Is("confidentiality".to_owned())),
        ("lockdown.state", Grade::Note, |facts| facts.lockdown = Fact::Unknown("not mounted".to_owned())),
        ("lockdown.state", Grade::Bad, |facts| {
            facts.lockdown = Fact::Is("confidentiality".to_owned());
            facts.btf = Fact::Missing("none".to_owned());
        }),
        ("selinux.mode", Grade::Note, |facts| facts.selinux.mode = Fact::Is("enforcing".to_owned())),
        ("selinux.denial", Grade::Less, |facts| {
            facts.selinux.mode = Fact::Is("enforcing".to_owned());
            facts.selinux.denials =
                Fact::Is(vec!["avc: denied { map_create } scontext=u:r:netdata_t:s0".to_owned()]);
        }),
        ("config", Grade::Note, |facts| facts.config = Fact::Unknown("no file".to_owned())),
        ("config.BPF_SYSCALL", Grade::Bad, |facts| facts.config = Fact::Is(parse_config("CONFIG_BPF=y"))),
        ("config.KPROBES", Grade::Note, |facts| {
            facts.config = Fact::Is(parse_config("CONFIG_BPF=y"));
            facts.btf = Fact::Missing("none".to_owned());
        }),
        ("mount.tracefs", Grade::Note, |facts| facts.mounts.clear()),
        ("probes.enabled", Grade::Note, |facts| facts.kprobes_enabled = Fact::Is(false)),
        ("sysctl.net.core.bpf_jit_enable", Grade::Note, |facts| set(facts, "net.core.bpf_jit_enable", 0)),
        ("cpus", Grade::Note, |facts| facts.cpus = Cpus { online: 2, possible: 240 }),
        ("container", Grade::Note, |facts| facts.container = Fact::Is("docker".to_owned())),
    ];
    for (id, grade, change) in cases {
        let mut facts = all_good();
        change(&mut facts);
        let found = not_good(&facts);
        let finding = found.iter().find(|finding| finding.id == id);
        let finding = finding.unwrap_or_else(|| panic!("{id} is not found: {found:#?}"));
        assert_eq!(finding.grade, grade, "{finding:?}");
        assert!(!finding.evidence.is_empty(), "{finding:?}");
        if finding.grade >= Grade::Less {
            assert!(
                !finding.cause.is_empty() && !finding.fix.is_empty() && !finding.lost.is_empty(),
                "{finding:?}"
            );
        }
    }
}

#[test]
fn red_hat_7_6_is_as_good_as_4_11() {
    let mut facts = all_good();
    facts.release = "3.10.0-957.el7.x86_64".to_owned();
    facts.red_hat = Fact::Is("CentOS Linux release 7.6.1810 (Core)".to_owned());
    assert!(
        findings(&facts, None)
            .iter()
            .any(|finding| finding.id == "kernel.version" && finding.state == State::Yes)
    );
    facts.red_hat = Fact::Is("Red Hat Enterprise Linux Server release 7.5 (Maipo)".to_owned());
    assert!(
        findings(&facts, None)
            .iter()
            .any(|finding| finding.id == "kernel.version" && finding.state == State::No)
    );
}

#[test]
fn a_bad_kernel_is_known_by_the_beginning_of_its_version_text() {
    assert_eq!(
        rejected_by("\n# bad\nUbuntu 4.18.0-13.\n", "Ubuntu 4.18.0-13.14 x"),
        Some("Ubuntu 4.18.0-13.")
    );
    assert_eq!(rejected_by("Ubuntu 4.18.0-13.\n", "Ubuntu 4.18.0-130.1"), None);
    assert_eq!(rejected_by("", "anything"), None);
    let line = rejected_by(REJECTED_KERNELS, "Ubuntu 4.18.0-13.14-generic 4.18.17");
    assert!(hopeless(&findings(&all_good(), line)).is_some_and(|finding| finding.id == "kernel.rejected"));
}

#[test]
fn the_state_in_force_stands_in_brackets() {
    assert_eq!(lockdown_in_force("none [integrity] confidentiality\n"), Some("integrity"));
    assert_eq!(lockdown_in_force("rubbish"), None);
}

type Failure = (&'static str, &'static str, fn(&mut HostFacts));

/// For each row of the classifier: an error text of ours, and what is special about the host.
const FAILURES: [Failure; 29] = [
    ("files", "failed to create map `rows`: Too many open files (os error 24)", |_| {}),
    ("rights", "failed to create map `rows`: Operation not permitted (os error 1)", |facts| only(facts, &[])),
    ("map.memlock", "failed to create map `overflow`: Operation not permitted (os error 1)", |facts| {
        facts.release = "5.10.0".to_owned();
        only(facts, &["CAP_SYS_ADMIN"]);
    }),
    ("selinux", "the kernel refuses the program: Permission denied (os error 13)", |facts| {
        facts.selinux.mode = Fact::Is("enforcing".to_owned());
    }),
    ("seccomp", "failed to create map `rows`: Operation not permitted (os error 1)", |facts| {
        facts.seccomp = Fact::Is(true)
    }),
    ("map.memory", "failed to create map `rows`: Cannot allocate memory (os error 12)", |_| {}),
    ("map.kind", "failed to create map `rows`: Invalid argument (os error 22)", |_| {}),
    ("map.syscall", "failed to create map `rows`: Function not implemented (os error 38)", |_| {}),
    ("map.mmap", "cannot map the map `rows`: os error 524", |_| {}),
    (
        "program.lockdown",
        "kprobe:x: the kernel refuses the program: Invalid argument (os error 22)",
        |facts| {
            facts.lockdown = Fact::Is("confidentiality".to_owned());
        },
    ),
    (
        "program.atomics",
        "the kernel refuses the program: Invalid argument (os error 22): BPF_STX uses reserved fields",
        |facts| {
            facts.release = "5.10.0".to_owned();
        },
    ),
    ("program.btf", "the BPF_PROG_LOAD syscall returned Argument list too long (os error 7)", |_| {}),
    ("program.jit", "the kernel refuses the program: Unknown error 524 (os error 524)", |_| {}),
    (
        "program.forbidden",
        "fentry:x: the kernel refuses the program: Operation not permitted (os error 1)",
        |_| {},
    ),
    ("program.unknown", "the kernel refuses the program: Invalid argument (os error 22)", |_| {}),
    ("link.busy", "BPF_LINK_CREATE: Device or resource busy (os error 16)", |_| {}),
    ("link.unknown", "BPF_RAW_TRACEPOINT_OPEN: No such file or directory (os error 2)", |_| {}),
    ("link.forbidden", "BPF_LINK_CREATE: Operation not permitted (os error 1)", |_| {}),
    ("perf.lockdown", "perf_event_open: Operation not permitted (os error 1)", |facts| {
        facts.lockdown = Fact::Is("confidentiality".to_owned());
    }),
    ("perf.paranoid", "perf_event_open: Permission denied (os error 13)", |facts| {
        only(facts, &["CAP_BPF", "CAP_PERFMON"]);
        set(facts, "kernel.perf_event_paranoid", 3);
    }),
    ("perf.seccomp", "perf_event_open: Operation not permitted (os error 1)", |facts| {
        facts.seccomp = Fact::Is(true)
    }),
    ("perf.probe", "perf_event_open: No such file or directory (os error 2)", |_| {}),
    ("perf.space", "perf_event_open: No space left on device (os error 28)", |_| {}),
    (
        "kprobe.lockdown",
        "cannot add a probe on `x` to kprobe_events: Operation not permitted (os error 1)",
        |facts| {
            facts.lockdown = Fact::Is("confidentiality".to_owned());
        },
    ),
    ("kprobe.events", "cannot add a probe on `x` to kprobe_events: Invalid argument (os error 22)", |_| {}),
    ("tracefs.lockdown", "tracefs cannot be used: Operation not permitted (os error 1)", |facts| {
        facts.lockdown = Fact::Is("confidentiality".to_owned());
    }),
    ("tracefs.rights", "tracefs cannot be used: Permission denied (os error 13)", |facts| {
        facts.effective_uid = 999
    }),
    ("tracefs.mount", "tracefs cannot be used: Operation not permitted (os error 1)", |_| {}),
    (
        "start",
        "cannot start /usr/libexec/netdata/plugins.d/ebpf-worker: No such file or directory (os error 2)",
        |_| {},
    ),
];

#[test]
fn every_row_of_the_classifier_is_reached() {
    for (id, text, change) in FAILURES {
        let mut facts = all_good();
        change(&mut facts);
        let explanation = explain_text(text, &facts).unwrap_or_else(|| panic!("nothing explains `{text}`"));
        assert_eq!(explanation.id, id, "{text}");
        assert!(!explanation.cause.is_empty() && !explanation.fix.is_empty());
    }
    let tested: BTreeSet<&str> = FAILURES.iter().map(|(id, ..)| *id).collect();
    let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.explanation.id).collect();
    assert_eq!(tested, rows);
}

#[test]
fn texts_without_a_number_are_not_explained() {
    assert_eq!(explain_text("something", &all_good()), None);
    assert_eq!(errno_of("x (os error 13): y (os error 2)"), Some(2));
    assert_eq!(errno_of("os error abc"), None);
}
