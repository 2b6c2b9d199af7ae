//! Handing over: what the next worker needs to go on counting where this one stops, whatever stops it.
//!
//! The supervisor keeps duplicates of the descriptors and an [`Inventory`] that says what they are; a new worker gets both back. Nothing is
//! attached anew. Which epoch is open stands in the kernel, which one is merged the supervisor knows; `drain.rs` goes on from there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use shared::wire::{HeldKprobe, HeldMap, Inventory};

use crate::attached::Attached;
use crate::bpf::MapHandle;
use crate::drain::Maps;
use crate::flows::Flows;
use crate::hash::Hash;
use crate::loader::Kprobe;
use crate::mapping::MappedRows;
use crate::quiescence::Quiescence;
use crate::rows::row_size;

/// Roles of maps on the wire.
const EPOCH: &str = "epoch";
const ROWS: &str = "rows";
const OVERFLOW: &str = "overflow";
const COMMAND_LINES: &str = "command_lines";
const FLOWS: &str = "flows";
const FLOW_SLOTS: &str = "flow_slots";
const UNKNOWN_FLOWS: &str = "unknown_flows";
const OUTER: &str = "grace period, outer";
const INNER: &str = "grace period, inner";

/// The descriptors to keep, and what they are. `realtime`: the worker must not be preempted.
pub fn hand_over<'a>(
    maps: &'a Maps,
    quiescence: &'a Quiescence,
    attached: &'a Attached,
    realtime: bool,
) -> (Inventory, Vec<BorrowedFd<'a>>) {
    let mut handles = vec![(EPOCH, &maps.epoch), (ROWS, &maps.rows)];
    handles.extend(maps.overflow.iter().map(|hash| (OVERFLOW, hash.map())));
    handles.extend(maps.command_lines.iter().map(|hash| (COMMAND_LINES, hash.map())));
    if let Some((slots, known, unknown)) = maps.flows.as_ref().map(Flows::maps) {
        handles.extend(slots.map(|slots| (FLOW_SLOTS, slots)));
        handles.extend([(FLOWS, known), (UNKNOWN_FLOWS, unknown)]);
    }
    handles.push((OUTER, quiescence.outer()));
    handles.push((INNER, quiescence.inner()));
    let held_map = |(role, map): &(&str, &MapHandle)| HeldMap {
        role: (*role).to_owned(),
        key_size: map.key_size() as u32,
        value_size: map.value_size() as u32,
    };
    let inventory = Inventory {
        maps: handles.iter().map(held_map).collect(),
        programs: attached.programs.len() as u32,
        kprobes: attached.kprobes.iter().map(Kprobe::describe).collect(),
        others: attached.others.len() as u32,
        cpus: maps.cpus as u32,
        odd_epoch: maps.odd_epoch,
        mapped_rows: maps.mapped.as_ref().map_or(0, MappedRows::rows) as u32,
        batches: maps.batches,
        realtime,
        membarrier: quiescence.calls_membarrier(),
    };
    let mut descriptors: Vec<BorrowedFd<'_>> = handles.iter().map(|(_, map)| map.fd()).collect();
    descriptors.extend(attached.programs.iter().map(AsFd::as_fd));
    descriptors.extend(attached.kprobes.iter().flat_map(Kprobe::descriptors));
    descriptors.extend(attached.others.iter().map(AsFd::as_fd));
    (inventory, descriptors)
}

/// Takes over what a worker before handed over. `counters`: of the module's table.
///
/// Fails when the descriptors are not what `inventory` says.
pub fn take_over(
    inventory: &Inventory,
    held: Vec<OwnedFd>,
    counters: usize,
) -> Result<(Attached, Maps, Quiescence)> {
    if held.len() != inventory.descriptors() {
        bail!("{} descriptors, {} are described", held.len(), inventory.descriptors());
    }
    let mut held = held.into_iter();
    let mut handles = Vec::new();
    for map in &inventory.maps {
        let fd = held.next().context("a descriptor for each map")?;
        handles.push((map.role.as_str(), MapHandle::of(fd, map.key_size as usize, map.value_size as usize)?));
    }
    let mut take = |role: &str| {
        let place = handles.iter().position(|(known, _)| *known == role)?;
        Some(handles.swap_remove(place).1)
    };
    let mut need = |role: &str| take(role).with_context(|| format!("the map `{role}` was not handed over"));
    let (epoch, rows) = (need(EPOCH)?, need(ROWS)?);
    let quiescence = Quiescence::of(need(OUTER)?, need(INNER)?, inventory.membarrier);
    let hash = |map: Option<MapHandle>| map.map(|map| Hash::new(map, inventory.batches));
    let (overflow, command_lines) = (hash(take(OVERFLOW)), hash(take(COMMAND_LINES)));
    let cpus = inventory.cpus as usize;
    let flows = match (hash(take(FLOWS)), take(UNKNOWN_FLOWS)) {
        (Some(known), Some(unknown)) => {
            let slots = take(FLOW_SLOTS);
            Some(Flows::new(slots, known, unknown, cpus).context("cannot map the slots of flows")?)
        }
        _ => None,
    };
    let mapped = match inventory.mapped_rows as usize {
        0 => None,
        count => Some(MappedRows::new(rows.fd(), count, row_size(counters)).context("cannot map the rows")?),
    };
    let maps = Maps {
        counters,
        cpus,
        batches: inventory.batches,
        epoch,
        odd_epoch: inventory.odd_epoch,
        rows,
        mapped,
        overflow,
        command_lines,
        flows,
    };
    let programs = held.by_ref().take(inventory.programs as usize).collect();
    let mut kprobes = Vec::new();
    for HeldKprobe { at_return, has_link, entry } in &inventory.kprobes {
        let event = held.next().context("a descriptor for each kprobe")?;
        let link = if *has_link { held.next() } else { None };
        kprobes.push(Kprobe::of(*at_return, event, link, entry.as_deref())?);
    }
    let attached = Attached { programs, kprobes, others: held.collect() };
    Ok((attached, maps, quiescence))
}
