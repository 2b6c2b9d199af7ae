//! A compromised worker can end itself, and nothing else: whatever it sends, the supervisor lives, stays small and prints what it should.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::protocol::Parser;
use tests::system::{program_directory, workers};

/// Most resident memory of the supervisor, kB, whatever it is sent: a whole frame decoded, twice.
const MEMORY_LIMIT_KB: u64 = 300_000;

/// Starts the supervisor with the rogue, in `directory`, where its output and its log are: `out` and `log`.
fn start(directory: &Path, how: &str) -> Child {
    start_with(directory, how, fs::File::create(directory.join("out")).unwrap())
}

/// The same with another standard output.
fn start_with(directory: &Path, how: &str, stdout: impl Into<Stdio>) -> Child {
    // A process that another thread makes meanwhile has the copies open for writing until it executes its program, and nobody can execute them (ETXTBSY).
    static COPYING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = COPYING.lock().unwrap();
    fs::copy(program_directory().unwrap().join("supervisor"), directory.join("supervisor")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_rogue-worker"), directory.join("ebpf-worker")).unwrap();
    fs::write(directory.join("ebpf.conf"), tests::plugin::only_process("ebpf load mode = return")).unwrap();
    Command::new(directory.join("supervisor"))
        .arg("1")
        .env("NETDATA_USER_CONFIG_DIR", directory)
        .env("ROGUE", how)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(fs::File::create(directory.join("log")).unwrap())
        .spawn()
        .unwrap()
}

/// Runs the supervisor with the rogue for some seconds; returns its log.
fn run(how: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let child = start(directory.path(), how);
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
    const HOW: [&str; 10] = [
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
    ];
    let given_up = |how| {
        let log = run(how);
        assert!(log.contains("is given up: "), "{how}: {log}");
        let reason = log.lines().find(|line| line.contains("is given up: ")).unwrap();
        eprintln!("{how}: {}", &reason[..reason.len().min(300)]);
    };
    // Some at a time: each plugin has four seconds, most of which it waits.
    for some in HOW.chunks(5) {
        thread::scope(|scope| some.iter().for_each(|&how| drop(scope.spawn(move || given_up(how)))));
    }
}

/// More processes than there can be: forgotten again, not kept for ever.
#[test]
fn invented_processes_do_not_fill_the_memory() {
    run("many processes");
}

/// The agent may take a pause longer than a worker has for a snapshot; what workers have sent meanwhile is not late.
#[test]
fn a_reader_that_pauses_costs_no_worker() {
    let directory = tempfile::tempdir().unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    writer.write_all(&[b'\n'; 4096]).unwrap();
    let child = start_with(directory.path(), "is honest", writer);
    sleep(Duration::from_secs(5));
    let reading = thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()).unwrap());
    sleep(Duration::from_secs(3));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    let log = fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(!log.contains("is given up"), "{log}");
    assert!(reading.join().unwrap() > 4096, "nothing was drawn: {log}");
}

/// When each of the first `count` workers began to run in circles, and when it was ended, in seconds; then the plugin is stopped.
fn spinning(how: &str, count: usize) -> Vec<(f64, f64)> {
    let directory = tempfile::tempdir().unwrap();
    let child = start(directory.path(), how);
    let started = Instant::now();
    let (mut began, mut ended, mut last) = (Vec::new(), Vec::new(), Vec::new());
    while ended.len() < count {
        assert!(started.elapsed() < Duration::from_secs(60), "{how}: {began:?} {ended:?}");
        let log = fs::read_to_string(directory.path().join("log")).unwrap();
        let now = workers(child.id()).unwrap();
        let seconds = started.elapsed().as_secs_f64();
        if log.matches("spinning").count() > began.len() {
            began.push(seconds);
        }
        if last.iter().any(|pid| !now.contains(pid)) {
            ended.push(seconds);
        }
        last = now;
        sleep(Duration::from_millis(10));
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{how}");
    eprintln!("{how}: began at {began:.2?}, ended at {ended:.2?}");
    began.into_iter().zip(ended).collect()
}

/// Two and a half seconds from the order that is not obeyed, and what a busy machine adds.
const NOTICED_S: f64 = 2.9;

/// One that had worked is replaced at once.
#[test]
fn a_worker_that_runs_in_circles_is_noticed_within_three_intervals() {
    let lives = spinning("spins later", 2);
    assert_eq!(lives.len(), 2);
    for (began, ended) in &lives {
        assert!((2.3..NOTICED_S).contains(&(ended - began)), "{lives:?}");
    }
    for pair in lives.windows(2) {
        // Two snapshots, then circles again.
        assert!(pair[1].0 - pair[0].1 < 3.5, "{lives:?}");
    }
}

/// One that has never delivered anything is replaced later, and the next one is given more time, for machines that are slow.
#[test]
fn workers_that_never_deliver_come_back_later() {
    let lives = spinning("spins at once", 2);
    assert_eq!(lives.len(), 2);
    for ((began, ended), patience) in lives.iter().zip([2.5, 5.0]) {
        assert!((patience - 0.2..patience + 0.4).contains(&(ended - began)), "{lives:?}");
    }
    // A second, a quarter of which is chance; the next order comes within another.
    assert!((0.7..2.4).contains(&(lives[1].0 - lives[0].1)), "{lives:?}");
}
