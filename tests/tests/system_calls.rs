//! The lists of system calls in `launcher/src/calls.rs` against what the processes really call under a load, as strace records it: nothing is
//! missing, and nothing is superfluous that has no reason beside it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use launcher::calls::{self, Group};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::load::Load;
use tests::system::{alone, children, program_directory, wait_until, workers};

/// Allowed with bounds on their arguments, as `confine.rs` has them.
const BOUNDED: [(&str, &[i64]); 2] = [
    (
        "supervisor",
        &[
            libc::SYS_openat,
            libc::SYS_open,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_socket,
            libc::SYS_ioctl,
        ],
    ),
    ("worker", &[libc::SYS_bpf, libc::SYS_mmap, libc::SYS_mprotect]),
];

/// One call as `strace -n` writes it: `[  16] ioctl(…) = 0`.
struct Line {
    number: i64,
    text: String,
}

impl Line {
    /// None for signals and ends.
    fn parse(line: &str) -> Option<Line> {
        let (number, text) = line.strip_prefix('[')?.split_once(']')?;
        Some(Line { number: number.trim().parse().ok()?, text: text.trim().to_owned() })
    }

    fn is_filter(&self) -> bool {
        self.number == libc::SYS_seccomp
    }

    /// The thread that it started.
    fn thread(&self) -> Option<u32> {
        let is_thread = self.text.contains("CLONE_THREAD");
        self.text.rsplit_once("= ").filter(|_| is_thread)?.1.parse().ok()
    }
}

/// All lines of thread `id`.
fn lines(directory: &Path, id: u32) -> Vec<Line> {
    let text = fs::read(directory.join(format!("calls.{id}"))).unwrap();
    String::from_utf8_lossy(&text).lines().filter_map(Line::parse).collect()
}

/// What process `pid` called after it had confined itself; `None` if it never did.
fn confined(directory: &Path, pid: u32) -> Option<Vec<Line>> {
    let mut all = lines(directory, pid);
    let last = all.iter().rposition(Line::is_filter)?;
    let mut confined = all.split_off(last + 1);
    let mut next = 0;
    while next < confined.len() {
        if let Some(thread) = confined[next].thread() {
            confined.extend(lines(directory, thread));
        }
        next += 1;
    }
    Some(confined)
}

/// Compares with a process's lists.
fn compare(who: &str, seen: &[Line], groups: &[&[Group]], faults: &mut Vec<String>) {
    let mut counts = BTreeMap::<i64, (usize, &str)>::new();
    for line in seen {
        counts.entry(line.number).or_insert((0, &line.text)).0 += 1;
    }
    let bounded = BOUNDED.iter().find(|(name, _)| *name == who).unwrap().1;
    let groups = || groups.iter().copied().flatten();
    let listed: BTreeSet<i64> = groups().flat_map(|group| group.calls).chain(bounded).copied().collect();
    for (number, (count, first)) in &counts {
        if !listed.contains(number) {
            faults.push(format!("the {who} calls what is not listed, {count} times: {first}"));
        }
    }
    for number in groups().filter(|group| group.seldom.is_none()).flat_map(|group| group.calls) {
        if !counts.contains_key(number) {
            faults.push(format!("the {who} never makes call {number}, and no reason is given"));
        }
    }
    let names: Vec<&str> = counts.values().map(|(_, first)| first.split('(').next().unwrap()).collect();
    eprintln!(
        "{who}: {} calls, {} kinds of {} listed: {}",
        seen.len(),
        names.len(),
        listed.len(),
        names.join(" ")
    );
}

#[test]
fn lists_hold_what_is_called_and_nothing_else() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let conf = "[global]\n    ebpf load mode = return\n[network viewer]\n    resolve hostname ips = yes\n    ips = *\n    ports = *\n";
    fs::write(directory.path().join("ebpf.conf"), conf).unwrap();
    fs::write(directory.path().join("apps_groups.conf"), "load: ebpft_calls\n").unwrap();
    let mut strace = Command::new("strace")
        .args(["-ff", "-qq", "-n", "-o"])
        .arg(directory.path().join("calls"))
        .arg(program_directory().unwrap().join("supervisor"))
        .args(["1", "--iterations", "9"])
        .env("NETDATA_USER_CONFIG_DIR", directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(directory.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let log = || fs::read_to_string(directory.path().join("log")).unwrap();
    wait_until("both workers to count", Duration::from_secs(60), || {
        Ok(log().matches("events are counted").count() == 2)
    })
    .unwrap();
    let supervisor = children(strace.id()).unwrap()[0];
    let mut all_workers = workers(supervisor).unwrap();
    // What there is to count, and a worker that goes on where another ended.
    for round in 0..6 {
        Load::run(directory.path(), "ebpft_calls", "open=7 read=11:100 fork=3 thread=3 sleep_ms=50").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"x").unwrap();
        listener.accept().unwrap().0.read_exact(&mut [0]).unwrap();
        if round == 3 {
            for &worker in &all_workers {
                // A canary among them may have ended.
                let _ = kill(Pid::from_raw(worker.cast_signed()), Signal::SIGKILL);
            }
            wait_until("the next workers", Duration::from_secs(30), || {
                Ok(log().matches("goes on after epoch").count() == 2)
            })
            .unwrap();
            all_workers.extend(workers(supervisor).unwrap());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(strace.wait().unwrap().success(), "{}", log());
    let mut faults = Vec::new();
    let seen = confined(directory.path(), supervisor).expect("the supervisor is not confined");
    compare("supervisor", &seen, &[calls::SUPERVISOR], &mut faults);
    let workers: Vec<Vec<Line>> =
        all_workers.iter().filter_map(|&worker| confined(directory.path(), worker)).collect();
    assert_eq!(workers.len(), 4, "workers that are confined");
    let seen: Vec<Line> = workers.into_iter().flatten().collect();
    compare("worker", &seen, &[calls::WORKER], &mut faults);
    assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), log());
}
