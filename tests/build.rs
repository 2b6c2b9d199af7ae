//! Builds the programs whose every counted system call is known.
//!
//! Output: `$OUT_DIR/load` of `load/load.c`, a static x86-64 executable without libc, and `$OUT_DIR/netload` of `load/netload.c`, static with
//! libc; `src/load.rs` and `src/network/pair.rs` embed them.

use std::path::PathBuf;
use std::process::Command;

/// Tried in this order; clang is there anyway because the eBPF objects need it.
const COMPILERS: [&str; 2] = ["clang", "gcc"];

const COMMON: [&str; 6] = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-static"];

/// No libc, no start-up code, no stack protector: nothing may do a system call that the script did not ask
/// for. Not position-independent: 32-bit system calls need buffers below 4 GiB.
const WITHOUT_LIBC: [&str; 4] = ["-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie"];

fn main() {
    println!("cargo::rerun-if-changed=load");
    build("load", &WITHOUT_LIBC);
    // What libc does by itself is no traffic.
    build("netload", &["-pthread"]);
}

fn build(name: &str, flags: &[&str]) {
    let out_dir = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    let (program, source) = (PathBuf::from(out_dir).join(name), format!("load/{name}.c"));
    let mut reports = Vec::new();
    for compiler in COMPILERS {
        let mut command = Command::new(compiler);
        match command.args(COMMON).args(flags).arg("-o").arg(&program).arg(&source).output() {
            Ok(output) if output.status.success() => return,
            Ok(output) => reports.push(format!("{compiler}: {}", String::from_utf8_lossy(&output.stderr))),
            Err(error) => reports.push(format!("{compiler}: {error}")),
        }
    }
    panic!("cannot build tests/{source}; install clang or gcc, and libc6-dev:\n{}", reports.join("\n"));
}
