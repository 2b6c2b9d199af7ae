//! Starts and ends the real supervisor with private configuration, and parses what it prints as it comes.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::model::Output;
use crate::network::namespace::command;
use crate::protocol::{Parser, Violation};
use crate::system::{program_directory, wait_until};

/// Charts that every mode has, one for each program; the blocks of the first that is there are the ticks.
const TICK_CHARTS: [&str; 2] = ["ebpf.file_descriptor", "ebpf.tcp_functions"];
/// Longest time to the first values: load, verify and attach on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);
/// All gone within a second is the promise; the tests allow the two of the "Shows" 4.
pub const STOP_LIMIT: Duration = Duration::from_secs(2);

/// What to start the supervisor with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Text of `ebpf.conf`; `None` for no such file.
    pub ebpf_conf: Option<String>,
    /// Text of `apps_groups.conf`; `None` for no such file.
    pub apps_groups: Option<String>,
    /// Further files of the user configuration directory: relative name and text.
    pub files: Vec<(String, String)>,
    /// Command line.
    pub args: Vec<String>,
    /// The agent's library directory, where the plugin may keep something; `None`: nobody names one.
    pub library: Option<PathBuf>,
    /// The network namespace to start it in, as `ip netns` names it, with its own /etc/resolv.conf; `None` for the test's own.
    pub namespace: Option<String>,
}

impl Setup {
    /// Interval of one second, a mode (`entry` or `return`), and groups as `apps_groups.conf` has them.
    pub fn new(mode: &str, apps_groups: &str) -> Setup {
        Setup {
            ebpf_conf: Some(only_process(&format!("ebpf load mode = {mode}"))),
            apps_groups: Some(apps_groups.to_owned()),
            files: Vec::new(),
            args: vec!["1".to_owned()],
            library: None,
            namespace: None,
        }
    }
}

/// Intervals in an output.
fn ticks_of(output: &Output) -> usize {
    TICK_CHARTS.iter().find_map(|chart| output.charts.get(*chart)).map_or(0, |chart| chart.blocks.len())
}

/// `[network viewer]` that shows every peer and port, under its number.
pub const SHOW_ALL: &str =
    "    ports = *\n    ips = *\n    maximum dimensions = 100000\n    resolve service names = no";

/// An `ebpf.conf` that enables only the network viewer; `global` goes into `[global]`, `rest` behind `[network viewer]`.
pub fn only_network(global: &str, rest: &str) -> String {
    format!(
        "[global]\n    {global}\n[ebpf programs]\n    process = no\n    network viewer = yes\n[network viewer]\n{rest}\n"
    )
}

/// An `ebpf.conf` that enables only the process program; `global` goes into `[global]`.
pub fn only_process(global: &str) -> String {
    format!("[global]\n    {global}\n[ebpf programs]\n    process = yes\n    network viewer = no\n")
}

#[derive(Debug, Default)]
struct Seen {
    parser: Parser,
    raw: Vec<u8>,
    violation: Option<Violation>,
    last_line_at: Option<Instant>,
    closed: bool,
}

/// A running supervisor.
pub struct Plugin {
    child: Child,
    stdin: Option<ChildStdin>,
    seen: Arc<Mutex<Seen>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    drop_stdout: Arc<AtomicBool>,
    readers: Vec<JoinHandle<()>>,
    directory: tempfile::TempDir,
}

/// A supervisor that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed, understood.
    pub output: Output,
    /// What it printed.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of a reader must not hide what it had read before.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plugin {
    /// Starts `supervisor` with its standard input a pipe that stays open, as a real agent does.
    pub fn start(setup: &Setup) -> Result<Plugin> {
        let programs = program_directory()?;
        let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
        let (user, stock) = (directory.path().join("user"), directory.path().join("stock"));
        for path in [&user, &stock] {
            fs::create_dir(path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        for (name, text) in [("ebpf.conf", &setup.ebpf_conf), ("apps_groups.conf", &setup.apps_groups)] {
            if let Some(text) = text {
                write_file(&user.join(name), text)?;
            }
        }
        for (name, text) in &setup.files {
            let path = user.join(name);
            let parent = path.parent().context("a file's name is empty")?;
            fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
            write_file(&path, text)?;
        }
        let mut child = command(setup.namespace.as_deref(), &programs.join("supervisor"))
            .args(&setup.args)
            .current_dir(&user)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("NETDATA_USER_CONFIG_DIR", &user)
            .env("NETDATA_STOCK_CONFIG_DIR", &stock)
            .envs(setup.library.iter().map(|directory| ("NETDATA_LIB_DIR", directory)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the supervisor")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let stderr_pipe = child.stderr.take().context("no stderr")?;
        let stdin = child.stdin.take();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let drop_stdout = Arc::new(AtomicBool::new(false));
        let readers = vec![
            spawn({
                let (seen, drop_stdout) = (seen.clone(), drop_stdout.clone());
                move || read_stdout(stdout, &seen, &drop_stdout)
            }),
            spawn({
                let stderr = stderr.clone();
                move || read_stderr(stderr_pipe, &stderr)
            }),
        ];
        Ok(Plugin { child, stdin, seen, stderr, drop_stdout, readers, directory })
    }

    /// [`Plugin::start`], then waits for the first values of every chart.
    pub fn start_and_wait(setup: &Setup) -> Result<Plugin> {
        let mut plugin = Plugin::start(setup)?;
        plugin.wait_first_data()?;
        Ok(plugin)
    }

    /// Process id of the supervisor.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// User configuration directory, for files that a test changes or adds.
    pub fn user_directory(&self) -> PathBuf {
        self.directory.path().join("user")
    }

    /// What was printed so far, understood.
    pub fn output(&self) -> Output {
        locked(&self.seen).parser.output().clone()
    }

    /// What was logged so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&locked(&self.stderr)).into_owned()
    }

    /// Intervals printed so far.
    pub fn ticks(&self) -> usize {
        ticks_of(locked(&self.seen).parser.output())
    }

    /// Waits until every announced chart had its first block and the interval's output is complete.
    pub fn wait_first_data(&mut self) -> Result<()> {
        self.wait("its first values", START_LIMIT, |output| {
            ticks_of(output) > 0 && output.charts.values().all(|chart| !chart.blocks.is_empty())
        })
    }

    /// Waits for `count` further complete intervals.
    pub fn wait_ticks(&mut self, count: usize) -> Result<()> {
        let wanted = self.ticks() + count;
        let limit = START_LIMIT + Duration::from_secs(2) * u32::try_from(count)?;
        self.wait("further intervals", limit, |output| ticks_of(output) >= wanted)
    }

    /// Waits until `condition` holds for the output between two intervals. Fails with the log when the
    /// supervisor ends, breaks the protocol, or takes longer than `limit`.
    pub fn wait(&mut self, what: &str, limit: Duration, condition: impl Fn(&Output) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            {
                let seen = locked(&self.seen);
                if let Some(violation) = &seen.violation {
                    bail!("the plugin breaks the protocol: {violation}");
                }
                // Intervals come in one burst; half of a burst would compare a new total with an old one.
                let quiet = seen.last_line_at.is_some_and(|at| at.elapsed() > Duration::from_millis(100));
                if quiet && !seen.parser.in_block() && condition(seen.parser.output()) {
                    return Ok(());
                }
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the supervisor ended with {status} while a test waited for {what}; its log:\n{}",
                    self.stderr()
                );
            }
            if start.elapsed() > limit {
                bail!("waited {limit:?} in vain for {what}; the supervisor's log:\n{}", self.stderr());
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal to the supervisor alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).context("cannot signal the supervisor")
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Closes the reading end of its standard output.
    pub fn close_stdout(&self) -> Result<()> {
        self.drop_stdout.store(true, Ordering::Release);
        wait_until("the reader to close stdout", STOP_LIMIT, || Ok(locked(&self.seen).closed))
    }

    /// SIGTERM, then [`Plugin::finish`].
    pub fn stop(self) -> Result<Finished> {
        self.signal(Signal::SIGTERM)?;
        self.finish(STOP_LIMIT)
    }

    /// Waits at most `limit` for the end. Fails when the output breaks the protocol.
    pub fn finish(mut self, limit: Duration) -> Result<Finished> {
        let mut ended = None;
        let waited = wait_until("the supervisor's end", limit, || {
            ended = self.child.try_wait()?;
            Ok(ended.is_some())
        });
        waited.with_context(|| format!("its log:\n{}", self.stderr()))?;
        let status = ended.ok_or_else(|| anyhow!("the supervisor has no status"))?;
        // A worker that lives on would keep the pipes open: do not wait for the readers for ever.
        wait_until("the end of the supervisor's output", limit.max(STOP_LIMIT), || {
            Ok(self.readers.iter().all(JoinHandle::is_finished))
        })?;
        let stderr = self.stderr();
        let mut seen = locked(&self.seen);
        let stdout = String::from_utf8_lossy(&seen.raw).into_owned();
        if let Some(violation) = seen.violation.take() {
            bail!("the plugin breaks the protocol: {violation}");
        }
        let cut = self.drop_stdout.load(Ordering::Acquire) || status.code().is_none();
        ensure!(cut || stdout.is_empty() || stdout.ends_with('\n'), "the last line has no end");
        let parser = std::mem::take(&mut seen.parser);
        let output = if cut { parser.output().clone() } else { parser.finish()? };
        drop(seen);
        Ok(Finished { status, output, stdout, stderr })
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Our own child, not reaped yet, so the id is still its own.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Writes a configuration file that its owner alone may read, as an installation does.
pub fn write_file(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(path);
    let mut file = opened.with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn read_stdout(mut pipe: ChildStdout, seen: &Mutex<Seen>, drop_stdout: &AtomicBool) {
    let mut line = Vec::new();
    let mut bytes = vec![0; 65536];
    while !drop_stdout.load(Ordering::Acquire) {
        let mut ready = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut ready, PollTimeout::from(20_u8)), Ok(0)) {
            continue;
        }
        let Ok(length @ 1..) = pipe.read(&mut bytes) else {
            break;
        };
        let mut seen = locked(seen);
        seen.raw.extend_from_slice(&bytes[..length]);
        seen.last_line_at = Some(Instant::now());
        for &byte in &bytes[..length] {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            if seen.violation.is_none() {
                seen.violation = seen.parser.line(&line).err();
            }
            line.clear();
        }
    }
    drop(pipe);
    locked(seen).closed = true;
}

fn read_stderr(mut pipe: ChildStderr, stderr: &Mutex<Vec<u8>>) {
    let mut bytes = vec![0; 4096];
    // A thread that waits inside read holds one of the few instances of a kretprobe there: wait outside of it.
    while poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).is_ok()
        && let Ok(length @ 1..) = pipe.read(&mut bytes)
    {
        locked(stderr).extend_from_slice(&bytes[..length]);
    }
}
