//! Small things about this machine: waiting, processes, the built programs, one test at a time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Polls `condition` until it holds. Fails after `limit`, naming `what` was waited for.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Directory of the built `supervisor` and `ebpf-worker`: `EBPF_BIN_DIR`, else `target/release` of the
/// workspace. Fails when a program is missing there.
pub fn program_directory() -> Result<PathBuf> {
    let directory = match std::env::var_os("EBPF_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
            workspace.context("the tests' folder has no parent")?.join("target/release")
        }
    };
    for program in ["supervisor", "ebpf-worker"] {
        ensure!(
            directory.join(program).is_file(),
            "no {program} in {}; run `cargo build --release`, or set EBPF_BIN_DIR",
            directory.display()
        );
    }
    Ok(directory.canonicalize()?)
}

/// Held by a test while it may be the only one that attaches eBPF: it counts what is left, measures time, or has ports that others would disturb.
pub struct Alone {
    _lock: File,
}

/// Waits for the machine-wide lock of these tests. Fails when not root: eBPF needs it.
pub fn alone() -> Result<Alone> {
    ensure!(nix::unistd::geteuid().is_root(), "this test attaches eBPF programs: run it as root");
    let lock = lock_file()?;
    lock.lock().context("cannot lock the machine")?;
    Ok(Alone { _lock: lock })
}

/// Held by a test that looks at nothing but what it has started, here or in a virtual machine: others like it may run beside it, but nobody who
/// must be alone.
pub struct Beside {
    _lock: File,
}

/// Waits until nobody has to be alone. Fails when not root: eBPF needs it.
pub fn beside() -> Result<Beside> {
    ensure!(nix::unistd::geteuid().is_root(), "this test attaches eBPF programs: run it as root");
    let lock = lock_file()?;
    lock.lock_shared().context("cannot share the machine")?;
    Ok(Beside { _lock: lock })
}

/// How many virtual machines a test may use at a time, as the variable that the tools understand: two CPUs are expected. `cargo nextest`
/// runs several such tests at once (.config/nextest.toml), `cargo test` one.
fn vm_jobs() -> (&'static str, &'static str) {
    ("VM_JOBS", if std::env::var_os("NEXTEST").is_some() { "1" } else { "2" })
}

/// Runs `tools/TOOL` with these arguments, on this machine or in guests, which give way to other programs. `cells`: the variable that names the
/// test's own program, and that program. Fails with what it printed.
pub fn run_tool(tool: &str, arguments: &[&str], cells: (&str, &str)) -> Result<()> {
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests' folder has no parent")?;
    let output = Command::new("nice")
        .arg(workspace.join("tools").join(tool))
        .args(arguments)
        .envs([vm_jobs(), cells])
        .env("EBPF_BIN_DIR", program_directory()?)
        .output()
        .with_context(|| format!("cannot run tools/{tool}"))?;
    let [out, log] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    ensure!(output.status.success(), "{}: {log}\n{out}", output.status);
    Ok(())
}

fn lock_file() -> Result<File> {
    let path = std::env::temp_dir().join("ebpf-plugin-tests.lock");
    File::create(&path).with_context(|| format!("cannot create {}", path.display()))
}

/// One process as `/proc/PID/stat` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent: u32,
    /// Name, up to 15 bytes.
    pub comm: String,
    /// Kernel's state letter; `Z` has ended and waits for its parent.
    pub state: char,
}

/// All processes of this machine by pid. Those that end meanwhile are left out.
pub fn processes() -> Result<BTreeMap<u32, Process>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(process) = process(pid) {
            found.insert(pid, process);
        }
    }
    Ok(found)
}

/// One process; `None` when it is gone.
pub fn process(pid: u32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // comm may hold spaces and parentheses itself: it ends at the last one.
    let (head, tail) = stat.rsplit_once(')')?;
    let comm = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Process { pid, parent, comm, state })
}

/// Pids of the living children of `parent`.
pub fn children(parent: u32) -> Result<Vec<u32>> {
    let all = processes()?;
    Ok(all
        .values()
        .filter(|child| child.parent == parent && child.state != 'Z')
        .map(|child| child.pid)
        .collect())
}

/// Pids of the living workers of a supervisor: the children of its launcher.
pub fn workers(supervisor: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for launcher in children(supervisor)? {
        found.extend(children(launcher)?);
    }
    Ok(found)
}

/// Whether a process with this id exists and has not ended.
pub fn is_alive(pid: u32) -> bool {
    process(pid).is_some_and(|process| process.state != 'Z')
}
