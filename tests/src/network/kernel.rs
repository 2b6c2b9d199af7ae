//! The kernel's own counters of a network namespace: `/proc/net/snmp` and `/proc/net/netstat`, which `nstat` shows too.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// One counter such as (`Tcp`, `RetransSegs`) in namespace `namespace`, or in the test's own.
pub fn counter(namespace: Option<&str>, group: &str, name: &str) -> Result<u64> {
    let file = if group.ends_with("Ext") { "/proc/net/netstat" } else { "/proc/net/snmp" };
    let text = match namespace {
        Some(namespace) => {
            let output = Command::new("ip").args(["netns", "exec", namespace, "cat", file]).output()?;
            ensure!(output.status.success(), "cannot read {file} in {namespace}");
            String::from_utf8(output.stdout)?
        }
        None => std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?,
    };
    find(&text, group, name).with_context(|| format!("{file} has no {group} {name}"))
}

/// Two lines for each protocol: names, then values.
fn find(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let head = format!("{protocol}: ");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(&head));
    let place = lines.next()?.split(' ').position(|word| word == name)?;
    lines.next()?.split(' ').nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_name() {
        let text = "Ip: A\nIp: 1\nTcp: ActiveOpens RetransSegs\nTcp: 5 7\n";
        assert_eq!(find(text, "Tcp", "RetransSegs"), Some(7));
        assert_eq!(find(text, "Tcp", "X"), None);
        assert_eq!(find(text, "Udp", "A"), None);
    }
}
