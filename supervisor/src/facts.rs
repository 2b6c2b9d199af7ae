//! Gathers the facts about this host; what they mean is decided in `shared::host`.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use nix::sys::utsname::uname;
use nix::unistd::geteuid;
use shared::host::{Fact, HostFacts, Mount, lockdown_in_force, parse_config};

/// Looks at everything once. `btf_path`: the directory of `vmlinux`, or the file.
pub fn gather(btf_path: &Path) -> HostFacts {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    HostFacts {
        version_text: version_text(&release),
        config: config(&release),
        btf: btf(btf_path),
        lockdown: lockdown(),
        mounts: mounts(),
        kprobe_pmu: Path::new("/sys/bus/event_source/devices/kprobe").exists(),
        perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
        capabilities: capabilities(),
        effective_uid: geteuid().as_raw(),
        release,
    }
}

/// Ubuntu's signature, else /proc/version, else the release: what lists of bad kernels are compared with.
pub fn version_text(release: &str) -> String {
    let read = |file: &str| fs::read_to_string(file).ok().map(|text| text.trim().to_owned());
    read("/proc/version_signature").or_else(|| read("/proc/version")).unwrap_or_else(|| release.to_owned())
}

fn read(file: &str) -> Fact<String> {
    match fs::read_to_string(file) {
        Ok(text) => Fact::Is(text.trim().to_owned()),
        Err(error) => Fact::Unknown(format!("cannot read {file}: {error}")),
    }
}

fn number(file: &str) -> Fact<i32> {
    match read(file) {
        Fact::Is(text) => {
            text.parse().map_or_else(|_| Fact::Unknown(format!("{file} says `{text}`")), Fact::Is)
        }
        Fact::Unknown(why) => Fact::Unknown(why),
    }
}

/// The running kernel's configuration, from the first place that has it.
fn config(release: &str) -> Fact<std::collections::BTreeMap<String, String>> {
    let mut text = String::new();
    if fs::File::open("/proc/config.gz")
        .is_ok_and(|file| GzDecoder::new(file).read_to_string(&mut text).is_ok())
    {
        return Fact::Is(parse_config(&text));
    }
    let places = [
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
        format!("/lib/modules/{release}/source/.config"),
        format!("/usr/lib/ostree-boot/config-{release}"),
    ];
    match places.iter().find_map(|file| fs::read_to_string(file).ok()) {
        Some(text) => Fact::Is(parse_config(&text)),
        None => Fact::Unknown(format!("neither /proc/config.gz nor {} can be read", places.join(" nor "))),
    }
}

fn btf(path: &Path) -> Fact<u64> {
    let file = if path.is_dir() { path.join("vmlinux") } else { path.to_owned() };
    match fs::metadata(&file) {
        Ok(metadata) => Fact::Is(metadata.len()),
        Err(error) => Fact::Unknown(format!("{}: {error}", file.display())),
    }
}

fn lockdown() -> Fact<String> {
    const FILE: &str = "/sys/kernel/security/lockdown";
    match read(FILE) {
        Fact::Is(text) => lockdown_in_force(&text).map_or_else(
            || Fact::Unknown(format!("{FILE} says `{text}`")),
            |state| Fact::Is(state.to_owned()),
        ),
        Fact::Unknown(why)
            if Path::new("/sys/kernel/security").read_dir().is_ok_and(|mut dir| dir.next().is_some()) =>
        {
            // securityfs is there and the file is not: this kernel has no lockdown.
            let _ = why;
            Fact::Is("none".to_owned())
        }
        unknown => unknown,
    }
}

/// From the fourth field of /proc/self/mounts on nothing is needed: device, place, kind.
fn mounts() -> Vec<Mount> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let place = |kind: &str| {
        table.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (place, found) = (words.next()?, words.next()?);
            (found == kind).then(|| place.to_owned())
        })
    };
    ["tracefs", "debugfs", "securityfs"]
        .map(|kind| Mount { kind: kind.to_owned(), place: place(kind) })
        .into()
}

fn capabilities() -> Fact<Vec<String>> {
    match caps::read(None, caps::CapSet::Effective) {
        Ok(set) => {
            let mut names: Vec<String> = set.iter().map(ToString::to_string).collect();
            names.sort();
            Fact::Is(names)
        }
        Err(error) => Fact::Unknown(error.to_string()),
    }
}
