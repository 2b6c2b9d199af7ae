//! What will work on a kernel that does not run: from its BTF, symbols and configuration, by the same choice of hooks as the loader's.

use std::collections::{BTreeMap, HashSet};

use crate::btf::Btf;
use crate::hooks::{Choices, Flavour, flavours, is_wanted, label, suits, targets};
use crate::symbols::Symbols;
use crate::table::{Event, Hook, Table};
use crate::wire::{Plan, PlannedEvent, StartOrder, TriedHook};

/// What is known of the kernel.
#[derive(Debug, Default)]
pub struct Kernel {
    /// Its types; `None` when it has none.
    pub btf: Option<Btf>,
    /// Its functions.
    pub symbols: Symbols,
    /// The functions that it can trace; `None` when that is not known.
    pub traceable: Option<HashSet<String>>,
    /// Its configuration; `None` when that is not known.
    pub config: Option<BTreeMap<String, String>>,
}

/// Whether a hook will work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chance {
    /// It will, as far as files can tell.
    Works(Vec<String>),
    /// It will not, and why.
    Fails(String),
    /// The files do not tell, and why.
    Unknown(String),
}

impl Kernel {
    /// `None` where the configuration is not known.
    fn option(&self, name: &str) -> Option<bool> {
        Some(self.config.as_ref()?.get(name).is_some_and(|value| value == "y" || value == "m"))
    }

    /// Why one of these options is off, if so.
    fn lacks(&self, options: &[&str]) -> Option<String> {
        let off = options.iter().find(|option| self.option(option) == Some(false))?;
        Some(format!("this kernel is built without CONFIG_{off}"))
    }

    /// Whether programs are preempted, as far as the configuration tells; the plugin itself tries it.
    pub fn preempts(&self) -> bool {
        ["PREEMPT", "PREEMPT_LAZY", "PREEMPT_RT"].iter().any(|option| self.option(option) == Some(true))
    }

    /// Why objects of a flavour cannot be used at all.
    fn refuses(&self, flavour: Flavour) -> Option<String> {
        if let Some(why) = self.lacks(&["BPF_SYSCALL", "BPF_EVENTS", "PERF_EVENTS"]) {
            return Some(why);
        }
        let btf = match (flavour, &self.btf) {
            (Flavour::Legacy, _) => return None,
            (_, None) => return Some("this kernel has no BTF".to_owned()),
            (_, Some(btf)) => btf,
        };
        // The helper came with the same release as compare-and-swap for programs, of which BTF has no name.
        (flavour == Flavour::Rows && !btf.has_helper("check_mtu"))
            .then(|| "this kernel has no compare-and-swap for programs (Linux 5.12 has)".to_owned())
    }

    fn traces(&self, function: &str) -> bool {
        self.traceable.as_ref().is_none_or(|traceable| traceable.contains(function))
    }

    /// Whether a tracepoint exists: each has a function (≥ 5.10) and, with BTF, a type.
    fn has_tracepoint(&self, name: &str) -> Option<bool> {
        if self.btf.as_ref().is_some_and(|btf| btf.has_tracepoint(name)) {
            return Some(true);
        }
        let known = |name: &str| self.symbols.has(&format!("__traceiter_{name}"));
        if known(name) {
            return Some(true);
        }
        (known("sys_enter") || known("sched_switch")).then_some(false)
    }

    /// Whether `hook` of `event` will work with objects of `flavour`.
    pub fn chance(&self, event: &Event, hook: &Hook, flavour: Flavour) -> Chance {
        if let Some(why) = self.refuses(flavour) {
            return Chance::Fails(why);
        }
        let mut attached = Vec::new();
        let steps = [
            self.functions(event, hook),
            self.kprobes(event, hook),
            self.typed_tracepoints(hook),
            self.raw_tracepoints(hook),
            self.tracepoints(event, hook, flavour),
        ];
        for step in steps {
            match step {
                Chance::Works(names) => attached.extend(names),
                other => return other,
            }
        }
        Chance::Works(attached)
    }

    fn functions(&self, event: &Event, hook: &Hook) -> Chance {
        if hook.function.is_empty() {
            return Chance::Works(Vec::new());
        }
        if let Some(why) = self.lacks(&["BPF_JIT", "DYNAMIC_FTRACE_WITH_DIRECT_CALLS"]) {
            return Chance::Fails(format!("fentry and fexit: {why}"));
        }
        let functions = targets(&self.symbols, event, &hook.function.0);
        if functions.is_empty() {
            return Chance::Fails(format!("this kernel has no function {}", hook.function.0.join(" or ")));
        }
        let has_type = |function: &String| self.btf.as_ref().is_some_and(|btf| btf.has_function(function));
        if let Some(function) = functions.iter().find(|function| !has_type(function)) {
            return Chance::Fails(format!("BTF has no function {function}"));
        }
        if let Some(function) = functions.iter().find(|function| !self.traces(function)) {
            return Chance::Fails(format!("{function} cannot be traced"));
        }
        Chance::Works(functions.iter().map(|function| format!("function:{function}")).collect())
    }

    fn kprobes(&self, event: &Event, hook: &Hook) -> Chance {
        if hook.kprobe.is_empty() {
            return Chance::Works(Vec::new());
        }
        if let Some(why) = self.lacks(&["KPROBES", "KPROBE_EVENTS"]) {
            return Chance::Fails(why);
        }
        let functions = targets(&self.symbols, event, &hook.kprobe.0);
        if functions.is_empty() {
            return Chance::Fails(format!("this kernel has no function {}", hook.kprobe.0.join(" or ")));
        }
        Chance::Works(functions.iter().map(|function| format!("kprobe:{function}")).collect())
    }

    fn typed_tracepoints(&self, hook: &Hook) -> Chance {
        let has = |name: &&String| self.btf.as_ref().is_some_and(|btf| btf.has_tracepoint(name));
        match hook.tp_btf.0.iter().find(|name| !has(name)) {
            Some(name) => Chance::Fails(format!("BTF has no tracepoint {name}")),
            None => Chance::Works(hook.tp_btf.0.iter().map(|name| format!("tp_btf:{name}")).collect()),
        }
    }

    fn raw_tracepoints(&self, hook: &Hook) -> Chance {
        for name in &hook.raw_tp.0 {
            match self.has_tracepoint(name) {
                Some(true) => {}
                Some(false) => return Chance::Fails(format!("this kernel has no tracepoint {name}")),
                None => {
                    return Chance::Unknown(format!(
                        "whether it has the tracepoint {name} cannot be told without BTF"
                    ));
                }
            }
        }
        Chance::Works(hook.raw_tp.0.iter().map(|name| format!("raw_tp:{name}")).collect())
    }

    fn tracepoints(&self, event: &Event, hook: &Hook, flavour: Flavour) -> Chance {
        for path in &hook.tracepoint.0 {
            if !has_program(event, path, flavour) {
                return Chance::Fails(format!("tracepoint:{path} needs {}", hook.needs()));
            }
            let has = match path.split_once('/') {
                Some(("syscalls", name)) => self.system_call_tracepoint(name),
                Some((_, name)) => self.has_tracepoint(name),
                None => Some(false),
            };
            match has {
                Some(true) => {}
                Some(false) => return Chance::Fails(format!("this kernel has no tracepoint {path}")),
                None => {
                    return Chance::Unknown(format!(
                        "whether it has the tracepoint {path} cannot be told from these files"
                    ));
                }
            }
        }
        Chance::Works(hook.tracepoint.0.iter().map(|name| format!("tracepoint:{name}")).collect())
    }

    fn system_call_tracepoint(&self, name: &str) -> Option<bool> {
        let call = name.strip_prefix("sys_exit_").or_else(|| name.strip_prefix("sys_enter_"))?;
        Some(self.option("FTRACE_SYSCALLS")? && !self.symbols.of_system_call(call).is_empty())
    }
}

/// Tracepoints that are used without BTF only, by event.
const ONLY_LEGACY: [(&str, &str); 1] = [("exec", "sched/sched_process_exec")];

/// Whether the objects of a flavour have a program for an event's tracepoint; a test holds this against the objects.
pub fn has_program(event: &Event, tracepoint: &str, flavour: Flavour) -> bool {
    if ONLY_LEGACY.contains(&(event.name.as_str(), tracepoint)) {
        return flavour == Flavour::Legacy;
    }
    // What is safe from preemption, and what needs compare-and-swap, is compiled for `rows` objects only.
    let mut hooks = event.hooks.iter().filter(|hook| hook.tracepoint.0.iter().any(|name| name == tracepoint));
    flavour == Flavour::Rows || !hooks.any(|hook| hook.unpreemptible || hook.needs.is_some())
}

/// Marks hooks of objects of which the table's first event can be counted by none: the loader would never use those objects, though a few of
/// their other programs may load.
pub fn refuse_useless_objects(table: &Table, tried: &mut [TriedHook]) {
    let Some(first) = table.events.iter().find(|event| !event.counters.is_empty()) else { return };
    for flavour in [Flavour::Rows, Flavour::Hash, Flavour::Legacy] {
        let mut of = tried.iter().filter(|hook| hook.objects == flavour.name() && hook.event == first.name);
        if of.any(|hook| hook.works != Some(false)) {
            continue;
        }
        for hook in tried.iter_mut().filter(|hook| hook.objects == flavour.name() && hook.works == Some(true))
        {
            hook.works = Some(false);
            hook.reason = format!("these objects are not used: `{}` cannot be counted with them", first.name);
        }
    }
}

/// Every hook of every kind of objects, as `--check --hooks` on that kernel would find them.
pub fn every_hook(table: &Table, order: &StartOrder, kernel: &Kernel) -> Vec<TriedHook> {
    let mut all = Vec::new();
    for flavour in flavours(order, kernel.btf.is_some()) {
        for event in table.events.iter().filter(|event| is_wanted(event, order, flavour)) {
            for hook in event.hooks.iter().filter(|hook| suits(hook, flavour, None)) {
                let (works, reason) = match kernel.chance(event, hook, flavour) {
                    Chance::Works(_) => (Some(true), String::new()),
                    Chance::Fails(why) => (Some(false), why),
                    Chance::Unknown(why) => (None, why),
                };
                all.push(TriedHook {
                    event: event.name.clone(),
                    objects: flavour.name().to_owned(),
                    hook: label(hook),
                    works,
                    reason,
                });
            }
        }
    }
    refuse_useless_objects(table, &mut all);
    all
}

/// The plan that the loader would make there. What cannot be told counts as refused: the next candidate is looked at.
pub fn plan(table: &Table, order: &StartOrder, kernel: &Kernel) -> Plan {
    let mut best = Plan::default();
    let counted = |plan: &Plan| {
        let counts =
            |name: &str| table.events.iter().any(|event| event.name == name && !event.counters.is_empty());
        plan.events.iter().filter(|event| !event.attached.is_empty() && counts(&event.event)).count()
    };
    for flavour in flavours(order, kernel.btf.is_some()) {
        let plan = plan_with(table, order, kernel, flavour);
        let wanted = plan.events.iter().filter(|planned| {
            table.events.iter().any(|event| event.name == planned.event && !event.counters.is_empty())
        });
        if counted(&plan) == wanted.count() && counted(&plan) > 0 {
            return plan;
        }
        if best.events.is_empty() || counted(&plan) > counted(&best) {
            best = plan;
        }
    }
    best
}

fn plan_with(table: &Table, order: &StartOrder, kernel: &Kernel, flavour: Flavour) -> Plan {
    let mut choices = Choices::new(table, order, flavour, flavour == Flavour::Rows && kernel.preempts());
    let mut attached: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        attached.clear();
        let mut refused = Vec::new();
        for (event, hook) in choices.chosen() {
            match kernel.chance(event, hook, flavour) {
                Chance::Works(names) => drop(attached.insert(event.name.clone(), names)),
                Chance::Fails(why) | Chance::Unknown(why) => refused.push((event.name.clone(), why)),
            }
        }
        if refused.is_empty() {
            break;
        }
        for (event, why) in refused {
            choices.refuse(&event, why);
        }
    }
    let events =
        table.events.iter().filter(|event| is_wanted(event, order, flavour)).map(|event| PlannedEvent {
            event: event.name.clone(),
            attached: attached.remove(&event.name).unwrap_or_default(),
            refused: choices.refusals_of(&event.name),
        });
    Plan { flavour: flavour.name().to_owned(), events: events.collect(), ..Plan::default() }
}
