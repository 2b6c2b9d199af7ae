//! From a module's table to programs that count: chooses the object, tries the hooks, keeps what works on the running kernel.
//!
//! Nothing is decided by version number. A hook is used when the kernel takes it; else the next candidate of the table is tried.

mod attach;
mod every;
mod facts;
mod kprobe;
mod offsets;
mod perf;
mod preemption;

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use aya::maps::MapData;
use aya::{Ebpf, EbpfLoader};
use shared::config::{LoadMode, Strategy, TypeFormat};
use shared::hooks::{COUNT_FLOWS, Choices, Flavour, SHARED_EVENTS, flavours, is_wanted};
use shared::table::Table;
use shared::wire::{Plan, PlannedEvent, StartOrder};

pub use every::try_every_hook;
pub use facts::Facts;
pub use kprobe::Kprobe;

use crate::attached::{self, Attached};
use crate::bpf::MapHandle;
use crate::drain::Maps;
use crate::flows::{FLOW, FLOW_KEY, FLOW_SLOT, Flows, SLOTS_PER_CPU, UNKNOWN_PER_CPU};
use crate::hash::Hash;
use crate::listening;
use crate::mapping::MappedRows;
use crate::progress;
use crate::rows::{COMMAND_LINE, CPU_ROWS, KEY, ROWS_PER_CPU, SLOTS, control, row_size};

/// The map of an object's globals that begin as zero.
const GLOBALS: &str = ".bss";

/// A module that counts. Dropping it detaches every program and frees every map.
#[derive(Debug)]
pub struct Loaded {
    /// Holds the programs and their links.
    ebpf: Ebpf,
    /// Holds the kprobes.
    kprobes: Vec<Kprobe>,
    /// This kernel preempts its own code, eBPF programs included, or does not say that it does not.
    pub may_be_preempted: bool,
    /// What counts which event.
    pub plan: Plan,
    /// Where it is counted.
    maps: Option<Maps>,
}

impl Loaded {
    /// Attached events with counters.
    fn events_counted(&self, table: &Table) -> usize {
        let attached = self.plan.events.iter().filter(|event| !event.attached.is_empty());
        attached.filter(|event| counts(table, &event.event)).count()
    }

    /// Whether every event with counters is attached.
    fn is_complete(&self, table: &Table) -> bool {
        self.uncounted(table).next().is_none()
    }

    fn uncounted<'a>(&'a self, table: &'a Table) -> impl Iterator<Item = &'a PlannedEvent> {
        self.plan.events.iter().filter(|event| event.attached.is_empty() && counts(table, &event.event))
    }

    /// The events that it does not count, each with why not.
    fn lacks(&self, table: &Table) -> String {
        let told =
            self.uncounted(table).map(|event| format!("{}: {}", event.event, event.refused.join("; ")));
        told.collect::<Vec<_>>().join("; ")
    }

    /// Tells its plan what was tried before, or instead.
    fn instead_of(mut self, passed_over: Vec<String>) -> Self {
        self.plan.passed_over = passed_over;
        self
    }

    /// Whether returns may be lost without the kernel telling.
    pub fn may_lose_returns_silently(&self) -> bool {
        self.kprobes.iter().any(|kprobe| kprobe.is_at_return() && !kprobe.tells_misses())
    }

    fn recursion_misses(&self) -> u64 {
        use std::os::fd::AsFd;
        let loaded = self.ebpf.programs().filter_map(|(_, program)| program.fd().ok());
        attached::recursion_misses(loaded.map(|fd| fd.as_fd())) + attached::misses(&self.kprobes, false)
    }

    /// Only the descriptors: everything stays attached until the last duplicate of each is closed.
    pub fn into_descriptors(self) -> Result<(Attached, Plan, Maps)> {
        use std::os::fd::AsFd;
        let maps = self.maps.context("a module is loaded with its maps")?;
        let loaded = self.ebpf.programs().filter_map(|(_, program)| program.fd().ok());
        let programs = loaded.map(|fd| fd.as_fd().try_clone_to_owned()).collect::<std::io::Result<_>>();
        let programs = programs.context("cannot keep the programs")?;
        let others = attached::keepers(&attached::raw_of(&self.kprobes)).context("cannot keep the links")?;
        // aya would disable perf events that others hold as well.
        std::mem::forget(self.ebpf);
        Ok((Attached { programs, kprobes: self.kprobes, others }, self.plan, maps))
    }
}

/// Whether the event of this name has counters.
fn counts(table: &Table, name: &str) -> bool {
    table.events.iter().any(|event| event.name == name && !event.counters.is_empty())
}

/// Loads and attaches a module; returns when every hook that this kernel offers is live.
///
/// Fails when no event at all can be counted; the error names every candidate and why it was refused.
pub fn load(table: &Table, order: &StartOrder, facts: &Facts) -> Result<Loaded> {
    let (mut best, mut passed_over) = (None::<Loaded>, Vec::new());
    for flavour in flavours(order, facts.btf.is_some()) {
        match load_unpreempted(table, order, facts, flavour) {
            Ok(loaded) if loaded.is_complete(table) => return Ok(loaded.instead_of(passed_over)),
            // Objects for newer kernels may load in part; perhaps older ones load whole.
            Ok(loaded) => {
                passed_over.push(format!("{} objects: {}", flavour.name(), loaded.lacks(table)));
                let counted = |loaded: &Loaded| loaded.events_counted(table);
                if best.as_ref().is_none_or(|best| counted(&loaded) > counted(best)) {
                    best = Some(loaded);
                }
            }
            Err(error) => passed_over.push(format!("{} objects: {error:#}", flavour.name())),
        }
    }
    match best {
        Some(best) => Ok(best.instead_of(passed_over)),
        None if passed_over.is_empty() => bail!("{}", nothing_to_try(order, facts)),
        None => bail!("{}", passed_over.join("; ")),
    }
}

/// Why the options leave no object to try.
fn nothing_to_try(order: &StartOrder, facts: &Facts) -> String {
    match (order.strategy, order.type_format) {
        (Some(Strategy::Probe), TypeFormat::CoRe) => {
            "`ebpf co-re tracing = probe` and `ebpf type format = co-re` exclude each other: kprobes are used without BTF".to_owned()
        }
        (Some(Strategy::Trampoline), TypeFormat::Legacy) => {
            "`ebpf co-re tracing = trampoline` and `ebpf type format = legacy` exclude each other: trampolines need BTF".to_owned()
        }
        (Some(Strategy::Trampoline), _) => format!("`ebpf co-re tracing = trampoline` needs BTF, which {}", facts.btf_missing()),
        _ => format!("`ebpf type format = co-re` needs BTF, which {}", facts.btf_missing()),
    }
}

/// Loads, tries whether the kernel preempts the programs, and if so loads again with hooks that are safe from that.
fn load_unpreempted(table: &Table, order: &StartOrder, facts: &Facts, flavour: Flavour) -> Result<Loaded> {
    let preempted = preemption::is_told(&facts.symbols);
    // Other objects have no choice of hooks.
    if preempted.is_some() || flavour != Flavour::Rows {
        return load_flavour(table, order, facts, flavour, preempted.unwrap_or(false));
    }
    let loaded = load_flavour(table, order, facts, flavour, false)?;
    if !preemption::is_seen(|| loaded.recursion_misses()) {
        return Ok(loaded);
    }
    drop(loaded);
    load_flavour(table, order, facts, flavour, true)
}

fn load_flavour(
    table: &Table,
    order: &StartOrder,
    facts: &Facts,
    flavour: Flavour,
    preempted: bool,
) -> Result<Loaded> {
    let mut choices = Choices::new(table, order, flavour, preempted);
    loop {
        progress::step(order.step);
        let mut ebpf = load_object(table, order, facts, flavour, choices.shared_events())?;
        let maps = open_maps(&mut ebpf, table, order, flavour, preempted)?;
        if flavour == Flavour::Legacy {
            let words = handle(&ebpf, "control", 4, 8)?;
            offsets::find_and_store(&mut ebpf, &words).context("cannot find a task's fields")?;
            let events = u64::from(choices.shared_events());
            words.update(&control::SHARED_EVENTS.to_ne_bytes(), &events.to_ne_bytes())?;
            words.update(&control::FLOWS.to_ne_bytes(), &u64::from(order.flows).to_ne_bytes())?;
        }
        let mut refused_now = false;
        for (event, hook) in choices.chosen() {
            if let Err(reason) = attach::check(&ebpf, facts, event, hook) {
                choices.refuse(&event.name, format!("{reason:#}"));
                refused_now = true;
            }
        }
        if refused_now {
            continue; // before anything is attached in vain
        }
        let mut kprobes = Vec::new();
        let mut attached = HashMap::new();
        for (event, hook) in choices.chosen() {
            progress::step(order.step);
            match attach::attach(&mut ebpf, facts, event, hook, &mut kprobes) {
                Ok(names) => drop(attached.insert(event.name.clone(), names)),
                Err(reason) => {
                    choices.refuse(&event.name, format!("{reason:#}"));
                    refused_now = true;
                }
            }
        }
        // A refused hook changes which programs are needed, and a program is bound to its object: start again without it.
        if refused_now {
            continue;
        }
        if !table.events.iter().any(|event| !event.counters.is_empty() && attached.contains_key(&event.name))
        {
            bail!("no event can be counted: {}", choices.refusals().join("; "));
        }
        if ebpf.map("listening").is_some() {
            let map = handle(&ebpf, "listening", 4, 4)?;
            listening::fill(&map, flavour == Flavour::Legacy).context("cannot fill the map `listening`")?;
        }
        let events = table.events.iter().filter(|event| is_wanted(event, order, flavour));
        let events = events.map(|event| PlannedEvent {
            event: event.name.clone(),
            attached: attached.remove(&event.name).unwrap_or_default(),
            refused: choices.refusals_of(&event.name),
        });
        let plan = Plan {
            flavour: flavour.name().to_owned(),
            passed_over: Vec::new(),
            events: events.collect(),
            map_bytes: map_bytes(&ebpf),
            rights: None,
        };
        let may_be_preempted = preempted || preemption::is_told(&facts.symbols).is_none();
        return Ok(Loaded { ebpf, kprobes, may_be_preempted, plan, maps: Some(maps) });
    }
}

fn load_object(
    table: &Table,
    order: &StartOrder,
    facts: &Facts,
    flavour: Flavour,
    shared_events: u32,
) -> Result<Ebpf> {
    let returns = order.load_mode == LoadMode::Return;
    let bytes = probe_objects::object(&table.module, compiled(flavour), order.apps, returns)
        .with_context(|| format!("no object of module `{}`", table.module))?;
    let mut loader = EbpfLoader::new();
    if !has_global_rows(flavour, order.apps) {
        loader.map_max_entries("rows", rows_in(flavour, order.apps, facts.cpus) as u32);
    }
    if order.apps {
        loader.map_max_entries("overflow", order.pid_table_size);
    }
    loader.map_max_entries("flow_slots", (facts.cpus * SLOTS_PER_CPU) as u32);
    loader.map_max_entries("unknown_flows", (facts.cpus * UNKNOWN_PER_CPU) as u32);
    if !order.flows {
        loader.map_max_entries("flows", 1);
    }
    if flavour == Flavour::Legacy {
        loader.btf(None);
    } else {
        loader.btf(facts.btf.as_ref());
        loader.override_global(SHARED_EVENTS, &shared_events, true);
        loader.override_global(COUNT_FLOWS, if order.flows { &1_u32 } else { &0 }, false);
    }
    loader
        .load(bytes)
        .with_context(|| format!("cannot load the {flavour:?} object of module `{}`", table.module))
}

/// The flavour, as the compiled objects name it: those of `shared` know nothing of objects.
fn compiled(flavour: Flavour) -> probe_objects::Flavour {
    match flavour {
        Flavour::Rows => probe_objects::Flavour::Rows,
        Flavour::Hash => probe_objects::Flavour::Hash,
        Flavour::Legacy => probe_objects::Flavour::Legacy,
    }
}

/// Whether the CPUs' rows are a global of the object.
fn has_global_rows(flavour: Flavour, apps: bool) -> bool {
    flavour == Flavour::Rows && !apps
}

/// Rows of the array: for each CPU and epoch the slots and a spill row; without applications one for each CPU.
fn rows_in(flavour: Flavour, apps: bool, cpus: usize) -> usize {
    match (flavour, apps) {
        (_, false) => cpus,
        (Flavour::Rows, true) => cpus * ROWS_PER_CPU,
        (_, true) => cpus * 2,
    }
}

fn open_maps(
    ebpf: &mut Ebpf,
    table: &Table,
    order: &StartOrder,
    flavour: Flavour,
    preempted: bool,
) -> Result<Maps> {
    // Objects without BTF may run on any kernel, with any kind of preemption.
    let batches = !preempted && flavour != Flavour::Legacy;
    let counters = table.counters().count();
    let cpus =
        aya::util::nr_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
    let size = row_size(counters);
    let rows = if has_global_rows(flavour, order.apps) {
        handle(ebpf, GLOBALS, 4, CPU_ROWS * size)?
    } else {
        handle(ebpf, "rows", 4, size)?
    };
    let mapped = if flavour == Flavour::Rows && order.apps {
        let count = rows_in(flavour, order.apps, cpus);
        Some(MappedRows::new(rows.fd(), count, size).context("cannot map the map `rows`")?)
    } else {
        None
    };
    let overflow =
        if order.apps { Some(Hash::new(handle(ebpf, "overflow", KEY, size)?, batches)) } else { None };
    let command_lines = match ebpf.map("command_lines") {
        Some(_) => Some(Hash::new(handle(ebpf, "command_lines", KEY, 4 + COMMAND_LINE)?, batches)),
        None => None,
    };
    let flows = match ebpf.map("flows").filter(|_| order.flows) {
        Some(_) => {
            let known = Hash::new(handle(ebpf, "flows", FLOW_KEY, FLOW)?, batches);
            let slots =
                ebpf.map("flow_slots").map(|_| handle(ebpf, "flow_slots", 4, FLOW_SLOT)).transpose()?;
            let unknown = handle(ebpf, "unknown_flows", 4, FLOW)?;
            Some(Flows::new(slots, known, unknown, cpus).context("cannot map the map `flow_slots`")?)
        }
        None => None,
    };
    let (epoch, odd_epoch) = if flavour == Flavour::Rows && order.apps {
        (handle(ebpf, GLOBALS, 4, 8)?, SLOTS as u64)
    } else {
        (handle(ebpf, "control", 4, 8)?, 1)
    };
    Ok(Maps { counters, cpus, batches, epoch, odd_epoch, rows, mapped, overflow, command_lines, flows })
}

fn handle(ebpf: &Ebpf, name: &str, key_size: usize, value_size: usize) -> Result<MapHandle> {
    use std::os::fd::AsFd;
    let data = map_data(ebpf, name)?;
    let info = data.info().with_context(|| format!("cannot ask about the map `{name}`"))?;
    if (info.key_size() as usize, info.value_size() as usize) != (key_size, value_size) {
        bail!("the map `{name}` holds {} bytes, the table says {value_size}", info.value_size());
    }
    MapHandle::new(data.fd().as_fd(), key_size, value_size)
        .with_context(|| format!("cannot keep the map `{name}`"))
}

fn map_data<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a MapData> {
    use aya::maps::Map;
    match ebpf.map(name) {
        Some(Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data)) => Ok(data),
        Some(_) => bail!("the map `{name}` is of another type"),
        None => bail!("the object has no map `{name}`"),
    }
}

/// Kernel memory of the object's maps: entries × (key + value), which is what the kernel takes at the start, less its overhead.
fn map_bytes(ebpf: &Ebpf) -> u64 {
    let names: Vec<&str> = ebpf.maps().map(|(name, _)| name).collect();
    let infos = names.into_iter().filter_map(|name| map_data(ebpf, name).ok()?.info().ok());
    infos.map(|info| u64::from(info.max_entries()) * u64::from(info.key_size() + info.value_size())).sum()
}
