//! Reads the supervisor's log: which hook counts which event, and which event is not counted and why.

use std::collections::BTreeMap;

/// What a supervisor said about its module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Which objects were loaded, of `8 of 8 events are counted, rows objects, …`.
    pub objects: String,
    /// Event to kinds of hooks, as in `hooks: open fexit ×4, …`; `none` for an event without.
    pub hooks: BTreeMap<String, String>,
    /// Event to reason, of `` `open` is not counted: … ``.
    pub not_counted: BTreeMap<String, String>,
    /// Why the worker could not start at all.
    pub failed: Option<String>,
}

impl Said {
    /// Whether it is decided how the module counts, if at all.
    pub fn is_decided(&self) -> bool {
        !self.hooks.is_empty() || self.failed.is_some()
    }

    /// Whether any event with numbers is counted. `exec` only tells names.
    pub fn counts(&self) -> bool {
        self.hooks.iter().any(|(event, hook)| event != "exec" && hook != "none")
    }

    /// Whether any result is taken by a kretprobe.
    pub fn uses_kretprobes(&self) -> bool {
        self.hooks.values().any(|hook| hook.contains("kretprobe"))
    }

    /// Why `event` is not counted; `None` when it is.
    pub fn reason(&self, event: &str) -> Option<String> {
        self.failed.clone().or_else(|| self.not_counted.get(event).cloned())
    }
}

/// Understands a log; lines of other content are passed over.
pub fn read(log: &str) -> Said {
    let mut said = Said::default();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once(" events are counted, ") {
            said.objects = rest.split(' ').next().unwrap_or_default().to_owned();
        } else if let Some((_, hooks)) = line.split_once(" : hooks: ") {
            let pairs = hooks.split(", ").filter_map(|word| word.split_once(' '));
            said.hooks = pairs.map(|(event, hook)| (event.to_owned(), hook.to_owned())).collect();
        } else if let Some((head, reason)) = line.split_once("` is not counted: ") {
            let event = head.rsplit('`').next().unwrap_or_default();
            said.not_counted.insert(event.to_owned(), reason.to_owned());
        } else if let Some((_, cause)) = line.split_once(": start failed: ") {
            said.failed = Some(cause.to_owned());
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_and_reasons_are_understood() {
        let said = read(
            "2026-11-23 03:14:02: ebpf.plugin WARN  : process : `open` is not counted: kretprobe:x: gone\n\
             2026-11-23 03:14:02: ebpf.plugin INFO  : process : 8 of 9 events are counted, rows objects, 16257 kB of maps\n\
             2026-11-23 03:14:02: ebpf.plugin INFO  : process : hooks: open none, create_failed tp_btf ×1 + tracepoint ×1\n",
        );
        assert_eq!(said.objects, "rows");
        assert_eq!(said.hooks["open"], "none");
        assert_eq!(said.hooks["create_failed"], "tp_btf ×1 + tracepoint ×1");
        assert_eq!(said.reason("open").unwrap(), "kretprobe:x: gone");
        assert!(said.reason("create_failed").is_none() && said.counts() && said.is_decided());
    }

    #[test]
    fn a_failed_start_is_the_reason_of_every_event() {
        let said =
            read("x : worker 1 ended (exit status: 1): start failed: no event can be counted: x; run y\n");
        assert_eq!(said.reason("read").unwrap(), "no event can be counted: x; run y");
        assert!(said.is_decided() && !said.counts());
        assert!(!read("").is_decided());
    }
}
