//! Runs the load program under a name of its own.
//!
//! The name is the process's comm, hence its group in `apps_groups.conf`: only what the program itself does
//! after exec is booked there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::effects::{Expected, expected};
use crate::system::wait_until;

/// The load program as `build.rs` made it; carried along, because a guest has no build directory.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/load"));

/// Longest comm that the kernel keeps (TASK_COMM_LEN - 1).
pub const NAME_BYTES_MAX: usize = 15;

/// How long a load may take; loaded machines included.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A running load.
pub struct Load {
    child: Child,
    /// What the whole run must show in its group.
    pub expected: Expected,
    script: String,
}

/// Writes the load program to `directory`/`name`, so that its comm is `name`. Returns the path.
pub fn install(directory: &Path, name: &str) -> Result<PathBuf> {
    ensure!(name.len() <= NAME_BYTES_MAX, "`{name}` is longer than a comm of {NAME_BYTES_MAX} bytes");
    let program = directory.join(name);
    fs::write(&program, PROGRAM).with_context(|| format!("cannot write {}", program.display()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

impl Load {
    /// Starts `script` as `name`, with a working directory of its own inside `directory`.
    ///
    /// With `stop=1` as first word, [`Load::go`] starts the counted part.
    pub fn start(directory: &Path, name: &str, script: &str) -> Result<Load> {
        let expected = expected(script)?;
        let program = install(directory, name)?;
        let work = directory.join(format!("{name}.d"));
        fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        // The operations that end as another user still write here.
        fs::set_permissions(&work, fs::Permissions::from_mode(0o777))?;
        let child = Command::new(&program)
            .args(script.split_whitespace())
            .current_dir(&work)
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Load { child, expected, script: script.to_owned() })
    }

    /// Runs a whole script to its end. Returns what it must show.
    pub fn run(directory: &Path, name: &str, script: &str) -> Result<Expected> {
        Load::start(directory, name, script)?.finish()
    }

    /// Process id of the load.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets a load go on that stopped itself at `stop=1`; waits until it has come there.
    pub fn go(&self) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let status = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).context("cannot wait for the load's stop")?;
        ensure!(matches!(status, WaitStatus::Stopped(..)), "the load did not stop at `stop=1`: {status:?}");
        kill(pid, Signal::SIGCONT).context("cannot continue the load")
    }

    /// Waits for the end and checks that every operation did what the table says.
    pub fn finish(mut self) -> Result<Expected> {
        let mut ended = None;
        wait_until("the load's end", TIME_LIMIT, || {
            ended = self.child.try_wait()?;
            Ok(ended.is_some())
        })?;
        let Some(status) = ended else { bail!("the load has no status") };
        let dies = self.script.split_whitespace().any(|word| word.starts_with("die="));
        let wanted = if dies { status.signal() == Some(9) } else { status.code() == Some(0) };
        if let Some(code) = status.code().filter(|&code| code >= 99) {
            bail!(
                "word {} of `{}` did not do what it should (99: no such operation)",
                code - 100,
                self.script
            );
        }
        ensure!(wanted, "the load `{}` ended with {status}", self.script);
        Ok(self.expected)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It is our child and not yet reaped, so the id is still its own.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
