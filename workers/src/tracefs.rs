//! tracefs: where it is, and how to see it where the host has not mounted it.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

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
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Nothing that is mounted here may spread to the host. In a chroot "/" may be no mount, but /sys is one.
    let private = |place: &str| {
        mount(None::<&str>, place, None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
    };
    private("/sys").or_else(|_| private("/"))?;
    // Kernels before 4.1 have it in debugfs only.
    let place = PLACES.iter().find(|place| Path::new(place).exists()).unwrap_or(&PLACES[0]);
    mount(Some("tracefs"), *place, Some("tracefs"), MsFlags::empty(), None::<&str>)?;
    Ok(())
}
