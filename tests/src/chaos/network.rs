//! Chaos beside traffic: rows of processes and slots of flows are taken over alike.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use super::{Outlived, Plan, Report, outlive};
use crate::difference::texts;
use crate::matrix::log;
use crate::network::compare::{group_differences, sum_differences};
use crate::network::done::Done;
use crate::network::flows::{self, Booked};
use crate::network::pair::{Both, Pair, Place, groups as groups_of, names};
use crate::network::words::MATRIX;
use crate::plugin::{SHOW_ALL, Setup, only_network};

const PAIR: &str = "netc";

/// Ends workers of the network viewer, which runs alone; `global` goes into `[global]`. Numbers of each process, each peer and each port must be
/// exact, but for what kretprobes lose and the kernel skips, as the plugin tells; unless this kernel has no hooks to count by. Fails with every
/// difference.
pub fn run(global: &str, plan: Plan) -> Result<Report> {
    let conf = Some(only_network(global, SHOW_ALL));
    let setup = Setup { ebpf_conf: conf, ..Setup::new("return", &groups_of(&[PAIR])) };
    let mut outlived = outlive(&setup, plan, load_until)?;
    if let Some(reason) = log::read(&outlived.finished.stderr).reason("tcp_send") {
        outlived.report.done = format!("nothing counted ({reason}) and nothing");
        return outlived.conclude(Vec::new());
    }
    let sum = outlived.done.sum();
    outlived.report.done =
        format!("{} sends over TCP, {} over UDP", sum.total("tcp_send"), sum.total("udp_send"));
    outlived.report.skipped = outlived.finished.output.total(flows::MISSED, "recursion");
    let faults = faults(&outlived);
    outlived.conclude(faults)
}

fn load_until(stop: &AtomicBool) -> Result<Both> {
    let mut done = Both { server: Done::default(), client: Done::default() };
    while !stop.load(Ordering::Relaxed) {
        let directory = tempfile::tempdir()?;
        let mut pair = Pair::start(directory.path(), PAIR, &Place::loopback(21000), MATRIX)?;
        pair.wait_paused()?;
        pair.go()?;
        let both = pair.finish()?;
        done.server += &both.server;
        done.client += &both.client;
    }
    Ok(done)
}

fn faults(outlived: &Outlived<Both>) -> Vec<String> {
    let (output, done) = (&outlived.finished.output, &outlived.done);
    let mut faults = Vec::new();
    for (group, part) in names(PAIR).iter().zip([&done.server, &done.client]) {
        let mut differences = group_differences(output, group, part, true);
        // How many bytes a skipped call had is not known.
        differences.retain(|difference| !outlived.tells(difference, i64::MAX));
        faults.extend(texts(differences));
    }
    let is_told = outlived.loses_returns() || outlived.report.skipped > 0;
    let booked = if is_told { Booked::Fewer } else { Booked::All };
    faults.extend(flows::differences(output, &done.sum(), booked, |port| port.to_string()));
    faults.extend(flows::sum_differences(output));
    faults.extend(sum_differences(output));
    faults
}
