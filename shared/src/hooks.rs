//! Which hook counts which event. Pure: what the kernel refuses is told to it.

use std::collections::HashMap;

use crate::config::{Strategy, TypeFormat};
use crate::symbols::Symbols;
use crate::table::{Event, Hook, Table};
use crate::wire::StartOrder;

/// Which kernels an object is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// BTF and compare-and-swap (≥ 5.12): rows are claimed in a mapped array.
    Rows,
    /// BTF (≥ 5.5): rows are kept in a hash.
    Hash,
    /// No BTF, nothing that 4.14 refuses: kprobes.
    Legacy,
}

impl Flavour {
    /// As plans and reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Rows => "rows",
            Flavour::Hash => "hash",
            Flavour::Legacy => "legacy",
        }
    }
}

/// The constant of the typed objects that tells a program for several events which to count.
pub const SHARED_EVENTS: &str = "shared_events";

/// The constant of the typed objects that tells whether traffic is counted by peer.
pub const COUNT_FLOWS: &str = "count_flows";

/// Objects worth trying, best first.
pub fn flavours(order: &StartOrder, has_btf: bool) -> Vec<Flavour> {
    let typed = has_btf && order.type_format != TypeFormat::Legacy && order.strategy != Some(Strategy::Probe);
    let legacy = order.type_format != TypeFormat::CoRe && order.strategy != Some(Strategy::Trampoline);
    let mut flavours = Vec::new();
    if typed {
        flavours.extend([Flavour::Rows, Flavour::Hash]);
    }
    if legacy {
        flavours.push(Flavour::Legacy);
    }
    flavours
}

/// The events to count, each with its candidates and what became of them.
#[derive(Debug)]
pub struct Choices<'a> {
    shared: &'a [String],
    candidates: Vec<(u32, &'a Event, Vec<&'a Hook>)>,
    refusals: HashMap<String, Vec<String>>,
}

impl<'a> Choices<'a> {
    /// Every event of the mode, with the hooks that the strategy and the objects allow.
    ///
    /// `preempted`: this kernel preempts programs, so hooks that are safe from that come first.
    pub fn new(table: &'a Table, order: &StartOrder, flavour: Flavour, preempted: bool) -> Self {
        let candidates = table.events.iter().zip(1..).filter(|(event, _)| is_wanted(event, order, flavour));
        let candidates = candidates.map(|(event, number)| {
            // An event without counters only tells who is who: any way of hearing it will do.
            let strategy = order.strategy.filter(|_| !event.counters.is_empty());
            let hooks = event.hooks.iter().filter(|hook| suits(hook, flavour, strategy));
            let mut hooks: Vec<&Hook> = hooks.collect();
            hooks.sort_by_key(|hook| preempted && !hook.unpreemptible);
            (number, event, hooks)
        });
        Choices { shared: &table.shared, candidates: candidates.collect(), refusals: HashMap::new() }
    }

    /// The best candidate left for each event that has one.
    pub fn chosen(&self) -> Vec<(&'a Event, &'a Hook)> {
        self.candidates.iter().filter_map(|(_, event, hooks)| Some((*event, *hooks.first()?))).collect()
    }

    /// The kernel refused the event's best candidate.
    pub fn refuse(&mut self, event: &str, reason: String) {
        for (_, _, hooks) in self.candidates.iter_mut().filter(|(_, known, _)| known.name == event) {
            hooks.remove(0);
        }
        self.refusals.entry(event.to_owned()).or_default().push(reason);
    }

    /// One bit for each event that programs for several events are to count: bit 1 is the table's first.
    pub fn shared_events(&self) -> u32 {
        let is_shared = |hooks: &[&Hook]| {
            hooks.first().is_some_and(|hook| {
                let [function, tp_btf, raw_tp, tracepoint] =
                    [&hook.function, &hook.tp_btf, &hook.raw_tp, &hook.tracepoint]
                        .map(|names| names.0.iter());
                function.chain(tp_btf).chain(raw_tp).chain(tracepoint).any(|name| self.shared.contains(name))
            })
        };
        self.candidates
            .iter()
            .filter(|(_, _, hooks)| is_shared(hooks))
            .fold(0, |bits, (bit, ..)| bits | 1 << bit)
    }

    /// Why the event's earlier candidates were not used.
    pub fn refusals_of(&self, event: &str) -> Vec<String> {
        self.refusals.get(event).cloned().unwrap_or_default()
    }

    /// All refusals, each reason once.
    pub fn refusals(&self) -> Vec<String> {
        let mut all: Vec<String> = self.refusals.values().flatten().cloned().collect();
        all.sort();
        all.dedup();
        all
    }
}

/// Whether the options ask for an event, and the objects have it.
pub fn is_wanted(event: &Event, order: &StartOrder, flavour: Flavour) -> bool {
    event.mode.exists_in(order.load_mode)
        && (order.command_lines || !event.command_lines)
        && (order.flows || !event.flows)
        && !(if flavour == Flavour::Legacy { event.typed } else { event.legacy })
}

/// The functions of a kernel that a hook's names stand for; empty when it has none of them.
pub fn targets(symbols: &Symbols, event: &Event, names: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for name in names {
        if name == "system_calls" {
            found.extend(event.system_calls.iter().flat_map(|call| symbols.of_system_call(call)));
        } else {
            found.extend(symbols.find(name));
        }
    }
    found
}

/// A hook as reports call it, such as `function:release_task`.
pub fn label(hook: &Hook) -> String {
    let kinds = [
        ("function", &hook.function),
        ("tp_btf", &hook.tp_btf),
        ("raw_tp", &hook.raw_tp),
        ("tracepoint", &hook.tracepoint),
        ("kprobe", &hook.kprobe),
    ];
    let words: Vec<String> = kinds
        .iter()
        .flat_map(|(kind, names)| names.0.iter().map(move |name| format!("{kind}:{name}")))
        .collect();
    words.join("+")
}

/// Whether the objects of a flavour may have programs for a hook, and the strategy allows it.
pub fn suits(hook: &Hook, flavour: Flavour, strategy: Option<Strategy>) -> bool {
    let typed = !hook.function.is_empty() || !hook.tp_btf.is_empty();
    let untyped = !hook.kprobe.is_empty() || !hook.raw_tp.is_empty();
    let fits_object = match flavour {
        Flavour::Rows | Flavour::Hash => !untyped,
        Flavour::Legacy => !typed,
    };
    let of_strategy = match strategy {
        None => true,
        Some(Strategy::Trampoline) => !hook.function.is_empty(),
        Some(Strategy::Probe) => !hook.kprobe.is_empty(),
        Some(Strategy::Tracepoint) => hook.function.is_empty() && hook.kprobe.is_empty(),
    };
    fits_object && of_strategy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadMode;

    fn order(strategy: Option<Strategy>, type_format: TypeFormat) -> StartOrder {
        StartOrder {
            step: std::time::Duration::ZERO,
            load_mode: LoadMode::Return,
            apps: true,
            command_lines: true,
            strategy,
            type_format,
            btf_path: "/sys/kernel/btf".into(),
            pid_table_size: 32768,
            flows: true,
            hook_overrides: None,
        }
    }

    #[test]
    fn options_decide_which_objects_are_tried() {
        let auto = order(None, TypeFormat::Auto);
        assert_eq!(flavours(&auto, true), [Flavour::Rows, Flavour::Hash, Flavour::Legacy]);
        assert_eq!(flavours(&auto, false), [Flavour::Legacy]);
        assert_eq!(flavours(&order(None, TypeFormat::CoRe), true), [Flavour::Rows, Flavour::Hash]);
        assert!(flavours(&order(None, TypeFormat::CoRe), false).is_empty());
        assert_eq!(flavours(&order(Some(Strategy::Probe), TypeFormat::Auto), true), [Flavour::Legacy]);
        assert_eq!(flavours(&order(None, TypeFormat::Legacy), true), [Flavour::Legacy]);
    }

    #[test]
    fn every_counted_event_has_a_candidate_in_every_object_and_strategy() {
        let table = Table::of("process").unwrap();
        for (strategy, flavour) in [
            (Strategy::Trampoline, Flavour::Rows),
            (Strategy::Trampoline, Flavour::Hash),
            (Strategy::Tracepoint, Flavour::Rows),
            (Strategy::Tracepoint, Flavour::Legacy),
            (Strategy::Probe, Flavour::Legacy),
        ] {
            let choices = Choices::new(&table, &order(Some(strategy), TypeFormat::Auto), flavour, false);
            let chosen: Vec<&str> = choices.chosen().iter().map(|(event, _)| event.name.as_str()).collect();
            for event in table.events.iter().filter(|event| !event.counters.is_empty()) {
                assert!(
                    chosen.contains(&event.name.as_str()),
                    "{strategy:?} {flavour:?}: {} has no hook",
                    event.name
                );
            }
        }
    }

    #[test]
    fn a_refused_hook_gives_way_to_the_next_and_system_calls_share_a_program() {
        let table = Table::of("process").unwrap();
        let mut choices = Choices::new(&table, &order(None, TypeFormat::Auto), Flavour::Rows, false);
        assert_eq!(choices.shared_events(), 0);
        for event in ["open", "read"] {
            choices.refuse(event, "the kernel says no".to_owned());
        }
        // Bits by the order of the table: open is its first event, read its third.
        assert_eq!(choices.shared_events(), 1 << 1 | 1 << 3);
        assert_eq!(choices.refusals_of("open"), ["the kernel says no"]);
    }
}
