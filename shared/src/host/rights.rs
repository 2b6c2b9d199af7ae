//! Rules about what this process may do: capabilities, the plugin's file, limits.

use super::{Fact, Finding, Grade, HostFacts};

/// Capabilities that let a worker load and attach; SYS_ADMIN alone does, too, as it did before 5.8.
const WANTED: [&str; 2] = ["CAP_BPF", "CAP_PERFMON"];

/// Locked memory that the maps of both programs may need before 5.11, bytes; hashes of 32,768 rows are the largest part.
const LOCKED_MEMORY: u64 = 64 << 20;

/// Open files that programs, links, maps and channels of both workers take, rounded up.
const OPEN_FILES: u64 = 512;

/// Whether these capabilities let a worker load and attach.
pub fn may_load(capabilities: &[String]) -> bool {
    let has = |name: &str| capabilities.iter().any(|capability| capability == name);
    has("CAP_SYS_ADMIN") || WANTED.iter().all(|name| has(name))
}

pub(super) fn findings(facts: &HostFacts) -> Vec<Finding> {
    let mut all = vec![capabilities(facts)];
    all.extend(bounding(facts));
    all.extend(no_new_privs(facts));
    all.extend(nosuid(facts));
    all.extend(paranoid(facts));
    all.extend(perf_tracepoints(facts));
    all.extend(seccomp(facts));
    all.extend(locked_memory(facts));
    all.extend(open_files(facts));
    all
}

/// The exact command that gives the plugin its rights.
fn install(facts: &HostFacts) -> String {
    let path = if facts.plugin.path.is_empty() {
        "/usr/libexec/netdata/plugins.d/ebpf.plugin"
    } else {
        &facts.plugin.path
    };
    format!("run it as root, or: chown root:netdata {path} && chmod 4750 {path}")
}

fn capabilities(facts: &HostFacts) -> Finding {
    const ID: &str = "rights.capabilities";
    let effective = match &facts.capabilities.effective {
        Fact::Is(effective) => effective,
        Fact::Missing(why) | Fact::Unknown(why) => return Finding::unknown(ID, "rights", why),
    };
    if may_load(effective) {
        let which = if facts.has_capability("CAP_SYS_ADMIN") == Some(true) {
            "CAP_SYS_ADMIN"
        } else {
            "CAP_BPF and CAP_PERFMON"
        };
        return Finding::good(ID, "rights", format!("uid {} with {which}", facts.effective_uid));
    }
    let evidence =
        format!("uid {} has neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON", facts.effective_uid);
    Finding::no(Grade::Bad, ID, "rights", evidence)
        .because("the kernel lets nobody else load programs")
        .fix(install(facts))
        .loses("everything: nothing can be loaded")
}

/// A service's bounding set takes away what setuid root would give.
fn bounding(facts: &HostFacts) -> Option<Finding> {
    let bounding = facts.capabilities.bounding.value()?;
    let missing: Vec<&str> =
        ["CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON", "CAP_SYS_RESOURCE", "CAP_DAC_READ_SEARCH"]
            .into_iter()
            .filter(|name| !bounding.iter().any(|known| known == name))
            .collect();
    if missing.is_empty() {
        return None;
    }
    let fatal = !may_load(bounding);
    let finding = Finding::no(
        if fatal { Grade::Bad } else { Grade::Note },
        "rights.bounding",
        "bounding set",
        format!("lacks {}", missing.join(", ")),
    )
    .because("what is not in the bounding set can never be had, not even by setuid root")
    .fix(format!(
        "install conf/netdata.service.d/ebpf.conf as /etc/systemd/system/netdata.service.d/ebpf.conf ([Service] CapabilityBoundingSet={}), then: systemctl daemon-reload && systemctl restart netdata",
        missing.join(" ")
    ));
    Some(finding.loses(if fatal {
        "everything"
    } else {
        "nothing as long as CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON, is there"
    }))
}

fn no_new_privs(facts: &HostFacts) -> Option<Finding> {
    if facts.no_new_privs != Fact::Is(true) || facts.effective_uid == 0 {
        return None;
    }
    let finding = Finding::no(Grade::Note, "rights.no_new_privs", "no_new_privs", "set for this process")
        .because("setuid root and file capabilities of the plugin have no effect")
        .fix("[Service] NoNewPrivileges=no in /etc/systemd/system/netdata.service.d/ebpf.conf, then: systemctl daemon-reload && systemctl restart netdata");
    Some(finding.loses("everything, unless the service itself has the rights"))
}

fn nosuid(facts: &HostFacts) -> Option<Finding> {
    if !facts.plugin.nosuid {
        return None;
    }
    let grade = if facts.effective_uid == 0 { Grade::Good } else { Grade::Note };
    let finding = Finding::no(
        grade,
        "rights.nosuid",
        "nosuid",
        format!("{} lies on a file system mounted nosuid", facts.plugin.path),
    )
    .because("setuid root and file capabilities of the plugin have no effect there")
    .fix("mount -o remount,suid that file system, or install the plugin on another one");
    Some(finding.loses("everything, unless the plugin is started with the rights"))
}

/// Debian's level 3 asks for CAP_SYS_ADMIN where others are content with CAP_PERFMON.
fn paranoid(facts: &HostFacts) -> Option<Finding> {
    let level = facts.setting("kernel.perf_event_paranoid")?;
    if level <= 2 || facts.has_capability("CAP_SYS_ADMIN") != Some(false) {
        return None;
    }
    let finding = Finding::no(Grade::Note, "rights.paranoid", "perf_event_paranoid", format!("{level}, and no CAP_SYS_ADMIN"))
        .because("kprobes and perf tracepoints then need CAP_SYS_ADMIN")
        .fix("sysctl -w kernel.perf_event_paranoid=2 (to keep it: echo kernel.perf_event_paranoid=2 >/etc/sysctl.d/60-ebpf.conf), or give CAP_SYS_ADMIN");
    Some(finding.loses("kprobes and perf tracepoints; typed programs and raw tracepoints work"))
}

/// The directory of tracefs is root's own; that it can be used without being root takes a capability.
fn perf_tracepoints(facts: &HostFacts) -> Option<Finding> {
    if facts.effective_uid == 0
        || facts.has_capability("CAP_DAC_READ_SEARCH") != Some(false)
        || facts.has_capability("CAP_DAC_OVERRIDE") != Some(false)
    {
        return None;
    }
    let finding =
        Finding::no(Grade::Note, "rights.tracefs", "rights", "neither root nor CAP_DAC_READ_SEARCH")
            .because("tracefs is readable by root only, and perf tracepoints are found in it")
            .fix("give CAP_DAC_READ_SEARCH, too");
    Some(finding.loses("perf tracepoints; other hooks work"))
}

fn seccomp(facts: &HostFacts) -> Option<Finding> {
    if facts.seccomp != Fact::Is(true) {
        return None;
    }
    let finding = Finding::no(Grade::Note, "rights.seccomp", "seccomp", "a filter is in force")
        .because("it may refuse bpf(2) and perf_event_open(2), as container runtimes do without CAP_BPF or CAP_SYS_ADMIN")
        .fix("docker run --cap-add SYS_ADMIN --security-opt seccomp=unconfined …; systemd: SystemCallFilter=bpf perf_event_open");
    Some(finding.loses("everything, if it refuses them; the trial shows it"))
}

/// Before 5.11 maps are charged to RLIMIT_MEMLOCK.
fn locked_memory(facts: &HostFacts) -> Option<Finding> {
    const ID: &str = "rights.memlock";
    let limit = facts.locked_memory.value()?;
    if facts.kernel_version() >= (5, 11) || limit.soft >= LOCKED_MEMORY {
        return None;
    }
    let evidence = format!("{} kB, at most {} kB", limit.soft / 1024, limit.hard / 1024);
    if facts.has_capability("CAP_SYS_RESOURCE") == Some(true) || limit.hard >= LOCKED_MEMORY {
        return Some(Finding::good(ID, "locked memory", format!("{evidence}; the workers may raise it")));
    }
    let finding = Finding::no(Grade::Less, ID, "locked memory", evidence)
        .because("before Linux 5.11 maps are charged to this limit, and it cannot be raised without CAP_SYS_RESOURCE")
        .fix("[Service] LimitMEMLOCK=infinity in /etc/systemd/system/netdata.service.d/ebpf.conf (a shell: ulimit -l unlimited), or give CAP_SYS_RESOURCE");
    Some(
        finding
            .loses("everything, if the maps do not fit; a smaller `pid table size` in ebpf.conf needs less"),
    )
}

fn open_files(facts: &HostFacts) -> Option<Finding> {
    let limit = facts.open_files.value()?;
    if limit.hard >= OPEN_FILES {
        return None;
    }
    let finding = Finding::no(Grade::Less, "rights.open_files", "open files", format!("{} at most", limit.hard))
        .because("each program, link and map takes a descriptor")
        .fix("[Service] LimitNOFILE=4096 in /etc/systemd/system/netdata.service.d/ebpf.conf (a shell: ulimit -n 4096)");
    Some(finding.loses("hooks that find no descriptor left"))
}
