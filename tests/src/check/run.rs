//! One set-up: asks `--check`, starts the plugin, and holds the charts of both against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::document::Line;
use super::setup::Setup;
use crate::system::program_directory;

/// Charts that exist, with their dimensions; of charts of applications only that they exist.
type Charts = BTreeMap<String, BTreeSet<String>>;

/// Runs one set-up on the running kernel, which is called `kernel` in the result.
pub fn run(kernel: &str, setup: &Setup) -> Result<Line> {
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let path = directory.path();
    // Readable for nobody, too.
    let open =
        |path: &Path, mode| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
    open(path, 0o755)?;
    let conf = format!("[global]\n    ebpf load mode = return\n    {}\n", setup.global);
    fs::write(path.join("ebpf.conf"), conf).context("cannot write ebpf.conf")?;
    open(&path.join("ebpf.conf"), 0o644)?;

    let said = start(setup, path, &["--check", "--json"])?;
    let report: Value = serde_json::from_slice(&said.stdout).with_context(|| {
        format!("`{}`: --check printed no JSON: {}", setup.name, String::from_utf8_lossy(&said.stderr))
    })?;
    let done = start(setup, path, &["1", "--iterations", "1"])?;
    let (told, listed) = told(&report);
    let mut drawn = drawn(&String::from_utf8_lossy(&done.stdout));
    drawn.retain(|chart, _| listed.contains(chart));
    let mut wrong = Vec::new();
    for chart in told.keys().chain(drawn.keys()).collect::<BTreeSet<_>>() {
        if told.get(chart) != drawn.get(chart) {
            wrong.push(format!("{chart}: told {:?}, drawn {:?}", told.get(chart), drawn.get(chart)));
        }
    }
    let code = said.status.code().unwrap_or(-1);
    ensure!(report["exit_code"].as_i64() == Some(i64::from(code)), "the exit code is not the report's");
    if !wrong.is_empty() {
        eprintln!("{}: the plugin's log:\n{}", setup.name, String::from_utf8_lossy(&done.stderr));
    }
    Ok(Line {
        kernel: kernel.to_owned(),
        setup: setup.name.to_owned(),
        code,
        programs: report["programs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(summary)
            .collect::<Vec<_>>()
            .join("; "),
        charts: told.len(),
        wrong: wrong.join(", "),
    })
}

fn start(setup: &Setup, directory: &Path, arguments: &[&str]) -> Result<Output> {
    let script = format!("{} exec \"$@\"", setup.before);
    // In a guest the shell would take its own setpriv, which knows no bounding set, before the one beside the plugin.
    let beside = program_directory()?.join("setpriv");
    let setpriv = if beside.exists() { beside } else { "setpriv".into() };
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(setpriv)
        .args(setup.setpriv)
        .arg(program_directory()?.join("supervisor"))
        .args(arguments)
        .env("NETDATA_USER_CONFIG_DIR", directory)
        .env("NETDATA_STOCK_CONFIG_DIR", directory)
        .output();
    output.context("cannot start unshare")
}

/// What `--check` says will be drawn, and all charts that it speaks of.
fn told(report: &Value) -> (Charts, BTreeSet<String>) {
    let (mut charts, mut listed) = (Charts::new(), BTreeSet::new());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for chart in
        report["programs"].as_array().into_iter().flatten().flat_map(|p| p["charts"].as_array()).flatten()
    {
        let name = text(&chart["chart"]);
        listed.insert(name.clone());
        if chart["state"] == "no" {
            continue;
        }
        let counted =
            chart["dimensions"].as_array().into_iter().flatten().filter(|d| !d["strategy"].is_null());
        let names = counted.map(|d| text(&d["dimension"])).filter(|name| !name.starts_with('('));
        charts.insert(name, names.collect());
    }
    (charts, listed)
}

/// What the plugin announced.
fn drawn(output: &str) -> Charts {
    let (mut charts, mut current) = (Charts::new(), String::new());
    for line in output.lines() {
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some("CHART"), Some(chart)) => {
                current = chart.to_owned();
                charts.entry(current.clone()).or_default();
            }
            (Some("DIMENSION"), Some(name)) if !current.starts_with("apps.") => {
                charts.entry(current.clone()).or_default().insert(name.trim_matches('\'').to_owned());
            }
            _ => {}
        }
    }
    charts
}

/// `process: all (rows: fexit, tp_btf)`, or what is missing.
fn summary(program: &Value) -> String {
    let name = program["program"].as_str().unwrap_or_default();
    let events =
        || program["events"].as_array().into_iter().flatten().filter(|event| event["counts"] == true);
    let hooks = |event: &Value| event["hooks"].as_array().cloned().unwrap_or_default();
    let kinds: BTreeSet<String> = events()
        .flat_map(hooks)
        .filter_map(|hook| Some(hook.as_str()?.split(':').next()?.to_owned()))
        .collect();
    let by = format!(
        "{}: {}",
        program["objects"].as_str().unwrap_or_default(),
        kinds.into_iter().collect::<Vec<_>>().join(", ")
    );
    match program["state"].as_str() {
        Some("all") => format!("{name}: all ({by})"),
        Some("degraded") => {
            let lost: Vec<&str> = events()
                .filter(|event| hooks(event).is_empty())
                .filter_map(|event| event["event"].as_str())
                .collect();
            let lost = if lost.is_empty() {
                "the canary is not counted whole".to_owned()
            } else {
                format!("without {}", lost.join(", "))
            };
            format!("{name}: {lost} ({by})")
        }
        _ => {
            let cause = program["failure"]["cause"].as_str().unwrap_or_default();
            format!("{name}: cannot run: {cause}")
        }
    }
}
