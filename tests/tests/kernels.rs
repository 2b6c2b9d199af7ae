//! "Shows" 1 to 4 and 6: on every kernel, every way of counting is exact, or the plugin says why it is not offered; and
//! `docs/kernel-matrix.md` says the same.
//!
//! Each test boots its kernels in virtual machines (`tools/vm`, which downloads them once), some minutes in all, several at a time. Needs root.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use tests::system::{beside, run_tool};

/// Runs one kernel's part of the matrix: its cells, and its boots under lockdown.
fn matrix(kernel: &str) {
    let _beside = (kernel != "host").then(|| beside().unwrap());
    run_tool("matrix", &["--kernel", kernel], ("KERNEL_CELLS", env!("CARGO_BIN_EXE_kernel-cells"))).unwrap();
}

#[test]
fn linux_5_10() {
    matrix("5.10");
}

#[test]
fn linux_6_1() {
    matrix("6.1");
}

#[test]
fn linux_6_12() {
    matrix("6.12");
}

#[test]
fn linux_7_2() {
    matrix("7.2");
}

/// Other processes run here: what needs a quiet machine is compared as far as it can be.
#[test]
fn this_machine() {
    matrix("host");
}

/// A kernel that is added to the list is a test too, unless it is one for seldom.
#[test]
fn every_kernel_of_the_list_has_its_test() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let list = std::fs::read_to_string(workspace.join("tools/kernels.txt")).unwrap();
    let source = include_str!("kernels.rs");
    let mut seen = 0;
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, "always", ..] = words.as_slice() else { continue };
        assert!(source.contains(&format!("matrix(\"{name}\")")), "no test for kernel {name}");
        seen += 1;
    }
    assert!(seen >= 4, "only {seen} kernels in tools/kernels.txt");
}
