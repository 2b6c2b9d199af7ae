//! Tries every hook of a table, not only those that would be used: what `--check --hooks` shows, and what a forecast is held against.

use std::collections::HashMap;

use anyhow::Result;
use shared::forecast::refuse_useless_objects;
use shared::hooks::{Flavour, flavours, is_wanted, label, suits};
use shared::table::Table;
use shared::wire::{StartOrder, TriedHook};

use super::{Facts, attach, handle, load_object, offsets, open_maps};

/// Every hook of every kind of objects, attached for a moment.
pub fn try_every_hook(table: &Table, order: &StartOrder, facts: &Facts) -> Vec<TriedHook> {
    let flavours = flavours(order, facts.btf.is_some());
    let mut all: Vec<TriedHook> =
        flavours.into_iter().flat_map(|flavour| try_flavour(table, order, facts, flavour)).collect();
    refuse_useless_objects(table, &mut all);
    all
}

fn try_flavour(table: &Table, order: &StartOrder, facts: &Facts, flavour: Flavour) -> Vec<TriedHook> {
    let object = (|| -> Result<_> {
        let mut ebpf = load_object(table, order, facts, flavour, 0)?;
        let maps = open_maps(&mut ebpf, table, order, flavour, false)?;
        if flavour == Flavour::Legacy {
            let words = handle(&ebpf, "control", 4, 8)?;
            offsets::find_and_store(&mut ebpf, &words)?;
        }
        Ok((ebpf, maps))
    })();
    let (mut object, mut kprobes, mut tried) = (object, Vec::new(), Vec::new());
    // A program that several events share is loaded once; what refused to attach it the first time, does so for all.
    let mut refused: HashMap<String, String> = HashMap::new();
    for event in table.events.iter().filter(|event| is_wanted(event, order, flavour)) {
        for hook in event.hooks.iter().filter(|hook| suits(hook, flavour, None)) {
            let shares = hook.function.is_empty() && hook.kprobe.is_empty();
            let known = refused.get(&label(hook)).filter(|_| shares);
            let outcome = match &mut object {
                Ok(_) if known.is_some() => Err(known.cloned().unwrap_or_default()),
                Ok((ebpf, _)) => match attach::check(ebpf, facts, event, hook) {
                    Ok(()) => {
                        let attached = attach::attach(ebpf, facts, event, hook, &mut kprobes);
                        attached.map(drop).map_err(|error| {
                            let reason = format!("{error:#}");
                            refused.insert(label(hook), reason.clone());
                            reason
                        })
                    }
                    Err(error) => Err(format!("{error:#}")),
                },
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
