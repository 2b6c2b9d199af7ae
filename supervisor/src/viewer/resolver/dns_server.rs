//! A DNS server on loopback for tests: answers questions for PTR records as it is told, also in ways that no server should.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};

use super::Servers;

/// What the server says about an address.
#[derive(Clone)]
pub enum Reply {
    /// It has these names, each a list of labels.
    Names(Vec<Vec<Vec<u8>>>),
    /// There is no such name.
    NoName,
    /// Nothing at all.
    Silence,
    /// These bytes, after the number of the question.
    Rubbish(Vec<u8>),
    /// Something is wrong here (SERVFAIL).
    Failure,
}

impl Reply {
    /// It has this name.
    pub fn name(name: &str) -> Self {
        Reply::Names(vec![labels(name)])
    }
}

/// The labels of a name.
pub fn labels(name: &str) -> Vec<Vec<u8>> {
    name.split('.').map(|label| label.as_bytes().to_vec()).collect()
}

/// The running server; it ends when this is dropped.
pub struct DnsServer {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DnsServer {
    /// Starts one that answers with what `reply` says.
    pub fn start(reply: impl Fn(Ipv4Addr) -> Reply + Send + 'static) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let (asked, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (Arc::clone(&asked), Arc::clone(&end));
        let thread = thread::spawn(move || {
            let mut question = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else {
                    continue;
                };
                count.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = answer(&question[..length], &reply) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        DnsServer { address, asked, end, thread: Some(thread) }
    }

    /// This server and no other.
    pub fn servers(&self) -> Servers {
        let mut connection = ConnectionConfig::udp();
        connection.port = self.address.port();
        let mut server = NameServerConfig::udp(self.address.ip());
        server.connections = vec![connection];
        Servers::These(Box::new(ResolverConfig::from_name_servers(vec![server])))
    }

    /// How many questions have come.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// RFC 1035, section 4: header, question, answers. `None`: silence.
fn answer(question: &[u8], reply: &impl Fn(Ipv4Addr) -> Reply) -> Option<Vec<u8>> {
    let (header, body) = question.split_at(12);
    let name_length = body.iter().position(|&byte| byte == 0)? + 1;
    let asked = &body[..name_length + 4];
    let (code, names) = match reply(address_of(&body[..name_length])) {
        Reply::Silence => return None,
        Reply::Rubbish(bytes) => return Some([&header[..2], &bytes].concat()),
        Reply::Failure => (2, Vec::new()),
        Reply::NoName => (3, Vec::new()),
        Reply::Names(names) => (0, names),
    };
    let mut text = header[..2].to_vec();
    text.extend([0x81, 0x80 | code, 0, 1]);
    text.extend((names.len() as u16).to_be_bytes());
    text.extend([0; 4]);
    text.extend(asked);
    for labels in names {
        let mut data: Vec<u8> = Vec::new();
        for label in &labels {
            data.push(label.len() as u8);
            data.extend(label);
        }
        data.push(0);
        // The name of the question, PTR, IN, one hour.
        text.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0x0e, 0x10]);
        text.extend((data.len() as u16).to_be_bytes());
        text.extend(data);
    }
    Some(text)
}

/// From `4.3.2.1.in-addr.arpa`.
fn address_of(mut name: &[u8]) -> Ipv4Addr {
    let mut octets = [0; 4];
    for octet in octets.iter_mut().rev() {
        let (label, rest) = name[1..].split_at(usize::from(name[0]));
        *octet = std::str::from_utf8(label).unwrap().parse().unwrap();
        name = rest;
    }
    Ipv4Addr::from(octets)
}

/// 10.x.y.z.
pub fn peer(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | number))
}
