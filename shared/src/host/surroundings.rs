//! Rules about what surrounds the plugin: mounts, settings, CPUs, containers, the agent.

use super::{Fact, Finding, Grade, HostFacts};

pub(super) fn findings(facts: &HostFacts) -> Vec<Finding> {
    let mut all = mounts(facts);
    all.extend(probes(facts));
    all.extend(settings(facts));
    all.push(cpus(facts));
    all.extend(container(facts));
    all.push(agent(facts));
    all
}

/// A file system, where it belongs, what it is for, and the unit that mounts it for good.
const MOUNTS: [(&str, &str, &str, &str); 2] = [
    (
        "tracefs",
        "/sys/kernel/tracing",
        "perf tracepoints and old kprobes are found in it; a worker mounts it for itself alone where it needs it and may",
        "sys-kernel-tracing.mount",
    ),
    (
        "debugfs",
        "/sys/kernel/debug",
        "it is needed for tracefs before Linux 4.1, and shows whether kprobes are switched off",
        "sys-kernel-debug.mount",
    ),
];

fn mounts(facts: &HostFacts) -> Vec<Finding> {
    let judge = |(kind, place, need, unit): (&str, &str, &str, &str)| {
        let id = format!("mount.{kind}");
        let Some(mount) = facts.mount(kind) else {
            return Finding::no(Grade::Note, &id, kind, "not mounted")
                .because(need)
                .fix(format!("mount -t {kind} nodev {place}; to keep it: install conf/systemd/{unit} and: systemctl enable --now {unit}; or in /etc/fstab: nodev {place} {kind} defaults 0 0"))
                .loses("nothing as long as a worker may mount it for itself (CAP_SYS_ADMIN)");
        };
        let at = mount.place.as_deref().unwrap_or_default();
        if mount.readable {
            return Finding::good(&id, kind, format!("mounted on {at}"));
        }
        Finding::no(
            Grade::Note,
            &id,
            kind,
            format!("mounted on {at}, mode {}, not readable for uid {}", mount.mode, facts.effective_uid),
        )
        .because(need)
        .fix("give CAP_DAC_READ_SEARCH, or run as root")
        .loses("perf tracepoints, and nothing else")
    };
    MOUNTS.map(judge).into()
}

fn probes(facts: &HostFacts) -> Vec<Finding> {
    let mut all = Vec::new();
    if facts.kprobe_pmu {
        all.push(Finding::good("probes.pmu", "kprobes", "through perf"));
    } else {
        all.push(
            Finding::no(Grade::Good, "probes.pmu", "kprobes", "not offered through perf")
                .because(
                    "they need CONFIG_KPROBE_EVENTS and Linux 4.17; older kernels have them through tracefs",
                )
                .loses("nothing with BTF; without it tracepoints are used"),
        );
    }
    if facts.kprobes_enabled == Fact::Is(false) {
        all.push(
            Finding::no(Grade::Note, "probes.enabled", "kprobes", "/sys/kernel/debug/kprobes/enabled is 0")
                .because("kprobes can be attached and never run")
                .fix("echo 1 >/sys/kernel/debug/kprobes/enabled")
                .loses("all that kprobes count; the canary notices it"),
        );
    }
    all
}

/// A setting, the value that matters, its grade, why, the fix, and what is lost.
type Setting = (&'static str, fn(i64, &HostFacts) -> bool, Grade, &'static str, &'static str, &'static str);

const SETTINGS: [Setting; 5] = [
    (
        "kernel.unprivileged_bpf_disabled",
        |value, facts| value != 0 && facts.kernel_version() < (5, 19),
        Grade::Good,
        "some kernels before 5.19 then want capabilities for each bpf(2) call, so workers keep theirs",
        "",
        "nothing; it is the safer setting",
    ),
    (
        "kernel.kptr_restrict",
        |value, _| value >= 2,
        Grade::Good,
        "addresses are hidden, also from root; names are enough for us",
        "",
        "nothing",
    ),
    (
        "net.core.bpf_jit_enable",
        |value, _| value == 0,
        Grade::Note,
        "programs are interpreted, and fentry and fexit cannot be used",
        "sysctl -w net.core.bpf_jit_enable=1 (to keep it: echo net.core.bpf_jit_enable=1 >/etc/sysctl.d/60-ebpf.conf)",
        "speed: each event costs several times more",
    ),
    (
        "kernel.bpf_stats_enabled",
        |value, _| value != 0,
        Grade::Note,
        "the kernel measures each run of each program, which costs about 50 ns",
        "sysctl -w kernel.bpf_stats_enabled=0",
        "speed, for every program on this host",
    ),
    (
        "kernel.ftrace_enabled",
        |value, _| value == 0,
        Grade::Note,
        "fentry, fexit and kprobes on ftrace cannot be attached",
        "sysctl -w kernel.ftrace_enabled=1",
        "the cheapest hooks; tracepoints are used",
    ),
];

fn settings(facts: &HostFacts) -> Vec<Finding> {
    let judge = |(name, matters, grade, cause, fix, lost): &Setting| {
        let value = facts.setting(name)?;
        let id = format!("sysctl.{name}");
        if !matters(value, facts) {
            return None;
        }
        Some(
            Finding::no(*grade, &id, "setting", format!("{name} = {value}"))
                .because(*cause)
                .fix(*fix)
                .loses(*lost),
        )
    };
    SETTINGS.iter().filter_map(judge).collect()
}

fn cpus(facts: &HostFacts) -> Finding {
    let Cpus { online, possible } = facts.cpus;
    let evidence = format!("{online} online, {possible} possible");
    if possible == 0 {
        return Finding::unknown("cpus", "CPUs", "their number could not be read");
    }
    if possible > 8 * online.max(1) {
        return Finding::no(Grade::Note, "cpus", "CPUs", evidence)
            .because("maps have room for every CPU that the firmware says could ever come")
            .fix(format!("boot with possible_cpus={online} if none will"))
            .loses("kernel memory, as the programs' lines tell");
    }
    Finding::good("cpus", "CPUs", evidence)
}

use super::Cpus;

fn container(facts: &HostFacts) -> Vec<Finding> {
    let mut all = Vec::new();
    if let Fact::Is(kind) = &facts.container {
        all.push(
            Finding::no(Grade::Note, "container", "container", kind.clone())
                .because("programs see the whole host, by the host's process ids; a container with a process namespace of its own sees other ids, so groups cannot be told")
                .fix("docker run --pid=host --cap-add SYS_ADMIN --cap-add SYS_RESOURCE --security-opt seccomp=unconfined -v /sys/kernel/btf:/sys/kernel/btf:ro …")
                .loses("applications, without the host's processes; everything, without the rights"),
        );
    }
    if let Fact::Is(kind) = &facts.virtual_machine {
        all.push(Finding::good("virtual_machine", "virtual machine", kind.clone()));
    }
    all
}

fn agent(facts: &HostFacts) -> Finding {
    const DIRECTORIES: [&str; 2] = ["NETDATA_USER_CONFIG_DIR", "NETDATA_STOCK_CONFIG_DIR"];
    let set: Vec<String> = DIRECTORIES
        .iter()
        .filter_map(|name| Some(format!("{name}={}", facts.environment.get(*name)?)))
        .collect();
    if set.is_empty() {
        return Finding::no(Grade::Good, "agent", "agent", "not started by it: no NETDATA_USER_CONFIG_DIR")
            .because("configuration is looked for in /etc/netdata and /usr/lib/netdata/conf.d")
            .loses("nothing");
    }
    Finding::good("agent", "agent", set.join(", "))
}
