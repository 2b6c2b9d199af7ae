//! "Shows" 2: `perf stat` beside the plugin, on work that real programs do, counter by counter.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tests::compare::COUNTERS;
use tests::effects::Expected;
use tests::oracle::perf_stat;
use tests::plugin::{Plugin, Setup};
use tests::system::beside;

/// What perf's tracepoints do not see.
const UNSEEN: [&str; 6] =
    ["read bytes", "write bytes", "release", "unlink error", "fork error", "thread error"];

/// Runs `command`, whose first word is linked as `name`, under perf and beside the plugin; returns
/// what perf counted after both agree. Children belong to their parent's group.
fn agree(directory: &Path, name: &str, command: &[&str]) -> Expected {
    let groups = format!("work: {name}\n");
    let mut plugin = Plugin::start_and_wait(&Setup::new("return", &groups)).unwrap();
    let counted = perf_stat(command, directory, &directory.join("report")).unwrap();
    plugin.wait_ticks(3).unwrap();
    let finished = plugin.stop().unwrap();
    let mut differences = Vec::new();
    for counter in COUNTERS.iter().filter(|counter| !UNSEEN.contains(&counter.name)) {
        let Some(chart) = counter.apps else { continue };
        let (perf, shown) = ((counter.of)(&counted), finished.output.total(chart, "work"));
        println!("{name} {}: perf {perf}, plugin {shown}", counter.name);
        if i64::try_from(perf).unwrap() != shown {
            differences.push(format!("{}: perf counts {perf}, {chart} shows {shown}", counter.name));
        }
    }
    assert!(differences.is_empty(), "{}\nlog:\n{}", differences.join("\n"), finished.stderr);
    counted
}

/// Links a system program so that its comm is `name`; it still finds its own parts by its real path.
fn link_program(directory: &Path, program: &str, name: &str) -> String {
    let path = directory.join(name);
    symlink(program, &path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn tar_of_the_documentation() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let tar = link_program(directory.path(), "/bin/tar", "ebpft_tar");
    let counted =
        agree(directory.path(), "ebpft_tar", &[&tar, "-cf", "archive.tar", "-C", "/usr/include", "."]);
    assert!(counted.open > 100 && counted.read > 100 && counted.write > 100, "too little work: {counted:?}");
}

#[test]
fn find_through_the_system() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let find = link_program(directory.path(), "/usr/bin/find", "ebpft_find");
    let out = "/usr/share";
    let counted =
        agree(directory.path(), "ebpft_find", &[&find, out, "-name", "*.none", "-newer", "/etc/passwd"]);
    assert!(counted.open > 100 && counted.close > 100, "too little work: {counted:?}");
}

/// A shell that starts several hundred short programs: forks, execs, exits, failed opens, deleted files.
#[test]
fn a_shell_script_with_its_children() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let shell = link_program(directory.path(), "/bin/bash", "ebpft_sh");
    let script =
        "for i in $(seq 100); do echo $i > f$i; cat f$i nofile | tr 1 2; rm f$i; done >/dev/null 2>&1";
    let counted = agree(directory.path(), "ebpft_sh", &[&shell, "-c", script]);
    assert!(counted.fork >= 300 && counted.unlink >= 100, "too little work: {counted:?}");
}

/// A compiler: its children have children, and each level inherits the group of the one above.
#[test]
fn a_compiler_with_its_grandchildren() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let compiler = link_program(directory.path(), "/usr/bin/gcc", "ebpft_gcc");
    fs::write(
        directory.path().join("main.c"),
        "#include <stdio.h>\nint main(void) { return puts(\"x\"); }\n",
    )
    .unwrap();
    let counted = agree(directory.path(), "ebpft_gcc", &[&compiler, "-O1", "main.c", "-o", "main"]);
    assert!(counted.fork >= 4 && counted.open_error > 10, "too little work: {counted:?}");
}
