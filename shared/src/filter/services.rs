//! Names for ports: `[service name]` of `ebpf.conf` first, then `/etc/services`.
//!
//! The file is read here, not by `getservbyname`: a static binary has no name service switch, and one look at
//! the file answers for all ports. So services of NIS or LDAP are not known.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use crate::diagnostic::Diagnostic;
use crate::file;
use crate::peer::{Protocol, clean};

/// Where the system keeps the names of services.
pub const SERVICES_FILE: &str = "/etc/services";

/// Much more than the complete list of IANA, which has about 1 MB.
const MOST_BYTES: u64 = 4 << 20;

/// Names of ports by protocol, and ports by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    /// Fit for a dimension; no two ports of a protocol have the same name.
    names: HashMap<(Protocol, u16), String>,
    /// The names of `[service name]` as written, with all their ports.
    configured: BTreeMap<String, Vec<u16>>,
    /// Names and aliases of the file, with the first port of each protocol in the order of [`Protocol::ALL`].
    by_name: HashMap<String, [Option<u16>; 2]>,
}

impl Services {
    /// Reads [`SERVICES_FILE`] or another file of its format; `configured` is `[service name]`.
    ///
    /// Does not fail: without a file only `configured` has names, and a remark says so.
    pub fn load(configured: &BTreeMap<u16, String>, path: &Path) -> (Self, Vec<Diagnostic>) {
        match file::read(path, MOST_BYTES) {
            Ok((text, _)) => (Self::new(configured, &text), Vec::new()),
            Err(error) => {
                let message = format!(
                    "cannot be read, so ports without a [service name] are shown as numbers: {error}"
                );
                (Self::new(configured, b""), vec![Diagnostic::info(path, None, message)])
            }
        }
    }

    /// The same from the text of a services file: lines `name port/protocol alias… # comment`. As in the C
    /// library, lines of any other form are skipped and the first line for a port or a name wins.
    pub fn new(configured: &BTreeMap<u16, String>, text: &[u8]) -> Self {
        let mut services = Self::default();
        let mut taken = HashSet::new();
        for (&port, name) in configured {
            services.configured.entry(name.clone()).or_default().push(port);
            for protocol in Protocol::ALL {
                services.give_name(protocol, port, name, &mut taken);
            }
        }
        for line in String::from_utf8_lossy(text).lines() {
            let Some((protocol, port, names)) = parse_line(line) else {
                continue;
            };
            if let Some(name) = names.first() {
                services.give_name(protocol, port, name, &mut taken);
            }
            for name in names {
                let ports = services.by_name.entry(name.to_owned()).or_default();
                ports[protocol as usize].get_or_insert(port);
            }
        }
        services
    }

    /// The name of a port, fit for a dimension; `None` when it has no name for this protocol.
    pub fn name(&self, port: u16, protocol: Protocol) -> Option<&str> {
        self.names.get(&(protocol, port)).map(String::as_str)
    }

    /// The name of a port, or its number.
    pub fn label(&self, port: u16, protocol: Protocol) -> String {
        self.name(port, protocol).map_or_else(|| port.to_string(), str::to_owned)
    }

    /// The ports that a service name or alias stands for; letter case matters. All ports of a name in
    /// `[service name]`; else the one of the TCP service, else the one of the UDP service. Empty when there
    /// is no such service.
    pub fn ports_named(&self, name: &str) -> Vec<u16> {
        if let Some(ports) = self.configured.get(name) {
            return ports.clone();
        }
        let ports = self.by_name.get(name).copied().unwrap_or_default();
        ports.into_iter().flatten().take(1).collect()
    }

    /// Names a port, unless it has a name already. A name that another port has (`taken`), or that reads like
    /// the number of another port, gets the number appended: dimensions of two ports must not be mixed up.
    fn give_name(
        &mut self,
        protocol: Protocol,
        port: u16,
        name: &str,
        taken: &mut HashSet<(Protocol, String)>,
    ) {
        if self.names.contains_key(&(protocol, port)) {
            return;
        }
        let mut name = clean(name);
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        if is_number || taken.contains(&(protocol, name.clone())) {
            name = format!("{name}_{port}");
        }
        // Whoever also takes the appended form has to live with a number for the other port.
        if taken.insert((protocol, name.clone())) {
            self.names.insert((protocol, port), name);
        }
    }
}

/// Protocol, port, and the name with its aliases behind it.
fn parse_line(line: &str) -> Option<(Protocol, u16, Vec<&str>)> {
    let text = line.split('#').next()?;
    let mut words = text.split_ascii_whitespace();
    let name = words.next()?;
    let (port, protocol) = words.next()?.split_once('/')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    let names = std::iter::once(name).chain(words).collect();
    Some((protocol, port.parse().ok()?, names))
}

#[cfg(test)]
mod tests {
    use Protocol::{Tcp, Udp};

    use super::*;

    const TEXT: &[u8] = b"# comment 1/tcp\n\
        ssh\t22/tcp\t\t# SSH\n\
        http 80/tcp www\t# web\n\
        domain 53/tcp\n\
        domain 53/udp\n\
        exec 512/tcp\n\
        biff 512/udp comsat\n\
        first 22/tcp\n\
        ntp 123/udp";

    fn services(configured: &[(u16, &str)], text: &[u8]) -> Services {
        let configured = configured.iter().map(|(port, name)| (*port, (*name).to_owned())).collect();
        Services::new(&configured, text)
    }

    #[test]
    fn names_depend_on_the_protocol_and_the_first_line_wins() {
        let services = services(&[], TEXT);
        assert_eq!(services.name(22, Tcp), Some("ssh"));
        assert_eq!(services.name(22, Udp), None);
        assert_eq!(services.name(512, Tcp), Some("exec"));
        assert_eq!(services.name(512, Udp), Some("biff"));
        assert_eq!(services.label(53, Udp), "domain");
        assert_eq!(services.label(19_999, Tcp), "19999");
        assert_eq!(services.name(1, Tcp), None, "a comment is no line");
    }

    #[test]
    fn ports_are_found_by_name_and_alias_tcp_first() {
        let services = services(&[(19_999, "Netdata"), (80, "domain")], b"a 1/udp\na 2/tcp\nb 3/udp c\n");
        assert_eq!(services.ports_named("a"), [2]);
        assert_eq!(services.ports_named("b"), [3]);
        assert_eq!(services.ports_named("c"), [3]);
        assert_eq!(services.ports_named("Netdata"), [19_999]);
        assert_eq!(services.ports_named("netdata"), [0; 0]);
        assert_eq!(services.ports_named("domain"), [80], "[service name] comes first");
    }

    #[test]
    fn the_configured_name_holds_for_both_protocols_and_wins() {
        let services = services(&[(19_999, "Netdata"), (53, "my dns")], TEXT);
        assert_eq!(services.name(19_999, Tcp), Some("Netdata"));
        assert_eq!(services.name(53, Tcp), Some("my_dns"));
        assert_eq!(services.name(53, Udp), Some("my_dns"));
    }

    #[test]
    fn no_two_ports_have_the_same_name() {
        let x11 = b"x11 6000/tcp\nx11 6001/tcp\nx11 6001/udp\nhttp 80/tcp\n";
        let services = services(
            &[(81, "a b"), (82, "a_b"), (8080, "http"), (83, "443"), (84, "c_85"), (85, "c_85")],
            x11,
        );
        for (port, protocol, name) in [
            (6000, Tcp, "x11"),
            (6001, Tcp, "x11_6001"),
            (6001, Udp, "x11"),
            (8080, Tcp, "http"),
            (80, Tcp, "http_80"),
            (81, Tcp, "a_b"),
            (82, Tcp, "a_b_82"),
            (83, Tcp, "443_83"),
            (85, Tcp, "c_85_85"),
        ] {
            assert_eq!(services.name(port, protocol), Some(name));
        }
        let mut names: Vec<_> = services.names.iter().map(|((protocol, _), name)| (protocol, name)).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn broken_files_do_no_harm() {
        let text =
            b"a\nb 1\nc x/tcp\nd 65536/tcp\ne 7/TCP\nf 7/sctp\ng -1/tcp\n\xff\xfe 8/tcp\r\nh 9/tcp#x\n\0\n";
        let services = services(&[], text);
        assert_eq!(services.names.len(), 2);
        assert_eq!(services.name(8, Tcp), Some("__"), "bytes that are no text are not passed on");
        assert_eq!(services.name(9, Tcp), Some("h"));
    }

    #[test]
    fn a_missing_file_leaves_the_configured_names() {
        let configured = BTreeMap::from([(19_999, "Netdata".to_owned())]);
        let (services, remarks) = Services::load(&configured, Path::new("/nonexistent/services"));
        assert_eq!(services.label(19_999, Tcp), "Netdata");
        assert_eq!(
            remarks[0].to_string(),
            "/nonexistent/services: cannot be read, so ports without a [service name] are shown as numbers: \
             No such file or directory (os error 2)"
        );
    }
}
