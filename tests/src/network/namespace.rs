//! Two network namespaces of our own, with a veth between them; nothing outside is touched.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};

use super::pair::Place;

/// Two namespaces, or three, which go when this is dropped.
pub struct Namespaces {
    /// Names of the server's, of the client's, and of what lies between them.
    pub names: Vec<String>,
}

impl Namespaces {
    /// Makes both: the server's with 10.99.0.1 and fd00:99::1, the client's with 10.99.0.2 and fd00:99::2.
    pub fn new() -> Result<Namespaces> {
        let names = ["server", "client"].map(|role| format!("nett{}{role}", std::process::id()));
        let namespaces = Namespaces { names: names.to_vec() };
        let [server, client] = &names;
        ip(&format!("netns add {server}"))?;
        ip(&format!("netns add {client}"))?;
        ip(&format!("link add nett0 netns {server} type veth peer name nett0 netns {client}"))?;
        for (name, host) in [(server, 1), (client, 2)] {
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} addr add 10.99.0.{host}/24 dev nett0"))?;
            // Usable at once: nobody else is there to have the same address.
            ip(&format!("-n {name} addr add fd00:99::{host}/64 dev nett0 nodad"))?;
            ip(&format!("-n {name} link set nett0 up"))?;
            // Each datagram to a closed port is answered, however many there are.
            for option in ["ipv4.icmp_ratelimit", "ipv6.icmp.ratelimit"] {
                ip(&format!("netns exec {name} sysctl -qw net.{option}=0"))?;
            }
        }
        Ok(namespaces)
    }

    /// Makes both, and a third between them that forwards through queues which are too short: packets are lost on the way, not where they
    /// are sent. The addresses are 10.99.0.1 and 10.98.0.1, fd00:99::1 and fd00:98::1.
    pub fn with_losses() -> Result<Namespaces> {
        let names = ["server", "client", "router"].map(|role| format!("nett{}{role}", std::process::id()));
        let namespaces = Namespaces { names: names.to_vec() };
        for name in &names {
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        let [server, client, router] = &names;
        for (name, net) in [(server, 99), (client, 98)] {
            ip(&format!("link add nett0 netns {name} type veth peer name nett{net} netns {router}"))?;
            for (namespace, device, host) in
                [(name, "nett0".to_owned(), 1), (router, format!("nett{net}"), 254)]
            {
                ip(&format!("-n {namespace} addr add 10.{net}.0.{host}/24 dev {device}"))?;
                ip(&format!("-n {namespace} addr add fd00:{net}::{host}/64 dev {device} nodad"))?;
                ip(&format!("-n {namespace} link set {device} up"))?;
            }
            ip(&format!("-n {name} route add default via 10.{net}.0.254"))?;
            ip(&format!("-n {name} route add default via fd00:{net}::254"))?;
            let queue = "root tbf rate 100mbit burst 10000 limit 40000";
            ip(&format!("netns exec {router} tc qdisc add dev nett{net} {queue}"))?;
        }
        for option in ["ipv4.ip_forward", "ipv6.conf.all.forwarding"] {
            ip(&format!("netns exec {router} sysctl -qw net.{option}=1"))?;
        }
        Ok(namespaces)
    }

    /// Gives the server's one more address, 10.99.0.`host`.
    pub fn add_address(&self, host: u8) -> Result<()> {
        ip(&format!("-n {} addr add 10.99.0.{host}/24 dev nett0", self.names[0])).map(drop)
    }

    /// Where a pair runs across the veth, ports from `port` on.
    pub fn place(&self, port: u16) -> Place {
        let [server, client] = [0, 1].map(|which| self.names[which].clone());
        let (ipv4, ipv6) = ("10.99.0.1".to_owned(), "fd00:99::1".to_owned());
        Place { ipv4, ipv6, namespaces: Some((server, client)), port }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            // Nothing more can be done about one that cannot be removed.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

/// A DNS server (Debian's dnsmasq) on a namespace's loopback device, which what is started there then asks; it ends when this is dropped.
pub struct NameServer {
    server: Child,
    files: PathBuf,
}

impl NameServer {
    /// Knows a name for each address of `names`, and that there is no other.
    pub fn start(namespace: &str, names: &[(Ipv4Addr, &str)]) -> Result<NameServer> {
        // Where `ip netns exec` looks for files to put over those in /etc.
        let files = Path::new("/etc/netns").join(namespace);
        fs::create_dir_all(&files).with_context(|| format!("cannot make {}", files.display()))?;
        fs::write(files.join("resolv.conf"), "nameserver 127.0.0.1\n").context("cannot write resolv.conf")?;
        let pointers = names.iter().map(|(address, name)| {
            let [a, b, c, d] = address.octets();
            format!("--ptr-record={d}.{c}.{b}.{a}.in-addr.arpa,{name}")
        });
        let server = command(Some(namespace), Path::new("dnsmasq"))
            .args(["--keep-in-foreground", "--conf-file=/dev/null"])
            .args(["--pid-file", "--user=root", "--no-resolv", "--no-hosts", "--local=/arpa/"])
            .args(["--bind-interfaces", "--listen-address=127.0.0.1"])
            .args(pointers)
            .spawn()
            .context("cannot run ip; install the packages iproute2 and dnsmasq-base")?;
        Ok(NameServer { server, files })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // Our own child, not reaped yet, so the id is still its own.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.files);
        // Unless somebody else's files are there.
        let _ = self.files.parent().map(fs::remove_dir);
    }
}

/// A command for `program`, in a namespace as `ip netns` names it, or where the caller is.
pub fn command(namespace: Option<&str>, program: &Path) -> Command {
    let Some(namespace) = namespace else { return Command::new(program) };
    // It becomes the program that it starts.
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// Runs `ip` with these words; returns what it printed.
fn ip(words: &str) -> Result<String> {
    let output = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .context("cannot run ip; install the package iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "ip {words}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
