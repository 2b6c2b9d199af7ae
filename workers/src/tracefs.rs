//! tracefs and debugfs: where they are, and how to see them where the host has not mounted them.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const DEBUGFS: &str = "/sys/kernel/debug";

const PLACES: &[&str] = &["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Where tracefs is mounted.
pub fn root() -> Option<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|place| place.join("events").exists())
}

/// Mounts tracefs in a mount namespace of this process's own where the host has not mounted it; nothing remains of it when the process ends.
pub fn make_visible() -> io::Result<()> {
    if root().is_some() {
        return Ok(());
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if mounts.lines().any(|line| line.split(' ').nth(2) == Some("tracefs")) {
        return Err(io::Error::other("it is mounted and empty, as lockdown=confidentiality makes it"));
    }
    // Kernels before 4.1 have it in debugfs only.
    let place = PLACES.iter().find(|place| Path::new(place).exists()).unwrap_or(&PLACES[0]);
    mount_privately("tracefs", place)
}

/// Mounts a filesystem of the kernel's where only this process and its children see it.
fn mount_privately(kind: &str, place: &str) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Nothing that is mounted here may spread to the host. In a chroot "/" may be no mount, but /sys is one.
    let private = |place: &str| {
        mount(None::<&str>, place, None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
    };
    private("/sys").or_else(|_| private("/"))?;
    mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)?;
    Ok(())
}

/// The text of a file of debugfs, mounted for this process where the host has not.
///
/// Fails without the right to mount, and where lockdown hides the file.
pub fn read_debugfs(file: &str) -> io::Result<String> {
    let path = Path::new(DEBUGFS).join(file);
    if !path.exists() {
        mount_privately("debugfs", DEBUGFS)?;
    }
    std::fs::read_to_string(path)
}
