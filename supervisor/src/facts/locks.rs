//! Facts about lockdown and security modules.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use shared::host::{Fact, Selinux, lockdown_in_force};

use super::{absent, read};

/// How much of the end of audit.log is searched.
const AUDIT_TAIL: u64 = 1 << 20;

/// Denials that are told, the newest last.
const DENIALS: usize = 5;

/// securityfs is mounted, since something is in it.
fn has_securityfs() -> bool {
    Path::new("/sys/kernel/security").read_dir().is_ok_and(|mut dir| dir.next().is_some())
}

pub(super) fn lockdown() -> Fact<String> {
    const FILE: &str = "/sys/kernel/security/lockdown";
    match read(FILE) {
        Fact::Is(text) => match lockdown_in_force(&text) {
            Some(state) => Fact::Is(state.to_owned()),
            None => Fact::Unknown(format!("{FILE} says `{text}`")),
        },
        Fact::Missing(_) if has_securityfs() => Fact::Missing(
            "this kernel has no lockdown: securityfs is mounted and has no file of it".to_owned(),
        ),
        Fact::Missing(_) => Fact::Unknown(format!("{FILE}: securityfs is not mounted")),
        unknown => unknown,
    }
}

pub(super) fn security_modules() -> Fact<Vec<String>> {
    match read("/sys/kernel/security/lsm") {
        Fact::Is(text) => Fact::Is(text.split(',').map(|word| word.trim().to_owned()).collect()),
        Fact::Missing(why) | Fact::Unknown(why) => Fact::Unknown(why),
    }
}

pub(super) fn selinux() -> Selinux {
    let mode = match read("/sys/fs/selinux/enforce") {
        Fact::Is(text) => Fact::Is(if text == "1" { "enforcing" } else { "permissive" }.to_owned()),
        Fact::Missing(_) => Fact::Missing("not active".to_owned()),
        Fact::Unknown(why) => Fact::Unknown(why),
    };
    if !matches!(mode, Fact::Is(_)) {
        let off = || "SELinux is not active".to_owned();
        return Selinux { mode, context: Fact::Missing(off()), denials: Fact::Missing(off()) };
    }
    Selinux { mode, context: read("/proc/self/attr/current"), denials: denials() }
}

/// Lines about a denial of class bpf, or of our programs.
fn denials() -> Fact<Vec<String>> {
    const FILE: &str = "/var/log/audit/audit.log";
    let mut bytes = Vec::new();
    let tail = |mut file: fs::File| {
        let start = file.metadata()?.len().saturating_sub(AUDIT_TAIL);
        file.seek(SeekFrom::Start(start))?;
        file.take(AUDIT_TAIL).read_to_end(&mut bytes)
    };
    if let Err(error) = fs::File::open(FILE).and_then(tail) {
        return absent(FILE, &error);
    }
    let text = String::from_utf8_lossy(&bytes);
    let ours = |line: &&str| {
        line.contains("avc:")
            && line.contains("denied")
            && (line.contains("tclass=bpf") || line.contains("comm=\"ebpf"))
    };
    let all: Vec<String> = text.lines().filter(ours).map(str::to_owned).collect();
    Fact::Is(all[all.len().saturating_sub(DENIALS)..].to_vec())
}
