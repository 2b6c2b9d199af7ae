//! Gathers the facts about this host; what they mean is decided in `shared::host`. Changes nothing, and needs no right: what cannot be seen
//! is said to be so.

mod locks;
mod process;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use nix::sys::utsname::uname;
use nix::unistd::geteuid;
use shared::file;
use shared::host::{Cpus, FACTS_VERSION, Fact, HostFacts, Mount, parse_config, parse_mounts};

/// Settings that a rule looks at, or that people want to see in a report.
const SETTINGS: [&str; 7] = [
    "kernel.perf_event_paranoid",
    "kernel.unprivileged_bpf_disabled",
    "kernel.kptr_restrict",
    "kernel.bpf_stats_enabled",
    "kernel.ftrace_enabled",
    "net.core.bpf_jit_enable",
    "kernel.kexec_load_disabled",
];

/// Longest /proc/kallsyms that is counted.
const LONGEST: u64 = 256 << 20;

/// Looks at everything once. `btf_path`: the directory of `vmlinux`, or the file.
pub fn gather(btf_path: &Path) -> HostFacts {
    let name = uname().ok();
    let word = |pick: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        name.as_ref().map(|name| pick(name).to_string_lossy().into_owned()).unwrap_or_default()
    };
    let release = word(nix::sys::utsname::UtsName::release);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let (config, config_source) = config(&release);
    HostFacts {
        version: FACTS_VERSION,
        machine: word(nix::sys::utsname::UtsName::machine),
        version_text: version_text(&release),
        system: system(),
        red_hat: read("/etc/redhat-release"),
        config,
        config_source,
        btf: btf(btf_path),
        symbols: lines("/proc/kallsyms", |line| {
            line.split_ascii_whitespace().nth(1).is_some_and(|kind| matches!(kind, "t" | "T" | "w" | "W"))
        }),
        traceable_functions: in_tracefs("available_filter_functions", |file| lines(file, |_| true)),
        syscall_tracepoints: in_tracefs("events/syscalls", |file| Fact::Is(Path::new(file).is_dir())),
        mounts: mounted(&mounts),
        kprobe_pmu: Path::new("/sys/bus/event_source/devices/kprobe").exists(),
        kprobes_enabled: switch("/sys/kernel/debug/kprobes/enabled"),
        lockdown: locks::lockdown(),
        security_modules: locks::security_modules(),
        selinux: locks::selinux(),
        capabilities: process::capabilities(),
        no_new_privs: process::status("NoNewPrivs"),
        seccomp: process::status("Seccomp"),
        effective_uid: geteuid().as_raw(),
        plugin: process::plugin(&mounts),
        settings: settings(),
        locked_memory: process::limit(nix::sys::resource::Resource::RLIMIT_MEMLOCK),
        open_files: process::limit(nix::sys::resource::Resource::RLIMIT_NOFILE),
        cpus: cpus(),
        container: process::container(),
        virtual_machine: process::virtual_machine(&release),
        environment: environment(),
        release,
    }
}

/// Ubuntu's signature, else /proc/version, else the release: what lists of bad kernels are compared with.
pub fn version_text(release: &str) -> String {
    let read = |file: &str| fs::read_to_string(file).ok().map(|text| text.trim().to_owned());
    read("/proc/version_signature").or_else(|| read("/proc/version")).unwrap_or_else(|| release.to_owned())
}

/// The text of a file, trimmed; what is not there is missing, what may not be read unknown.
fn read(file: &str) -> Fact<String> {
    match fs::read(file) {
        Ok(bytes) => Fact::Is(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\0', ' ']).to_owned()),
        Err(error) => absent(file, &error),
    }
}

fn absent<T>(file: &str, error: &io::Error) -> Fact<T> {
    let why = format!("{file}: {error}");
    if error.kind() == io::ErrorKind::NotFound { Fact::Missing(why) } else { Fact::Unknown(why) }
}

/// A file that holds 0 or 1.
fn switch(file: &str) -> Fact<bool> {
    match read(file) {
        Fact::Is(text) => Fact::Is(text == "1"),
        Fact::Missing(why) => Fact::Missing(why),
        Fact::Unknown(why) => Fact::Unknown(why),
    }
}

/// How many lines of a file are `wanted`.
fn lines(file: &str, wanted: impl Fn(&str) -> bool) -> Fact<u64> {
    let mut text = String::new();
    match fs::File::open(file).and_then(|open| open.take(LONGEST).read_to_string(&mut text)) {
        Ok(_) => Fact::Is(text.lines().filter(|line| wanted(line)).count() as u64),
        Err(error) => absent(file, &error),
    }
}

fn in_tracefs<T>(name: &str, look: impl Fn(&str) -> Fact<T>) -> Fact<T> {
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    match places.iter().find(|place| Path::new(place).join("events").exists()) {
        Some(place) => look(&format!("{place}/{name}")),
        None => Fact::Unknown("tracefs is not mounted, or not readable".to_owned()),
    }
}

fn system() -> Fact<String> {
    match read("/etc/os-release") {
        Fact::Is(text) => match text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")) {
            Some(name) => Fact::Is(name.trim_matches('"').to_owned()),
            None => Fact::Missing("/etc/os-release has no PRETTY_NAME".to_owned()),
        },
        other => other,
    }
}

/// The running kernel's configuration, from the first place that has it, and that place.
fn config(release: &str) -> (Fact<BTreeMap<String, String>>, String) {
    const PROC: &str = "/proc/config.gz";
    let mut text = String::new();
    if fs::File::open(PROC)
        .is_ok_and(|file| GzDecoder::new(file).take(LONGEST).read_to_string(&mut text).is_ok())
    {
        return (Fact::Is(relevant(&text)), PROC.to_owned());
    }
    let places = [
        format!("/boot/config-{release}"),
        format!("/usr/lib/modules/{release}/config"),
        format!("/lib/modules/{release}/config"),
        format!("/lib/modules/{release}/build/.config"),
        format!("/lib/modules/{release}/source/.config"),
        format!("/usr/lib/ostree-boot/config-{release}"),
        format!("/usr/src/linux-headers-{release}/.config"),
    ];
    for place in &places {
        if let Ok(text) = fs::read_to_string(place) {
            return (Fact::Is(relevant(&text)), place.clone());
        }
    }
    (Fact::Unknown(format!("neither {PROC} nor {} can be read", places.join(" nor "))), String::new())
}

/// The options that have to do with us: a report should be short enough to paste.
fn relevant(text: &str) -> BTreeMap<String, String> {
    const WORDS: [&str; 9] =
        ["BPF", "TRACE", "PROBE", "PERF_EVENTS", "LOCK", "PREEMPT", "BTF", "KALLSYMS", "LSM"];
    let mut config = parse_config(text);
    config
        .retain(|option, _| WORDS.iter().any(|word| option.contains(word)) || option.starts_with("SECURITY"));
    config
}

fn btf(path: &Path) -> Fact<u64> {
    let vmlinux = if path.is_dir() { path.join("vmlinux") } else { path.to_owned() };
    match file::read(&vmlinux, 0) {
        Ok((_, length)) => Fact::Is(length),
        Err(error) => absent(&vmlinux.to_string_lossy(), &error),
    }
}

fn mounted(table: &str) -> Vec<Mount> {
    use std::os::unix::fs::MetadataExt;
    let table = parse_mounts(table);
    let look = |kind: &str| {
        let place = table.iter().find(|(_, known, _)| known == kind).map(|(place, ..)| place.clone());
        let metadata = place.as_ref().and_then(|place| fs::metadata(place).ok());
        Mount {
            kind: kind.to_owned(),
            mode: metadata
                .map(|metadata| format!("{:04o} uid {}", metadata.mode() & 0o7777, metadata.uid()))
                .unwrap_or_default(),
            readable: place.as_ref().is_some_and(|place| fs::read_dir(place).is_ok()),
            place,
        }
    };
    ["tracefs", "debugfs", "securityfs"].map(look).into()
}

fn settings() -> BTreeMap<String, Fact<String>> {
    let value = |name: &str| read(&format!("/proc/sys/{}", name.replace('.', "/")));
    SETTINGS.iter().map(|name| ((*name).to_owned(), value(name))).collect()
}

/// CPUs of this host; 0 where that cannot be read.
pub fn cpus() -> Cpus {
    let count = |name: &str| match read(&format!("/sys/devices/system/cpu/{name}")) {
        Fact::Is(text) => text.split(',').map(in_range).sum(),
        _ => 0,
    };
    Cpus { online: count("online"), possible: count("possible") }
}

/// CPUs of `3` or `0-7`.
fn in_range(range: &str) -> usize {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
        (Ok(first), Ok(last)) if last >= first && last < 1 << 20 => last - first + 1,
        _ => 0,
    }
}

/// What the agent passes to its plugins; names only that begin with its own.
fn environment() -> BTreeMap<String, String> {
    let text = |word: std::ffi::OsString| word.to_string_lossy().into_owned();
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NETDATA_"));
    // Keys and tokens do not belong into a report that people paste.
    let harmless =
        |name: &str| !["KEY", "TOKEN", "SECRET", "PASS", "CLAIM"].iter().any(|word| name.contains(word));
    ours.map(|(name, value)| (text(name), text(value))).filter(|(name, _)| harmless(name)).collect()
}
