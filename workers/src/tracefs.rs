//! Makes tracefs visible to this process, and to nobody else.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const PLACES: &[&str] = &["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Mounts tracefs in a mount namespace of this process's own where the host has not mounted it; nothing remains of it when the process ends.
pub fn make_visible() -> io::Result<()> {
    if PLACES
        .iter()
        .any(|place| Path::new(place).join("events").exists())
    {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Nothing that is mounted here may spread to the host.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )?;
    mount(
        Some("tracefs"),
        PLACES[0],
        Some("tracefs"),
        MsFlags::empty(),
        None::<&str>,
    )?;
    Ok(())
}
