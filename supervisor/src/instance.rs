//! Tells when another instance runs: both count correctly, each on its own, but cost twice.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::log;

/// A name in the kernel, not in a file: it is gone with the process that holds it, however that ends.
const NAME: &[u8] = b"netdata-ebpf.plugin";

/// Marks this process as running until the value is dropped; warns when another is marked.
pub fn mark() -> Option<UnixListener> {
    let address = SocketAddr::from_abstract_name(NAME).ok()?;
    match UnixListener::bind_addr(&address) {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            log::warning("another instance runs; both count correctly, and both cost");
            None
        }
        Err(error) => {
            log::info(format!("cannot tell whether another instance runs: {error}"));
            None
        }
    }
}
