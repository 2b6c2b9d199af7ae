//! From a failed system call to its cause: which call, which error, on which host. The first row that fits is the answer.

use super::{Fact, HostFacts};

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// bpf(BPF_MAP_CREATE).
    MapCreate,
    /// mmap of a map.
    MapMemory,
    /// bpf(BPF_PROG_LOAD).
    ProgramLoad,
    /// bpf(BPF_LINK_CREATE or BPF_RAW_TRACEPOINT_OPEN).
    LinkCreate,
    /// perf_event_open(2), and attaching a program to what it opened.
    PerfEvent,
    /// Mounting or reading tracefs.
    Tracefs,
    /// Writing tracefs' kprobe_events.
    KprobeEvents,
    /// Starting a worker.
    Start,
    /// Anything else.
    Other,
}

/// Words of our own error texts, by call; the first that a text contains decides.
const WORDS: [(&str, Call); 17] = [
    ("kprobe_events", Call::KprobeEvents),
    ("perf_event_open", Call::PerfEvent),
    ("PERF_EVENT_IOC_SET_BPF", Call::PerfEvent),
    ("tracefs", Call::Tracefs),
    ("events/", Call::Tracefs),
    ("failed to create map", Call::MapCreate),
    ("cannot make the maps", Call::MapCreate),
    ("BPF_MAP_CREATE", Call::MapCreate),
    ("cannot map the map", Call::MapMemory),
    ("BPF_LINK_CREATE", Call::LinkCreate),
    ("bpf_link_create", Call::LinkCreate),
    ("BPF_RAW_TRACEPOINT_OPEN", Call::LinkCreate),
    ("bpf_raw_tracepoint_open", Call::LinkCreate),
    ("refuses the program", Call::ProgramLoad),
    ("BPF_PROG_LOAD", Call::ProgramLoad),
    ("BPF_BTF_LOAD", Call::ProgramLoad),
    ("cannot start", Call::Start),
];

impl Call {
    /// The call that an error's text tells of.
    pub fn of_text(text: &str) -> Call {
        WORDS.iter().find(|(word, _)| text.contains(word)).map_or(Call::Other, |(_, call)| *call)
    }
}

/// The number in the last `(os error N)` of a text, or of the error's name.
pub fn errno_of(text: &str) -> Option<i32> {
    let numbered = text
        .rsplit_once("os error ")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    numbered.or_else(|| text.contains("EPERM").then_some(EPERM))
}

/// Why something failed, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The row's name.
    pub id: &'static str,
    /// Why.
    pub cause: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// A call, errors, what must hold on the host, and what that means.
pub struct Row {
    /// The call; `Other` stands for any.
    pub call: Call,
    /// The errors.
    pub errnos: &'static [i32],
    when: fn(&HostFacts) -> bool,
    /// What is told.
    pub explanation: Explanation,
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const E2BIG: i32 = 7;
const ENOMEM: i32 = 12;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const ENOSYS: i32 = 38;
const EOPNOTSUPP: i32 = 95;
/// The kernel's own ENOTSUPP, which leaks to user space.
const ENOTSUPP: i32 = 524;

const DENIED: &[i32] = &[EPERM, EACCES];

const fn row(
    id: &'static str,
    call: Call,
    errnos: &'static [i32],
    when: fn(&HostFacts) -> bool,
    cause: &'static str,
    fix: &'static str,
) -> Row {
    Row { call, errnos, when, explanation: Explanation { id, cause, fix } }
}

fn always(_: &HostFacts) -> bool {
    true
}

fn without_rights(facts: &HostFacts) -> bool {
    facts.capabilities.effective.value().is_some_and(|effective| !super::may_load(effective))
}

fn confidential(facts: &HostFacts) -> bool {
    facts.lockdown == Fact::Is("confidentiality".to_owned())
}

fn selinux_enforces(facts: &HostFacts) -> bool {
    facts.selinux.mode == Fact::Is("enforcing".to_owned())
}

fn paranoid(facts: &HostFacts) -> bool {
    facts.setting("kernel.perf_event_paranoid").is_some_and(|level| level > 2)
        && facts.has_capability("CAP_SYS_ADMIN") == Some(false)
}

fn charges_memory(facts: &HostFacts) -> bool {
    facts.kernel_version() < (5, 11) && facts.has_capability("CAP_SYS_RESOURCE") == Some(false)
}

fn filtered(facts: &HostFacts) -> bool {
    facts.seccomp == Fact::Is(true)
}

fn before_cas(facts: &HostFacts) -> bool {
    facts.kernel_version() < (5, 12)
}

fn not_root(facts: &HostFacts) -> bool {
    facts.effective_uid != 0
}

/// All rows; the first that fits decides, so what is special comes before what is general.
pub const ROWS: [Row; 29] = [
    row(
        "files",
        Call::Other,
        &[EMFILE, ENFILE],
        always,
        "each program, link and map takes a descriptor, and there are no more",
        "raise the limit: ulimit -n 4096, or [Service] LimitNOFILE=4096 in netdata.service.d/ebpf.conf",
    ),
    row(
        "rights",
        Call::Other,
        DENIED,
        without_rights,
        "this process has neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON",
        "run as root, or: chown root:netdata ebpf.plugin && chmod 4750 ebpf.plugin",
    ),
    row(
        "map.memlock",
        Call::MapCreate,
        &[EPERM, ENOMEM],
        charges_memory,
        "before Linux 5.11 maps are charged to RLIMIT_MEMLOCK, which cannot be raised without CAP_SYS_RESOURCE",
        "[Service] LimitMEMLOCK=infinity (a shell: ulimit -l unlimited), or give CAP_SYS_RESOURCE, or set a smaller `pid table size`",
    ),
    row(
        "selinux",
        Call::Other,
        &[EACCES],
        selinux_enforces,
        "SELinux is enforcing, and its policy forbids bpf(2) to this context (see audit.log: class bpf)",
        "load the policy of conf/selinux/netdata_ebpf.te with semodule; `--check` prints the commands",
    ),
    row(
        "seccomp",
        Call::MapCreate,
        DENIED,
        filtered,
        "a seccomp filter refuses bpf(2)",
        "docker: --security-opt seccomp=unconfined or --cap-add SYS_ADMIN; systemd: SystemCallFilter=bpf perf_event_open",
    ),
    row(
        "map.memory",
        Call::MapCreate,
        &[ENOMEM],
        always,
        "the kernel has not enough memory for the maps",
        "set a smaller `pid table size` in ebpf.conf",
    ),
    row(
        "map.kind",
        Call::MapCreate,
        &[EINVAL, E2BIG],
        always,
        "this kernel has not this kind of map, or not of this size",
        "nothing has to be done: objects for older kernels are tried next; else set a smaller `pid table size`",
    ),
    row(
        "map.syscall",
        Call::Other,
        &[ENOSYS],
        always,
        "this kernel has no bpf(2) or perf_event_open(2)",
        "use a kernel with CONFIG_BPF_SYSCALL=y and CONFIG_PERF_EVENTS=y",
    ),
    row(
        "map.mmap",
        Call::MapMemory,
        &[EPERM, EACCES, EINVAL, ENOTSUPP],
        always,
        "this kernel's maps cannot be mapped (Linux 5.5 can)",
        "nothing has to be done: the objects that keep rows in a hash are tried next",
    ),
    row(
        "program.lockdown",
        Call::ProgramLoad,
        &[EPERM, EINVAL, EACCES],
        confidential,
        "lockdown=confidentiality forbids programs that read kernel memory",
        "boot with lockdown=integrity, or use a kernel with BTF, whose typed programs may",
    ),
    row(
        "program.atomics",
        Call::ProgramLoad,
        &[EINVAL],
        before_cas,
        "this kernel has no compare-and-swap for programs (Linux 5.12 has)",
        "nothing has to be done: the objects for older kernels are tried next",
    ),
    row(
        "program.btf",
        Call::ProgramLoad,
        &[E2BIG],
        always,
        "this kernel does not understand objects that carry types (4.18 to 4.20)",
        "nothing has to be done: the objects without types are tried next",
    ),
    row(
        "program.jit",
        Call::ProgramLoad,
        &[ENOTSUPP, EOPNOTSUPP],
        always,
        "this kernel compiles no programs, or not of this kind",
        "sysctl -w net.core.bpf_jit_enable=1; a kernel with CONFIG_BPF_JIT=y",
    ),
    row(
        "program.forbidden",
        Call::ProgramLoad,
        DENIED,
        always,
        "the kernel forbids this kind of program, though this process has the rights: a security module or the kernel's maker does",
        "look at dmesg and `--check` for LSMs; other hooks are used where there are any",
    ),
    row(
        "program.unknown",
        Call::ProgramLoad,
        &[EINVAL, ENOENT],
        always,
        "this kernel lacks the kind of program or the function",
        "nothing has to be done: other hooks are tried; report the text if a chart is missing",
    ),
    row(
        "link.busy",
        Call::LinkCreate,
        &[EBUSY, E2BIG],
        always,
        "another tool holds this function, or as many programs as it can have",
        "stop the other tool (bpftool link, bpftool prog), or choose `ebpf co-re tracing = tracepoint`",
    ),
    row(
        "link.unknown",
        Call::LinkCreate,
        &[ENOENT, EINVAL, ENODEV, ENOTSUPP, EOPNOTSUPP],
        always,
        "this kernel has not this tracepoint, or cannot trace this function",
        "nothing has to be done: other hooks are tried",
    ),
    row(
        "link.forbidden",
        Call::LinkCreate,
        DENIED,
        always,
        "the kernel forbids to attach programs, though this process has the rights",
        "look at dmesg and `--check` for LSMs and lockdown",
    ),
    row(
        "perf.lockdown",
        Call::PerfEvent,
        DENIED,
        confidential,
        "lockdown=confidentiality forbids kprobes and perf tracepoints",
        "boot with lockdown=integrity, or use a kernel with BTF",
    ),
    row(
        "perf.paranoid",
        Call::PerfEvent,
        DENIED,
        paranoid,
        "kernel.perf_event_paranoid is 3, which asks for CAP_SYS_ADMIN",
        "sysctl -w kernel.perf_event_paranoid=2, or give CAP_SYS_ADMIN",
    ),
    row(
        "perf.seccomp",
        Call::PerfEvent,
        DENIED,
        filtered,
        "a seccomp filter refuses perf_event_open(2)",
        "docker: --security-opt seccomp=unconfined; systemd: SystemCallFilter=bpf perf_event_open",
    ),
    row(
        "perf.probe",
        Call::PerfEvent,
        &[ENOENT, EINVAL, EOPNOTSUPP, ENODEV],
        always,
        "this kernel has no such function or tracepoint, or does not let it be probed",
        "nothing has to be done: other hooks are tried",
    ),
    row(
        "perf.space",
        Call::PerfEvent,
        &[ENOSPC, EBUSY, ENOMEM],
        always,
        "the kernel has no room for more events",
        "stop other tools that use perf",
    ),
    row(
        "kprobe.lockdown",
        Call::KprobeEvents,
        DENIED,
        confidential,
        "lockdown=confidentiality forbids kprobes",
        "boot with lockdown=integrity, or use a kernel with BTF",
    ),
    row(
        "kprobe.events",
        Call::KprobeEvents,
        &[EINVAL, ENOENT, EBUSY],
        always,
        "the kernel does not probe this function, or an entry of another process is in the way",
        "conf/reset_netdata_trace.sh removes entries of processes that have ended",
    ),
    row(
        "tracefs.lockdown",
        Call::Tracefs,
        &[EPERM, EACCES, ENOENT],
        confidential,
        "lockdown=confidentiality hides tracefs",
        "boot with lockdown=integrity",
    ),
    row(
        "tracefs.rights",
        Call::Tracefs,
        DENIED,
        not_root,
        "tracefs is readable by root only",
        "give CAP_DAC_READ_SEARCH, and mount it: mount -t tracefs nodev /sys/kernel/tracing",
    ),
    row(
        "tracefs.mount",
        Call::Tracefs,
        &[EPERM, EACCES, ENOENT, EBUSY, ENODEV],
        always,
        "tracefs is not mounted, and a worker may not mount it for itself",
        "mount -t tracefs nodev /sys/kernel/tracing",
    ),
    row(
        "start",
        Call::Start,
        &[ENOENT, EACCES, ENOMEM, 11],
        always,
        "the worker's program cannot be started",
        "install ebpf-worker beside ebpf.plugin, mode 0755, on a file system that is not mounted noexec",
    ),
];

/// The cause of `call` failing with `errno` on a host with these facts; `None` when no row knows it.
pub fn classify(call: Call, errno: i32, facts: &HostFacts) -> Option<Explanation> {
    let fits = |row: &&Row| {
        (row.call == call || row.call == Call::Other) && row.errnos.contains(&errno) && (row.when)(facts)
    };
    ROWS.iter().find(fits).map(|row| row.explanation)
}

/// The cause of a failure that is told as text, such as a worker's.
pub fn explain_text(text: &str, facts: &HostFacts) -> Option<Explanation> {
    classify(Call::of_text(text), errno_of(text)?, facts)
}
