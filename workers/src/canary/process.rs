//! What the canary of the program `process` does. Nothing on the host is changed: only /dev/null and /dev/zero are opened, and the name that is
//! removed does not exist.

use std::io;

use anyhow::{Context, Result};
use nix::libc;
use shared::canary::{READ_BYTES, WRITE_BYTES};

/// No file of this name: /proc takes none.
const NO_FILE: &std::ffi::CStr = c"/proc/self/no-such-file-canary";

/// Does the deeds. Fails where a file or a process cannot be had.
pub fn fly() -> Result<()> {
    let (zero, null) = (open(c"/dev/zero")?, open(c"/dev/null")?);
    let others = [open(c"/dev/null")?, open(c"/dev/null")?];
    for _ in 0..2 {
        let _ = open(NO_FILE);
    }
    for _ in 0..3 {
        read(zero);
        write(null);
    }
    read(-1);
    write(-1);
    for file in [zero, null, others[0], others[1], -1] {
        // SAFETY: closes what this function opened, and -1, which is no descriptor.
        unsafe { libc::close(file) };
    }
    for _ in 0..2 {
        // SAFETY: a NUL-terminated name that lives for ever.
        unsafe { libc::unlink(NO_FILE.as_ptr()) };
    }
    child()?;
    std::thread::spawn(|| ()).join().ok();
    Ok(())
}

fn open(name: &std::ffi::CStr) -> io::Result<i32> {
    // SAFETY: a NUL-terminated name that lives for ever.
    let file = unsafe { libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if file < 0 { Err(io::Error::last_os_error()) } else { Ok(file) }
}

fn read(file: i32) {
    let mut bytes = [0_u8; READ_BYTES];
    // SAFETY: the buffer is as long as is said.
    unsafe { libc::read(file, bytes.as_mut_ptr().cast(), bytes.len()) };
}

fn write(file: i32) {
    let bytes = [0_u8; WRITE_BYTES];
    // SAFETY: the buffer is as long as is said.
    unsafe { libc::write(file, bytes.as_ptr().cast(), bytes.len()) };
}

/// A process that ends at once.
fn child() -> Result<()> {
    // SAFETY: this process has one thread now, and the child only ends.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context("cannot fork"),
        // SAFETY: ends the child without running anything of ours.
        0 => unsafe { libc::_exit(0) },
        child => {
            let mut status = 0;
            // SAFETY: `status` is writable, and the child is ours.
            unsafe { libc::waitpid(child, &mut status, 0) };
            Ok(())
        }
    }
}
