//! Rules about what forbids eBPF to those who may otherwise: lockdown, SELinux, other security modules.

use super::{Fact, Finding, Grade, HostFacts};

pub(super) fn findings(facts: &HostFacts) -> Vec<Finding> {
    let mut all = vec![lockdown(facts)];
    all.extend(lockdown_build(facts));
    all.extend(selinux(facts));
    all.push(security_modules(facts));
    all
}

fn lockdown(facts: &HostFacts) -> Finding {
    const ID: &str = "lockdown.state";
    let state = match &facts.lockdown {
        Fact::Is(state) => state,
        Fact::Missing(why) => return Finding::good(ID, "lockdown", why.clone()),
        Fact::Unknown(why) => {
            return Finding::unknown(ID, "lockdown", why)
                .because("whether the kernel is locked down cannot be told; the trial shows what it refuses")
                .fix("mount -t securityfs securityfs /sys/kernel/security");
        }
    };
    if state != "confidentiality" {
        return Finding::good(ID, "lockdown", state.clone());
    }
    let fix = "boot with lockdown=integrity (remove lockdown=confidentiality from the kernel's arguments; with CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY another kernel is needed)";
    if matches!(facts.btf, Fact::Is(_)) {
        return Finding::no(Grade::Note, ID, "lockdown", state.clone())
            .because("kprobes, perf tracepoints and reading kernel memory are forbidden; typed programs work, which the specification's table does not know")
            .fix(fix)
            .loses("what only perf tracepoints see: failures of clone3 before Linux 5.15 without functions, command lines, senders of datagrams of unconnected UDP clients");
    }
    Finding::no(Grade::Bad, ID, "lockdown", state.clone())
        .because("kprobes and reading kernel memory are forbidden, and without BTF there is no other way")
        .fix(format!("{fix}, or use a kernel with BTF"))
        .loses("everything")
}

/// The specification's table, by the kernel's configuration; the truth is what is in force, and what the trial finds.
fn lockdown_build(facts: &HostFacts) -> Option<Finding> {
    let (lsm, early) = (facts.option("SECURITY_LOCKDOWN_LSM")?, facts.option("SECURITY_LOCKDOWN_LSM_EARLY")?);
    let level = ["CONFIDENTIALITY", "INTEGRITY", "NONE"]
        .into_iter()
        .find(|level| facts.option(&format!("LOCK_DOWN_KERNEL_FORCE_{level}")) == Some(true));
    let word = |on: bool| if on { "yes" } else { "no" };
    let evidence = format!(
        "lockdown in the kernel: {}, early: {}, default: {}",
        word(lsm),
        word(early),
        level.unwrap_or("none").to_lowercase()
    );
    if lsm && level == Some("CONFIDENTIALITY") {
        let finding = Finding::no(Grade::Note, "lockdown.build", "lockdown", evidence)
            .because("the kernel is built to lock itself down wholly; the specification says that the plugin cannot run so, but its typed programs do");
        return Some(finding.fix("see `lockdown.state`").loses("see `lockdown.state`"));
    }
    Some(Finding::good("lockdown.build", "lockdown", evidence))
}

/// Commands that load the policy that is installed with the plugin.
const LOAD_POLICY: &str = "cd conf/selinux && checkmodule -M -m -o netdata_ebpf.mod netdata_ebpf.te && semodule_package -o netdata_ebpf.pp -m netdata_ebpf.mod && semodule -i netdata_ebpf.pp && systemctl restart netdata";

fn selinux(facts: &HostFacts) -> Vec<Finding> {
    const ID: &str = "selinux.mode";
    let mode = match &facts.selinux.mode {
        Fact::Is(mode) => mode,
        Fact::Missing(why) => return vec![Finding::good(ID, "SELinux", why.clone())],
        Fact::Unknown(why) => return vec![Finding::unknown(ID, "SELinux", why)],
    };
    let context = facts.selinux.context.value().map_or("unknown", String::as_str);
    let evidence = format!("{mode}, this process is {context}");
    if mode != "enforcing" {
        return vec![Finding::good(ID, "SELinux", evidence)];
    }
    let denials = facts.selinux.denials.value().cloned().unwrap_or_default();
    let mut all = Vec::new();
    if denials.is_empty() {
        let seen = match &facts.selinux.denials {
            Fact::Is(_) => "no denial in audit.log".to_owned(),
            other => other.why().to_owned(),
        };
        all.push(
            Finding::no(Grade::Note, ID, "SELinux", format!("{evidence}; {seen}"))
                .because("the policy may forbid bpf(2) to the agent's context; a denial looks like EACCES (13)")
                .fix(format!("only if programs are refused: {LOAD_POLICY}; netdata_ebpf.te names unconfined_service_t, put another type there if the agent has one")),
        );
    }
    all.extend(denials.into_iter().take(3).map(|denial| {
        let domain = domain_of(&denial).unwrap_or("unconfined_service_t").to_owned();
        Finding::no(Grade::Less, "selinux.denial", "SELinux", denial)
            .because(format!("the policy forbids {domain} to use bpf(2)"))
            .fix(policy_for(&domain))
            .loses("everything that was denied")
    }));
    all
}

/// The type of `scontext=system_u:system_r:unconfined_service_t:s0`.
fn domain_of(denial: &str) -> Option<&str> {
    denial.split_once("scontext=")?.1.split([' ', '\t']).next()?.split(':').nth(2)
}

fn policy_for(domain: &str) -> String {
    if domain == "unconfined_service_t" {
        return LOAD_POLICY.to_owned();
    }
    format!("sed -i s/unconfined_service_t/{domain}/ conf/selinux/netdata_ebpf.te, then: {LOAD_POLICY}")
}

fn security_modules(facts: &HostFacts) -> Finding {
    const ID: &str = "lsm.list";
    match &facts.security_modules {
        Fact::Is(modules) => Finding::good(ID, "LSMs", modules.join(", ")),
        Fact::Missing(why) => Finding::good(ID, "LSMs", why.clone()),
        Fact::Unknown(why) => {
            Finding::unknown(ID, "LSMs", why).fix("mount -t securityfs securityfs /sys/kernel/security")
        }
    }
}
