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
    // It could not be read; and 7.2.13 crashes when such a mount of tracefs goes away (BUG in tracefs_destroy_inode).
    if is_confidential() {
        return Err(io::Error::other(format!(
            "{kind} is not mounted, and lockdown=confidentiality would hide it"
        )));
    }
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

/// Whether the kernel is locked down to confidentiality: by securityfs, else by the kernel's arguments, else by /proc/kcore, which only that
/// level closes to those who have the capability for it.
fn is_confidential() -> bool {
    if let Ok(text) = std::fs::read_to_string("/sys/kernel/security/lockdown") {
        return text.contains("[confidentiality]");
    }
    let may_read =
        caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_RAWIO).unwrap_or(false);
    let refused = || {
        std::fs::File::open("/proc/kcore").is_err_and(|error| error.raw_os_error() == Some(nix::libc::EPERM))
    };
    std::fs::read_to_string("/proc/cmdline").is_ok_and(|text| text.contains("lockdown=confidentiality"))
        || (may_read && refused())
}
