//! What the canary of the network viewer does: it talks to itself over 127.0.0.1, and over ::1 where there is one.
//!
//! Every call is made once and waits for what it wants, so that each counter has one right value. Ports are the kernel's choice, and nobody else
//! can have them while this process lives.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};
use shared::canary::{MESSAGES, TCP_BYTES, UDP_BYTES};

/// Longest wait for what is on its way within this host already; a packet filter may throw it away.
const PATIENCE: Duration = Duration::from_millis(150);

/// Attempts to have one port for both protocols.
const ATTEMPTS: u32 = 16;

/// The two servers of a family, on one port; clients come when they are needed.
pub struct Conversation {
    tcp: TcpListener,
    udp: UdpSocket,
}

/// Opens the servers: first those of IPv4, then, if the host has it, those of IPv6.
pub fn prepare() -> Result<Vec<Conversation>> {
    let mut all = vec![Conversation::new(Ipv4Addr::LOCALHOST.into()).context("127.0.0.1 cannot be had")?];
    all.extend(Conversation::new(Ipv6Addr::LOCALHOST.into()).ok());
    Ok(all)
}

impl Conversation {
    fn new(address: IpAddr) -> Result<Self> {
        let mut attempts = ATTEMPTS;
        loop {
            let tcp = TcpListener::bind((address, 0))?;
            setsockopt(&tcp, ReceiveTimeout, &TimeVal::milliseconds(PATIENCE.as_millis() as i64))?;
            attempts -= 1;
            // A UDP socket on a port of the kernel's choice would be taken for a client.
            match bind_udp(tcp.local_addr()?) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && attempts > 0 => {}
                udp => return Ok(Conversation { tcp, udp: udp? }),
            }
        }
    }

    /// Where the servers are.
    pub fn port(&self) -> u16 {
        self.tcp.local_addr().map_or(0, |address| address.port())
    }

    /// Does the deeds of one family.
    pub fn hold(&self) -> Result<()> {
        let address = self.tcp.local_addr()?.ip();
        self.over_tcp().with_context(|| format!("over TCP to {address}"))?;
        self.over_udp().with_context(|| format!("over UDP to {address}"))
    }

    fn over_tcp(&self) -> Result<()> {
        let mut client =
            TcpStream::connect_timeout(&self.tcp.local_addr()?, PATIENCE).context("no connection")?;
        let mut server = self.accept(client.local_addr()?)?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE))?;
        }
        let mut bytes = [0; TCP_BYTES];
        for _ in 0..MESSAGES {
            ensure!(client.write(&bytes)? == TCP_BYTES, "a message was sent in parts");
            ensure!(server.read(&mut bytes)? == TCP_BYTES, "a message arrived in parts");
            ensure!(server.write(&bytes)? == TCP_BYTES, "an answer was sent in parts");
            ensure!(client.read(&mut bytes)? == TCP_BYTES, "an answer arrived in parts");
        }
        client.set_nonblocking(true)?;
        ensure!(client.read(&mut bytes).is_err(), "there is an answer that nobody gave");
        client.shutdown(Shutdown::Write)?;
        ensure!(client.write(&bytes).is_err(), "a connection that is shut down still sends");
        ensure!(server.read(&mut bytes)? == 0, "a connection that is shut down has no end");
        Ok(())
    }

    /// Our own connection: any program of this host may be faster. Connections that are accepted are charged to nobody.
    fn accept(&self, client: SocketAddr) -> Result<TcpStream> {
        loop {
            let (server, who) = self.tcp.accept().context("nobody to accept")?;
            if who == client {
                return Ok(server);
            }
        }
    }

    fn over_udp(&self) -> Result<()> {
        let server_address = self.udp.local_addr()?;
        let client = bind_udp((server_address.ip(), 0).into())?;
        client.connect(server_address)?;
        let client_address = client.local_addr()?;
        let mut bytes = [0; UDP_BYTES];
        for _ in 0..MESSAGES {
            client.send(&bytes)?;
            ensure!(self.udp.recv(&mut bytes)? == UDP_BYTES, "a datagram of somebody else");
            self.udp.send_to(&bytes, client_address)?;
            client.recv(&mut bytes)?;
        }
        ensure!(self.udp.send(&bytes).is_err(), "a datagram without an address was sent");
        client.set_nonblocking(true)?;
        ensure!(client.recv(&mut bytes).is_err(), "there is an answer that nobody gave");
        Ok(())
    }
}

fn bind_udp(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}
