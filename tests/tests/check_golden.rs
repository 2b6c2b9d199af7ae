//! "Shows" 3: what `--check` says about the hosts of `tests/golden/facts`, as text and as JSON, and that no file makes it crash.
//!
//! Facts of real hosts (virtual machines and this one), and edited ones. `BLESS=1` writes what is said now; needs no root.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn check(arguments: &[&str]) -> Output {
    let program = tests::system::program_directory().unwrap().join("supervisor");
    let mut command = Command::new(program);
    // Nobody's configuration: only what the arguments name.
    command.arg("--check").args(arguments).env("NETDATA_USER_CONFIG_DIR", golden()).output().unwrap()
}

/// The facts' files, without their extension.
fn hosts() -> Vec<String> {
    let files = fs::read_dir(golden().join("facts")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn compare(name: &str, said: &str) {
    let file = golden().join("check").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, said).unwrap();
    }
    let wanted = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        said == wanted,
        "{} differs; BLESS=1 writes it.\n--- is\n{said}\n--- was\n{wanted}",
        file.display()
    );
}

#[test]
fn every_host_is_judged_as_before() {
    let hosts = hosts();
    assert!(hosts.len() >= 12, "only {} hosts", hosts.len());
    for host in &hosts {
        let facts = golden().join("facts").join(format!("{host}.json"));
        let facts = facts.to_str().unwrap();
        let text = check(&["--facts", facts]);
        compare(&format!("{host}.txt"), &String::from_utf8(text.stdout).unwrap());
        let json = check(&["--facts", facts, "--json"]);
        compare(&format!("{host}.json"), std::str::from_utf8(&json.stdout).unwrap());
        let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(value["schema"], 1);
        assert_eq!(value["exit_code"].as_i64(), json.status.code().map(i64::from), "{host}");
        let quiet = check(&["--facts", facts, "-q"]);
        assert_eq!(quiet.stdout.is_empty(), quiet.status.code() == Some(0), "{host}");
    }
}

/// The verdict of hosts about which there is no doubt.
#[test]
fn exit_codes_are_those_of_the_verdict() {
    let codes = [
        ("debian-6.12", 0),
        ("firecracker-6.18", 0),
        ("rhel-7.6", 0),
        ("lockdown-confidentiality", 0),
        ("selinux-enforcing", 10),
        ("low-memlock-5.10", 10),
        ("rhel-7.5", 30),
        ("debian-9-4.9", 30),
        ("ubuntu-4.18-rejected", 30),
        ("user-without-rights", 30),
        ("lockdown-confidentiality-without-btf", 30),
    ];
    for (host, code) in codes {
        let facts = golden().join("facts").join(format!("{host}.json"));
        let said = check(&["--facts", facts.to_str().unwrap()]);
        assert_eq!(said.status.code(), Some(code), "{host}:\n{}", String::from_utf8_lossy(&said.stdout));
    }
    assert_eq!(check(&["--no-such-option"]).status.code(), Some(64));
    assert_eq!(check(&["--facts", "/nonexistent"]).status.code(), Some(64));
    assert_eq!(check(&["--btf", "/dev/null"]).status.code(), Some(64), "--btf without --kallsyms");
}

/// xorshift: the same bytes in every run.
fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize
}

#[test]
fn wrong_files_are_refused_and_never_crash() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let name = file.to_str().unwrap();
    let facts = fs::read(golden().join("facts/debian-6.12.json")).unwrap();
    let kallsyms = b"0 T __x64_sys_read\n0 t x [y]\n".repeat(20);
    let btf = fs::read("/sys/kernel/btf/vmlinux").map(|bytes| bytes[..bytes.len().min(300_000)].to_vec());
    let sources = [facts, kallsyms, btf.unwrap_or_default(), b"CONFIG_BPF=y\n".repeat(30)];
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for round in 0..160 {
        let mut bytes = sources[round % sources.len()].clone();
        if round % 5 == 0 {
            bytes = (0..random(&mut state) % 4096).map(|_| random(&mut state) as u8).collect();
        }
        for _ in 0..random(&mut state) % 8 {
            if !bytes.is_empty() {
                let at = random(&mut state) % bytes.len();
                bytes[at] = random(&mut state) as u8;
            }
        }
        let cut = bytes.len() - random(&mut state) % (bytes.len() / 4 + 1);
        fs::write(&file, &bytes[..cut]).unwrap();
        let runs: [&[&str]; 4] = [
            &["--facts", name],
            &["--kallsyms", name],
            &["--kallsyms", name, "--btf", name],
            &["--kallsyms", name, "--kernel-config", name, "--functions", name],
        ];
        let said = check(runs[round % runs.len()]);
        // A panic is 101; a signal has no code.
        let code = said.status.code();
        assert!(
            matches!(code, Some(0 | 10 | 20 | 30 | 64)),
            "{round}: {code:?} {}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
}
