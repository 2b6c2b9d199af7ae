//! Giving up what is not needed any more: capabilities, new privileges, system calls, writing to files.
//!
//! Each holds for the calling thread and for those that it starts: to be called before any other is started.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use caps::{CapSet, Capability};
use landlock::{ABI, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus};
use nix::libc;
use nix::sys::prctl;
use nix::unistd::{getresuid, setfsuid, setresuid};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::calls;

/// Lets a program that is executed next keep the capabilities of this one, also where they come from a file's attributes.
///
/// What cannot be kept is missed by whoever needs it, which says so.
pub fn keep_capabilities_on_exec() {
    let permitted = caps::read(None, CapSet::Permitted).unwrap_or_default();
    for capability in permitted {
        let inheritable = caps::raise(None, CapSet::Inheritable, capability);
        let _ = inheritable.and_then(|()| caps::raise(None, CapSet::Ambient, capability));
    }
}

/// Capabilities by which a program gets at files that its user may not get at.
const FOR_FILES: [Capability; 2] = [Capability::CAP_DAC_OVERRIDE, Capability::CAP_DAC_READ_SEARCH];

/// Does `work` with no more rights to files than the user has who started this program, set-uid or with file capabilities: for files that this user
/// names, by the command line or the environment. Of this thread only.
pub fn as_caller<T>(work: impl FnOnce() -> T) -> Result<T> {
    let users = getresuid().context("cannot read the user")?;
    if users.real.is_root() {
        return Ok(work());
    }
    let had = caps::read(None, CapSet::Effective).context("cannot read the capabilities")?;
    let fewer = had.iter().copied().filter(|capability| !FOR_FILES.contains(capability)).collect();
    caps::set(None, CapSet::Effective, &fewer).context("cannot lower the effective capabilities")?;
    setfsuid(users.real);
    // It tells only who was before.
    anyhow::ensure!(setfsuid(users.real) == users.real, "cannot read files as the user who started this");
    let done = work();
    setfsuid(users.effective);
    caps::set(None, CapSet::Effective, &had).context("cannot raise the effective capabilities again")?;
    Ok(done)
}

/// Gives up every capability, the effective user of a set-uid program, and all hope of new ones. Returns what it had.
pub fn drop_privileges() -> Result<Vec<Capability>> {
    let had = caps::read(None, CapSet::Permitted).context("cannot read the capabilities")?;
    let users = getresuid().context("cannot read the user")?;
    if users.real != users.effective {
        setresuid(users.real, users.real, users.real).context("cannot become the user who started this")?;
    }
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        match caps::clear(None, set) {
            // Kernels before 4.3 have no ambient ones.
            Err(_) if matches!(set, CapSet::Ambient) => {}
            result => result.with_context(|| format!("cannot clear the {set:?} capabilities"))?,
        }
    }
    prctl::set_no_new_privs().context("cannot forbid new privileges")?;
    let mut had: Vec<Capability> = had.into_iter().collect();
    had.sort_by_key(|capability| *capability as u8);
    Ok(had)
}

/// What loading and attaching may need, on some kernel and with some setting.
const FOR_LOADING: &[Capability] = &[
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_SYS_RESOURCE,
    Capability::CAP_IPC_LOCK,
    Capability::CAP_SYS_NICE,
    Capability::CAP_SYSLOG,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_DAC_OVERRIDE,
];

/// Keeps only the capabilities that a worker may need to load and attach.
fn keep_for_loading() -> Result<()> {
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        // Kernels before 4.3 have no ambient ones.
        let Ok(mut held) = caps::read(None, set) else { continue };
        held.retain(|capability| FOR_LOADING.contains(capability));
        caps::set(None, set, &held).with_context(|| format!("cannot lower the {set:?} capabilities"))?;
    }
    Ok(())
}

/// The launcher, and the workers that it starts: no program is ever executed, no module loaded, no other process looked into.
pub fn launcher() -> Result<()> {
    keep_for_loading()?;
    prctl::set_no_new_privs().context("cannot forbid new privileges")?;
    forbid(calls::NEVER)
}

/// The supervisor: may read files, write to what is open, and talk to name servers.
pub fn supervisor() -> Result<()> {
    let rules = BTreeMap::from([
        // No descriptor to write with.
        (libc::SYS_openat, vec![flags_unset(2, WRITING)?]),
        (libc::SYS_open, vec![flags_unset(1, WRITING)?]),
        (libc::SYS_mmap, vec![flags_unset(2, EXECUTABLE)?]),
        (libc::SYS_mprotect, vec![flags_unset(2, EXECUTABLE)?]),
        (
            libc::SYS_socket,
            equals_one_of(0, &[libc::AF_UNIX as u64, libc::AF_INET as u64, libc::AF_INET6 as u64])?,
        ),
        (libc::SYS_ioctl, equals_one_of(1, IOCTLS)?),
    ]);
    forbid(&[calls::NEVER, calls::NEVER_AFTER_LOADING, &[libc::SYS_bpf]].concat())?;
    allow(&[calls::SUPERVISOR], rules)
}

/// A worker that counts: reads and writes maps that are open. `tracefs`: it has entries there to read and remove.
pub fn worker(tracefs: bool) -> Result<()> {
    let rules = BTreeMap::from([
        (libc::SYS_bpf, equals_one_of(0, calls::WORKER_BPF)?),
        (libc::SYS_mmap, vec![flags_unset(2, EXECUTABLE)?]),
        (libc::SYS_mprotect, vec![flags_unset(2, EXECUTABLE)?]),
    ]);
    forbid(&[calls::NEVER, calls::NEVER_AFTER_LOADING].concat())?;
    let more = if tracefs { calls::TRACEFS } else { &[] };
    allow(&[calls::WORKER, more], rules)
}

/// Forbids creating, changing and executing files, as far as the kernel can; what is open already stays so. Returns how far, as text.
pub fn forbid_writing() -> Result<&'static str> {
    let rights = AccessFs::from_write(ABI::V5) | AccessFs::Execute;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(rights)
        .and_then(Ruleset::create)
        .and_then(|rules| rules.restrict_self())
        .map_err(|error| anyhow!("cannot restrict files: {error}"))?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "whole",
        RulesetStatus::PartiallyEnforced => "in part, as far as this kernel knows it",
        RulesetStatus::NotEnforced => "not at all, as this kernel does not offer it",
    })
}

/// Flags of open(2) that ask for more than reading.
const WRITING: u64 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND) as u64;

/// PROT_EXEC.
const EXECUTABLE: u64 = libc::PROT_EXEC as u64;

/// Requests of ioctl(2): whether something is a terminal, blocking or not, how much there is to read.
const IOCTLS: &[u64] = &[libc::TCGETS, libc::FIONBIO, libc::FIONREAD, libc::TIOCGWINSZ];

/// True when argument `argument` has none of `flags`.
fn flags_unset(argument: u8, flags: u64) -> Result<SeccompRule> {
    let unset = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flags), 0)?;
    Ok(SeccompRule::new(vec![unset])?)
}

fn equals_one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>> {
    let rule = |&value| {
        let equals = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
        Ok(SeccompRule::new(vec![equals])?)
    };
    values.iter().map(rule).collect()
}

/// The process ends at one of `calls`; nothing else changes.
fn forbid(calls: &[i64]) -> Result<()> {
    let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
    install(rules, SeccompAction::Allow, SeccompAction::KillProcess)
}

/// Only these calls, the `conditional` ones as their rules say; all others fail with EPERM.
fn allow(lists: &[&[calls::Group]], conditional: BTreeMap<i64, Vec<SeccompRule>>) -> Result<()> {
    let all = lists.iter().copied().flatten().flat_map(|group| group.calls);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = all.map(|&call| (call, Vec::new())).collect();
    rules.extend(conditional);
    install(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

/// Kernels stack filters and take the strictest answer.
fn install(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    other: SeccompAction,
    listed: SeccompAction,
) -> Result<()> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, other, listed, architecture)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program).context("cannot filter system calls")
}
