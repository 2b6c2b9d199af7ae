//! A compromised worker can end itself, and nothing else: whatever it sends, the supervisor lives, stays small and prints what it should.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::protocol::Parser;
use tests::system::program_directory;

/// Most resident memory of the supervisor, kB, whatever it is sent: a whole frame decoded, twice.
const MEMORY_LIMIT_KB: u64 = 300_000;

/// Runs the supervisor with the rogue for some seconds; returns its log.
fn run(how: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(program_directory().unwrap().join("supervisor"), directory.path().join("supervisor")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_rogue-worker"), directory.path().join("ebpf-worker")).unwrap();
    fs::write(directory.path().join("ebpf.conf"), tests::plugin::only_process("ebpf load mode = return"))
        .unwrap();
    let child = Command::new(directory.path().join("supervisor"))
        .arg("1")
        .env("NETDATA_USER_CONFIG_DIR", directory.path())
        .env("ROGUE", how)
        .stdin(Stdio::null())
        .stdout(fs::File::create(directory.path().join("out")).unwrap())
        .stderr(fs::File::create(directory.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    sleep(Duration::from_secs(4));
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let log = fs::read_to_string(directory.path().join("log")).unwrap();
    assert_eq!(output.status.code(), Some(0), "{how}: {log}");
    assert!(peak_kb < MEMORY_LIMIT_KB, "{how}: {peak_kb} kB");
    assert!(log.len() < 4_000_000, "{how}: a log of {} bytes in four seconds", log.len());
    let mut parser = Parser::default();
    for line in fs::read(directory.path().join("out")).unwrap().split(|&byte| byte == b'\n') {
        if !line.is_empty() {
            parser.line(line).unwrap_or_else(|violation| panic!("{how}: {violation}"));
        }
    }
    assert!(!log.lines().any(|line| line.starts_with("SET")), "{how}: lines of its own in the log");
    log
}

#[test]
fn rubbish_ends_the_worker() {
    for how in [
        "random",
        "truncated",
        "huge",
        "endless log",
        "descriptors",
        "out of order",
        "ready twice",
        "replayed",
        "skips epochs",
        "wrong shape",
    ] {
        let log = run(how);
        assert!(log.contains("is given up: "), "{how}: {log}");
        let reason = log.lines().find(|line| line.contains("is given up: ")).unwrap();
        eprintln!("{how}: {}", &reason[..reason.len().min(300)]);
    }
}

/// More processes than there can be: forgotten again, not kept for ever.
#[test]
fn invented_processes_do_not_fill_the_memory() {
    run("many processes");
}
