//! The ways of counting that are held against known loads, and in which rounds.

use crate::plugin::{SHOW_ALL, Setup, only_network, only_process};

/// What is done to the plugin besides its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    /// Nothing.
    None,
    /// `uname` says 2.6, as under `setarch --uname-2.6`.
    FakedRelease,
    /// The kernel's PMU of kprobes is hidden, as if it were older than 4.17 (`tracefs`).
    WithoutPmu,
    /// A file of the user configuration directory replaces hooks.
    Override {
        /// In the cell's name.
        name: &'static str,
        /// Text of `ebpf.d/process.toml`.
        text: &'static str,
        /// The event that it breaks, if it does.
        breaks: Option<&'static str>,
        /// Whether the plugin must refuse the file, naming it.
        refused: bool,
    },
}

/// One way of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Value of `ebpf co-re tracing`; `auto` leaves the option out.
    pub strategy: &'static str,
    /// `default`, `legacy` (`ebpf type format`) or `hidden` (`btf path` leads nowhere).
    pub format: &'static str,
    /// `entry` or `return`.
    pub mode: &'static str,
    /// With charts of applications.
    pub apps: bool,
    /// What else.
    pub twist: Twist,
}

impl Cell {
    /// Unique in a kernel's list.
    pub fn name(&self) -> String {
        let objects = match self.format {
            "legacy" => " legacy",
            "hidden" => " BTF hidden",
            _ => "",
        };
        let apps = if self.apps { "apps" } else { "no apps" };
        let twist = match self.twist {
            Twist::None => String::new(),
            Twist::FakedRelease => ", faked release".to_owned(),
            Twist::WithoutPmu => ", by `kprobe_events`".to_owned(),
            Twist::Override { name, .. } => format!(", override {name}"),
        };
        format!("{}{objects}, {}, {apps}{twist}", self.strategy, self.mode)
    }

    /// How to start the supervisor for it, with the process program.
    pub fn setup(&self, apps_groups: &str) -> Setup {
        let mut setup = Setup::new(self.mode, apps_groups);
        setup.ebpf_conf = Some(only_process(&self.global()));
        if let Twist::Override { text, .. } = self.twist {
            setup.files.push(("ebpf.d/process.toml".to_owned(), text.to_owned()));
        }
        setup
    }

    /// The same with the network viewer, which shows all peers and ports under their numbers. Without canaries: all plugins count those of the
    /// others.
    pub fn network_setup(&self, apps_groups: &str) -> Setup {
        let conf = only_network(&self.global(), SHOW_ALL);
        let args = ["1", "--canary-every", "0"].map(str::to_owned).to_vec();
        Setup { ebpf_conf: Some(conf), args, ..Setup::new(self.mode, apps_groups) }
    }

    /// Lines of `[global]`.
    fn global(&self) -> String {
        let mut global = format!("ebpf load mode = {}\n", self.mode);
        if self.strategy != "auto" {
            global += &format!("    ebpf co-re tracing = {}\n", self.strategy);
        }
        match self.format {
            "legacy" => global += "    ebpf type format = legacy\n",
            "hidden" => global += "    btf path = /nonexistent\n",
            _ => {}
        }
        if !self.apps {
            global += "    disable apps = yes\n";
        }
        global.trim_end().to_owned()
    }
}

/// Strategy and format of each way but [`PROBE`]. With `legacy` and hidden BTF the trampoline strategy has no objects.
const WAYS: [(&str, &str); 6] = [
    ("auto", "default"),
    ("trampoline", "default"),
    ("tracepoint", "default"),
    ("auto", "legacy"),
    ("tracepoint", "legacy"),
    ("auto", "hidden"),
];

/// The ways that differ in their programs: what the others come down to is seen by the first round.
const FEWER: [(&str, &str); 3] =
    [("trampoline", "default"), ("tracepoint", "default"), ("tracepoint", "legacy")];

/// kprobes and kretprobes, which need no BTF in any case.
const PROBE: (&str, &str) = ("probe", "default");

/// What lockdown treats differently: typed functions, tracepoints, kprobes with the objects without BTF.
const LOCKED: [(&str, &str); 3] = [("auto", "default"), ("tracepoint", "default"), PROBE];

/// A hook that no kernel has, then the file that a user would write against a renamed function.
const OVERRIDES: [Twist; 2] = [
    Twist::Override {
        name: "that breaks `release`",
        text: "release.hooks = [ { function = \"release_task_renamed\" } ]\n",
        breaks: Some("release"),
        refused: false,
    },
    Twist::Override {
        name: "that mends `release`",
        text: "release.hooks = [ { function = \"release_task_renamed\" }, { function = \"release_task\" }, \
               { tp_btf = \"sched_process_free\" } ]\n",
        breaks: None,
        refused: false,
    },
];

/// Files that must be refused, by name; whichever kernel runs.
const WRONG_OVERRIDES: [Twist; 2] = [
    Twist::Override {
        name: "of an unknown event",
        text: "reed.hooks = [ { function = \"release_task\" } ]\n",
        breaks: None,
        refused: true,
    },
    Twist::Override {
        name: "that is no TOML",
        text: "release.hooks = [ { function = \n",
        breaks: None,
        refused: true,
    },
];

/// The cells of the network viewer, which all count the same traffic at the same time: the plugins themselves have none.
pub fn network_cells() -> Vec<Cell> {
    let cell = |(strategy, format), mode, apps| Cell { strategy, format, mode, apps, twist: Twist::None };
    let [auto, trampoline, tracepoint, legacy, ..] = WAYS;
    vec![
        cell(auto, "return", true),
        cell(trampoline, "return", true),
        cell(tracepoint, "return", true),
        cell(legacy, "return", true),
        cell(PROBE, "return", true),
        cell(trampoline, "entry", true),
        cell(tracepoint, "return", false),
        cell(PROBE, "entry", false),
    ]
}

/// Rounds of a kernel: the cells of one round count the same load at the same time.
pub fn rounds(kind: &str) -> Option<Vec<Vec<Cell>>> {
    let cell = |(strategy, format), mode, apps| Cell { strategy, format, mode, apps, twist: Twist::None };
    let twisted = |twist| Cell { twist, ..cell(WAYS[0], "return", true) };
    match kind {
        "cells" => {
            let with_apps = WAYS.iter().map(|way| cell(*way, "return", true));
            let in_both_modes = |ways: &[(&'static str, &'static str)], apps| {
                let modes = ["return", "entry"].into_iter();
                modes
                    .flat_map(|mode| ways.iter().map(move |way| cell(*way, mode, apps)))
                    .collect::<Vec<Cell>>()
            };
            Some(vec![
                with_apps.chain(FEWER.map(|way| cell(way, "entry", true))).collect(),
                // Without applications alone, because they count what the plugins themselves do.
                in_both_modes(&FEWER, false),
                // Alone, because every plugin has threads that wait in read, and a kretprobe follows only ten.
                in_both_modes(&[PROBE], true),
                in_both_modes(&[PROBE], false),
            ])
        }
        // What matters there: the typed programs load, and the rest says why not.
        "lockdown" => Some(vec![LOCKED.map(|way| cell(way, "return", true)).to_vec()]),
        "twists" => {
            // The plain one first: the others are compared with it.
            let twists = [Twist::None, Twist::FakedRelease].into_iter().chain(OVERRIDES);
            Some(vec![twists.map(twisted).collect()])
        }
        // What kernels before 4.17 do. Alone, because the PMU is hidden from all.
        "tracefs" => Some(vec![vec![Cell { twist: Twist::WithoutPmu, ..cell(PROBE, "return", true) }]]),
        // Each by itself, as it runs on real hosts.
        "alone" => Some([WAYS[1], WAYS[2], PROBE].map(|way| vec![cell(way, "return", true)]).to_vec()),
        "refusals" => {
            let twists = [Twist::None].into_iter().chain(WRONG_OVERRIDES);
            Some(vec![twists.map(twisted).collect()])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names = BTreeSet::new();
        for cell in network_cells() {
            assert!(names.insert(cell.name()), "{}", cell.name());
        }
        names.clear();
        for kind in ["cells"] {
            for cell in rounds(kind).unwrap().concat() {
                assert!(names.insert(cell.name()), "{}", cell.name());
            }
        }
        assert!(rounds("x").is_none());
    }
}
