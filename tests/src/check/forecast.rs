//! A forecast for a kernel, made from its files on this machine, against what `--check --hooks` found on that kernel itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::document::Line;
use crate::system::program_directory;

/// Files of a kernel that the guest leaves behind.
pub const FILES: [(&str, &str); 3] = [
    ("/proc/kallsyms", "kallsyms"),
    ("/sys/kernel/btf/vmlinux", "btf"),
    ("/sys/kernel/tracing/available_filter_functions", "functions"),
];

/// By program, event, objects and hook: whether it works, and why not.
type Hooks = BTreeMap<[String; 4], (Option<bool>, String)>;

fn hooks(report: &Value) -> Hooks {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = Hooks::new();
    for program in report["programs"].as_array().into_iter().flatten() {
        for hook in program["tried_hooks"].as_array().into_iter().flatten() {
            let key = [&program["program"], &hook["event"], &hook["objects"], &hook["hook"]].map(text);
            all.insert(key, (hook["works"].as_bool(), text(&hook["reason"])));
        }
    }
    all
}

/// Compares. `directory`: [`FILES`] and the kernel's own `check.json`; `config`: its configuration.
pub fn compare(kernel: &str, directory: &Path, config: &Path) -> Result<Line> {
    let truth = std::fs::read(directory.join("check.json")).context("no check.json of the kernel")?;
    let truth: Value = serde_json::from_slice(&truth).context("check.json is no report")?;
    let mut command = Command::new(program_directory()?.join("supervisor"));
    command.args(["--check", "--json", "-r", "--kernel-config"]).arg(config);
    for (option, (_, file)) in ["--kallsyms", "--btf", "--functions"].iter().zip(FILES) {
        command.arg(option).arg(directory.join(file));
    }
    let output =
        command.env("NETDATA_USER_CONFIG_DIR", directory).output().context("cannot start the supervisor")?;
    let forecast: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("no forecast: {}", String::from_utf8_lossy(&output.stderr)))?;
    let (truth, forecast) = (hooks(&truth), hooks(&forecast));
    ensure!(!truth.is_empty(), "the kernel's own report has no hooks");
    let mut wrong = Vec::new();
    for key in truth.keys().chain(forecast.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (was, said) = (truth.get(key), forecast.get(key));
        if was.map(|(works, _)| works) != said.map(|(works, _)| works) {
            wrong.push(format!("{}: forecast {said:?}, is {was:?}", key.join(" ")));
        }
    }
    Ok(Line {
        kernel: kernel.to_owned(),
        setup: "forecast".to_owned(),
        code: output.status.code().unwrap_or(-1),
        programs: format!("{} hooks, {} as forecast", truth.len(), truth.len().saturating_sub(wrong.len())),
        charts: 0,
        wrong: wrong.join(", "),
    })
}
