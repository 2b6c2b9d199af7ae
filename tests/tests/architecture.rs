//! Rules about the dependencies, read from `cargo metadata` and the manifests: who may use whom, from where, and
//! under which licences.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Each package of the workspace and the ones of the workspace that its programs may use. Tests use what they
/// check.
const MAY_USE: [(&str, &[&str]); 5] = [
    ("shared", &[]),
    ("probe-objects", &[]),
    ("launcher", &[]),
    ("supervisor", &["shared", "launcher"]),
    ("workers", &["shared", "launcher", "probe-objects"]),
];

/// What a GPL-3.0-or-later program may be linked with, as the packages spell it. A new spelling is read by a
/// person before it is added.
const LICENCES: [&str; 17] = [
    "(MIT OR Apache-2.0) AND Unicode-3.0",
    "Apache-2.0 OR BSD-3-Clause",
    "Apache-2.0 OR MIT",
    "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
    "GPL-3.0-or-later",
    "MIT",
    "MIT OR Apache-2.0",
    "MIT/Apache-2.0",
    "Unlicense OR MIT",
    "Zlib",
    "0BSD OR MIT OR Apache-2.0",
    "MIT OR Zlib OR Apache-2.0",
    // hickory-resolver and what it brings; ring and untrusted are never built, since we do without encrypted DNS.
    "(MIT OR Apache-2.0) AND Apache-2.0",
    "Apache-2.0 AND ISC",
    "ISC",
    "Unicode-3.0",
    "Zlib OR Apache-2.0 OR MIT",
];

fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What cargo knows of all packages that this platform's build uses; they are on disk, so it needs no network.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn packages(metadata: &Value) -> &[Value] {
    list(metadata, "packages")
}

/// The packages of this workspace. They alone have no source: they are not downloaded.
fn members(metadata: &Value) -> BTreeSet<&str> {
    let own = packages(metadata).iter().filter(|package| package["source"].is_null());
    own.map(|package| text(package, "name")).collect()
}

/// Names of all packages that the programs of package `name` reach, itself included; those that only its tests
/// use are left out.
fn reached<'a>(metadata: &'a Value, name: &str) -> BTreeSet<&'a str> {
    let nodes = list(&metadata["resolve"], "nodes");
    let start = packages(metadata)
        .iter()
        .find(|package| text(package, "name") == name && package["source"].is_null());
    let start = start.unwrap_or_else(|| panic!("no package {name} in the workspace"));
    let mut ids = BTreeSet::new();
    let mut open = vec![text(start, "id")];
    while let Some(id) = open.pop() {
        if !ids.insert(id) {
            continue;
        }
        let node = nodes.iter().find(|node| text(node, "id") == id).unwrap();
        let used = list(node, "deps")
            .iter()
            .filter(|dependency| list(dependency, "dep_kinds").iter().any(|kind| kind["kind"] != "dev"));
        open.extend(used.map(|dependency| text(dependency, "pkg")));
    }
    packages(metadata)
        .iter()
        .filter(|package| ids.contains(text(package, "id")))
        .map(|package| text(package, "name"))
        .collect()
}

#[test]
fn the_supervisor_never_reaches_aya() {
    let metadata = metadata();
    // A name that nobody reaches any more would pass for ever.
    assert!(reached(&metadata, "workers").contains("aya"));
    for package in ["supervisor", "launcher", "shared"] {
        let found = reached(&metadata, package);
        let loaders: Vec<_> = found.iter().filter(|name| name.starts_with("aya")).collect();
        assert!(loaders.is_empty(), "{package} reaches {loaders:?}; only workers load eBPF");
    }
}

#[test]
fn dependencies_have_one_direction() {
    let metadata = metadata();
    let members = members(&metadata);
    let known: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).chain(["tests"]).collect();
    assert_eq!(members, known, "a package of the workspace has no rule here, or no longer exists");
    for (name, may_use) in MAY_USE {
        let found = reached(&metadata, name);
        let wrong: Vec<_> =
            found.intersection(&members).filter(|used| **used != name && !may_use.contains(used)).collect();
        assert!(wrong.is_empty(), "{name} must not use {wrong:?}");
    }
}

#[test]
fn licences_and_sources_are_known() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in packages(&metadata) {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        if !LICENCES.contains(&licence) {
            wrong.push(format!(
                "{name}: licence `{licence}`; add it to LICENCES if a GPL-3.0-or-later program may contain it"
            ));
        }
        let source = text(package, "source");
        if !source.is_empty() && !source.starts_with("registry+") {
            wrong.push(format!("{name}: comes from {source}; a release cannot depend on that"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lines of a manifest's dependency sections whose name `section` accepts, without comments and blank lines.
/// Each comes with the line before it.
fn dependency_lines(manifest: &str, section: impl Fn(&str) -> bool) -> Vec<(&str, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    let mut before = "";
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = section(line);
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            found.push((before, line));
        }
        before = line;
    }
    found
}

#[test]
fn versions_stand_only_in_the_workspace_manifest() {
    let metadata = metadata();
    for member in members(&metadata) {
        let path = workspace().join(member).join("Cargo.toml");
        let manifest = fs::read_to_string(&path).unwrap();
        let lines = dependency_lines(&manifest, |section| section.contains("dependencies"));
        for (_, line) in lines {
            let words: String = line.split_whitespace().collect();
            assert!(
                words.contains("workspace=true"),
                "{}: `{line}`; put the version into [workspace.dependencies] and write `workspace = true` here",
                path.display()
            );
        }
    }
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let lines = dependency_lines(&manifest, |section| section == "[workspace.dependencies]");
    assert!(!lines.is_empty(), "no [workspace.dependencies] in Cargo.toml");
    for (before, line) in lines.iter().filter(|(_, line)| !line.contains("path =")) {
        assert!(
            before.starts_with('#'),
            "Cargo.toml: `{line}` has no comment above it that says what it is for"
        );
    }
}

#[test]
fn dependency_lines_skip_comments_and_other_sections() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# why\na = \"1\"\n\n[lints]\nworkspace = true\n";
    let lines = dependency_lines(manifest, |section| section.contains("dependencies"));
    assert_eq!(lines, [("# why", "a = \"1\"")]);
}
