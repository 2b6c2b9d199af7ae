//! Which ports this host served on before the programs were there: from /proc/PID/net of every network namespace.
//!
//! Later ones the programs notice themselves.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::bpf::MapHandle;

/// Entries of the map `listening`: ports of TCP, then those of UDP.
pub const PORTS: u32 = 65536;

/// State of a listening TCP socket in /proc/net/tcp (include/net/tcp_states.h).
const LISTEN: u8 = 0x0a;

/// State of an unconnected UDP socket there.
const CLOSE: u8 = 0x07;

/// Fills the map `listening`. `udp`: with the ports of UDP sockets too, as nobody tells later what they were bound to.
///
/// What cannot be read has no listeners. Fails when the map cannot be written.
pub fn fill(map: &MapHandle, udp: bool) -> io::Result<()> {
    let mut sockets: HashMap<u32, u32> = HashMap::new();
    let clients =
        client_ports(&fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default());
    for directory in namespaces(Path::new("/proc")) {
        for file in ["tcp", "tcp6"] {
            count(&directory.join(file), LISTEN, |port| *sockets.entry(u32::from(port)).or_default() += 1);
        }
        for file in ["udp", "udp6"].into_iter().filter(|_| udp) {
            count(&directory.join(file), CLOSE, |port| {
                if !clients.contains(&port) {
                    sockets.insert(PORTS + u32::from(port), 1);
                }
            });
        }
    }
    sockets.iter().try_for_each(|(port, count)| map.update(&port.to_ne_bytes(), &count.to_ne_bytes()))
}

/// The directory `net` of one process of each network namespace.
///
/// A namespace is told by the inode of a file in it: `/proc/PID/ns/net` may be read of processes that have no more capabilities than this one only
/// (ptrace_may_access), which a worker's are not.
fn namespaces(proc: &Path) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let entries = fs::read_dir(proc).into_iter().flatten().flatten().map(|entry| entry.path());
    let processes = entries.filter(|path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
    });
    processes
        .map(|path| path.join("net"))
        .filter(|net| fs::metadata(net.join("tcp")).is_ok_and(|tcp| seen.insert(tcp.ino())))
        .collect()
}

/// Calls `each` with the local port of every socket of `file` that is in `state`.
fn count(file: &Path, state: u8, mut each: impl FnMut(u16)) {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| port_of(line, state)).for_each(&mut each);
}

/// The local port of a line of /proc/net/tcp: `sl: ADDRESS:PORT ADDRESS:PORT STATE …`, numbers in hexadecimal.
fn port_of(line: &str, wanted: u8) -> Option<u16> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, state) = (words.next()?, words.nth(1)?);
    (u8::from_str_radix(state, 16).ok()? == wanted).then_some(())?;
    u16::from_str_radix(local.rsplit(':').next()?, 16).ok()
}

/// Ports that the kernel chooses for clients; those of Linux by default where nothing else can be read.
fn client_ports(text: &str) -> RangeInclusive<u16> {
    let mut words = text.split_ascii_whitespace().filter_map(|word| word.parse().ok());
    words.next().unwrap_or(32768)..=words.next().unwrap_or(60999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_sockets_in_a_state() {
        let listener = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0";
        let other = "   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0";
        let six = "   2: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0:0";
        assert_eq!(port_of(listener, LISTEN), Some(8080));
        assert_eq!(port_of(other, LISTEN), None);
        assert_eq!(port_of(six, LISTEN), Some(22));
        for broken in ["", "  sl  local_address rem_address   st", "0: x:y z 0A", "0: 1:10000 2:3 0A", "0: 1"]
        {
            assert_eq!(port_of(broken, LISTEN), None, "{broken}");
        }
    }

    #[test]
    fn client_ports_are_the_systems() {
        assert_eq!(client_ports("1024\t2048\n"), 1024..=2048);
        assert_eq!(client_ports("x"), 32768..=60999);
    }

    #[test]
    fn a_listener_of_ours_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut found = 0;
        for directory in namespaces(Path::new("/proc")) {
            count(&directory.join("tcp"), LISTEN, |one| found += u32::from(one == port));
        }
        assert!(found >= 1);
    }
}
