//! Tries every hook of a table, not only those that would be used: what `--check --hooks` shows, and what a forecast is held against.

use anyhow::Result;
use shared::hooks::{Flavour, flavours, is_wanted, label, suits};
use shared::table::Table;
use shared::wire::{StartOrder, TriedHook};

use super::{Facts, attach, handle, load_object, offsets, open_maps};

/// Every hook of every kind of objects, attached for a moment.
///
/// A kind of objects of which no counting hook can be had counts as a whole as not working: the loader would never use it.
pub fn try_every_hook(table: &Table, order: &StartOrder, facts: &Facts) -> Vec<TriedHook> {
    let mut all = Vec::new();
    for flavour in flavours(order, facts.btf.is_some()) {
        let mut tried = try_flavour(table, order, facts, flavour);
        let counts = |hook: &TriedHook| hook.works == Some(true) && super::counts(table, &hook.event);
        if !tried.iter().any(counts) {
            for hook in &mut tried {
                hook.works = Some(false);
            }
        }
        all.append(&mut tried);
    }
    all
}

fn try_flavour(table: &Table, order: &StartOrder, facts: &Facts, flavour: Flavour) -> Vec<TriedHook> {
    let object = (|| -> Result<_> {
        let ebpf = load_object(table, order, facts, flavour, 0)?;
        let mut ebpf = ebpf;
        let maps = open_maps(&mut ebpf, table, order, flavour, false)?;
        if flavour == Flavour::Legacy {
            let words = handle(&ebpf, "control", 4, 8)?;
            offsets::find_and_store(&mut ebpf, &words)?;
        }
        Ok((ebpf, maps))
    })();
    let (mut object, mut kprobes, mut tried) = (object, Vec::new(), Vec::new());
    for event in table.events.iter().filter(|event| is_wanted(event, order, flavour)) {
        for hook in event.hooks.iter().filter(|hook| suits(hook, flavour, None)) {
            let outcome = match &mut object {
                Ok((ebpf, _)) => attach::check(ebpf, facts, event, hook)
                    .and_then(|()| attach::attach(ebpf, facts, event, hook, &mut kprobes))
                    .map_err(|error| format!("{error:#}")),
                Err(error) => Err(format!("{error:#}")),
            };
            tried.push(TriedHook {
                event: event.name.clone(),
                objects: flavour.name().to_owned(),
                hook: label(hook),
                works: Some(outcome.is_ok()),
                reason: outcome.err().unwrap_or_default(),
            });
        }
    }
    tried
}
