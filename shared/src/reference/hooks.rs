//! Where the kernel is hooked for each event.

use super::{code, head};
use crate::table::{Event, Hook, Mode, Names, Table};

/// Every event of `tables` with its candidates in order.
pub fn markdown(tables: &[Table]) -> String {
    let mut text = head("probe-objects/*/module.toml");
    text.push_str(INTRODUCTION);
    for table in tables {
        text.push_str(&format!("\n## Module `{}`\n", table.module));
        table.events.iter().for_each(|event| text.push_str(&of_event(event)));
    }
    text
}

const INTRODUCTION: &str = "
# Hooks

For each event the candidates, best first. The worker tries them on the running kernel and takes the first that the kernel accepts; no \
version number is looked at. A candidate is taken as a whole or not at all. The log of the start names the kind that was taken for each \
event, and an event without one with the reasons.

| kind | attaches | least kernel | in objects | `ebpf co-re tracing` |
|---|---|---|---|---|
| fentry, fexit | to a kernel function | 5.5, with BTF | with BTF | `trampoline` |
| tp_btf | to a tracepoint, typed by BTF | 5.5, with BTF | with BTF | `tracepoint` |
| tracepoint | to a tracepoint, through perf and tracefs | 4.7 | any | `tracepoint` |
| raw_tp | to a tracepoint, without types | 4.17 | without BTF | `tracepoint` |
| kprobe, kretprobe | to a kernel function | 4.1 | without BTF | `probe` |

- A module runs from one object: with BTF where the kernel has it, else without. `ebpf type format` and `ebpf co-re tracing = probe` \
change that. An event that has no counter may be heard in any way, whatever the tracing option says.
- *Functions of its system calls*: those that the kernel enters for them, for 64-bit and for 32-bit callers, such as `__x64_sys_read`, \
`__ia32_sys_read` and `__ia32_compat_sys_preadv`; before 4.17 `sys_read` or `SyS_read`. All that the kernel has are hooked, one is enough.
- Of several functions in one candidate all that the kernel has are hooked, one is enough. A copy that the compiler made of a function \
(`.isra`, `.constprop`, `.part`) serves where the function itself is missing.
- fentry sees a call when it begins, fexit when it ends, a tracepoint on the return of system calls (`sys_exit`) when it ends. kprobe \
sees the call when it begins, kretprobe its result.

To use other hooks, for example after a kernel renamed a function, write `ebpf.d/MODULE.toml` in Netdata's configuration \
directory (usually `/etc/netdata`) with one line for each event, in the words of `probe-objects/MODULE/module.toml`:

    release.hooks = [ { function = \"release_task\" }, { kprobe = \"release_task\" } ]

The list replaces that of the event. A file with a mistake is named in the log and not used.
";

fn of_event(event: &Event) -> String {
    let mut text = format!("\n### `{}`\n\n", event.name);
    let mut remarks = Vec::new();
    if event.mode == Mode::Return {
        remarks.push("Only in `return` mode.".to_owned());
    }
    if !event.system_calls.is_empty() {
        remarks.push(format!("System calls: {}.", code(event.system_calls.iter().map(String::as_str))));
    }
    if !remarks.is_empty() {
        text.push_str(&format!("{}\n\n", remarks.join(" ")));
    }
    for (hook, number) in event.hooks.iter().zip(1..) {
        text.push_str(&format!("{number}. {}\n", of_hook(hook)));
    }
    text
}

fn of_hook(hook: &Hook) -> String {
    let parts: [(&str, &Names); 5] = [
        ("fentry or fexit on", &hook.function),
        ("kprobe and kretprobe on", &hook.kprobe),
        ("tp_btf", &hook.tp_btf),
        ("raw_tp", &hook.raw_tp),
        ("tracepoint", &hook.tracepoint),
    ];
    let named = parts.iter().filter(|(_, names)| !names.is_empty());
    named.map(|(kind, names)| format!("{kind} {}", targets(names))).collect::<Vec<_>>().join(", with ")
}

fn targets(names: &Names) -> String {
    if names.0 == ["system_calls"] {
        return "the functions of its system calls".to_owned();
    }
    code(names.0.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_is_there_in_order() {
        let table = Table::of("process").unwrap();
        let text = markdown(std::slice::from_ref(&table));
        for event in &table.events {
            let mut rest = text.split_once(&format!("\n### `{}`\n", event.name)).unwrap().1;
            for (hook, number) in event.hooks.iter().zip(1..) {
                let wanted = format!("\n{number}. {}\n", of_hook(hook));
                // The line's end is also the next one's beginning.
                rest = &rest[rest.find(&wanted).unwrap_or_else(|| panic!("{}: {wanted}", event.name)) + 1..];
            }
        }
    }

    #[test]
    fn what_belongs_together_stands_in_one_line() {
        let table = Table::of("process").unwrap();
        let event = table.events.iter().find(|event| event.name == "create_failed").unwrap();
        assert_eq!(of_hook(&event.hooks[1]), "tp_btf `sys_exit`, with tracepoint `syscalls/sys_exit_clone3`");
    }
}
