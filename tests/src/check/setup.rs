//! The set-ups: what is taken away from the plugin.

/// One set-up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// In the document.
    pub name: &'static str,
    /// Arguments of setpriv(1) for the program.
    pub setpriv: &'static [&'static str],
    /// Commands of a shell before it, in a mount namespace of its own.
    pub before: &'static str,
    /// Lines of `[global]`.
    pub global: &'static str,
    /// It changes settings of the kernel, so it runs in guests only.
    pub guest_only: bool,
    /// Part of the short run.
    pub quick: bool,
}

const PLAIN: Setup =
    Setup { name: "", setpriv: &[], before: "", global: "", guest_only: false, quick: false };

/// Of every kernel.
pub const SETUPS: [Setup; 14] = [
    Setup { name: "root, tracefs and debugfs not mounted", quick: true, ..PLAIN },
    Setup {
        name: "root, tracefs and debugfs mounted",
        before: "mount -t tracefs nodev /sys/kernel/tracing; mount -t debugfs nodev /sys/kernel/debug;",
        ..PLAIN
    },
    Setup { name: "root, BTF hidden", global: "btf path = /nonexistent", ..PLAIN },
    Setup { name: "root without CAP_SYS_ADMIN", setpriv: &["--bounding-set=-sys_admin"], ..PLAIN },
    Setup { name: "root without CAP_BPF", setpriv: &["--bounding-set=-bpf"], ..PLAIN },
    Setup {
        name: "root without CAP_BPF and CAP_SYS_ADMIN",
        setpriv: &["--bounding-set=-bpf,-sys_admin"],
        quick: true,
        ..PLAIN
    },
    Setup {
        name: "root without CAP_PERFMON and CAP_SYS_ADMIN",
        setpriv: &["--bounding-set=-perfmon,-sys_admin"],
        ..PLAIN
    },
    Setup {
        name: "root without CAP_SYS_RESOURCE, 64 kB of locked memory",
        setpriv: &["--bounding-set=-sys_resource"],
        before: "ulimit -l 64;",
        quick: true,
        ..PLAIN
    },
    Setup {
        name: "nobody with CAP_BPF and CAP_PERFMON",
        setpriv: &[
            "--reuid=65534",
            "--clear-groups",
            "--inh-caps=-all,+bpf,+perfmon",
            "--ambient-caps=-all,+bpf,+perfmon",
        ],
        ..PLAIN
    },
    Setup {
        name: "nobody with CAP_BPF, CAP_PERFMON and CAP_DAC_READ_SEARCH, tracefs mounted, BTF hidden",
        setpriv: &[
            "--reuid=65534",
            "--clear-groups",
            "--inh-caps=-all,+bpf,+perfmon,+dac_read_search",
            "--ambient-caps=-all,+bpf,+perfmon,+dac_read_search",
        ],
        before: "mount -t tracefs nodev /sys/kernel/tracing;",
        global: "btf path = /nonexistent",
        ..PLAIN
    },
    Setup {
        name: "nobody without capabilities",
        setpriv: &["--reuid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"],
        quick: true,
        ..PLAIN
    },
    Setup {
        name: "root without CAP_SYS_ADMIN, perf_event_paranoid=3, kprobes only",
        setpriv: &["--bounding-set=-sys_admin"],
        before: "echo 3 >/proc/sys/kernel/perf_event_paranoid;",
        global: "ebpf co-re tracing = probe",
        guest_only: true,
        ..PLAIN
    },
    Setup {
        name: "root without CAP_SYS_ADMIN, perf_event_paranoid=2, kprobes only",
        setpriv: &["--bounding-set=-sys_admin"],
        before: "echo 2 >/proc/sys/kernel/perf_event_paranoid;",
        global: "ebpf co-re tracing = probe",
        guest_only: true,
        ..PLAIN
    },
    // The last one: it cannot be set back.
    Setup {
        name: "root, unprivileged_bpf_disabled=1",
        before: "echo 1 >/proc/sys/kernel/unprivileged_bpf_disabled;",
        guest_only: true,
        ..PLAIN
    },
];

/// Of a kernel that is locked down: what lockdown treats differently.
pub const LOCKED: [Setup; 2] = [
    Setup { name: "root, tracefs and debugfs not mounted", quick: true, ..PLAIN },
    Setup { name: "root, BTF hidden", global: "btf path = /nonexistent", quick: true, ..PLAIN },
];
