//! The directory in which ipc-channel makes the socket where a worker meets its supervisor.
//!
//! The library takes `TMPDIR` or /tmp, and panics when it cannot write there; so that is found out before.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::{AccessFlags, access};

/// Where to look when the environment's directory is of no use.
const PLACES: &[&str] = &["/tmp", "/run", "/dev/shm", "/var/tmp"];

/// Fails when no socket can be made in the directory for temporary files.
pub fn check() -> Result<()> {
    let place = std::env::temp_dir();
    may_write(&place).with_context(|| {
        format!(
            "cannot make a socket to meet the worker in {}; set TMPDIR to a directory that can be written",
            place.display()
        )
    })
}

/// Starts this program again, in the same process, with a directory that can be written, if the present one cannot.
///
/// To be called first of all: the environment is read by many threads later, and may not be changed then.
pub fn ensure() -> Result<()> {
    if check().is_ok() {
        return Ok(());
    }
    let usable = PLACES.iter().map(PathBuf::from).find(|place| may_write(place).is_ok());
    let Some(usable) = usable else { return check() };
    let own = std::env::current_exe().context("cannot find the path of this program")?;
    let error = Command::new(own).args(std::env::args_os().skip(1)).env("TMPDIR", usable).exec();
    Err(error).context("cannot start this program again with another TMPDIR")
}

fn may_write(place: &Path) -> std::io::Result<()> {
    if !place.is_dir() {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    access(place, AccessFlags::W_OK | AccessFlags::X_OK)?;
    Ok(())
}
