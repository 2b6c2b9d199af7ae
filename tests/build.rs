//! Builds `load/load.c`, the program whose every counted system call is known.
//!
//! Output: `$OUT_DIR/load`, a static x86-64 executable without libc; `src/load.rs` embeds its path.

use std::path::PathBuf;
use std::process::Command;

/// Tried in this order; clang is there anyway because the eBPF objects need it.
const COMPILERS: [&str; 2] = ["clang", "gcc"];

/// No libc, no start-up code, no stack protector: nothing may do a system call that the script did not ask
/// for. Not position-independent: 32-bit system calls need buffers below 4 GiB.
const FLAGS: [&str; 10] = [
    "-std=gnu11",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-nostdlib",
    "-static",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-pie",
];

fn main() {
    println!("cargo::rerun-if-changed=load/load.c");
    let out_dir = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    let program = PathBuf::from(out_dir).join("load");
    let mut reports = Vec::new();
    for compiler in COMPILERS {
        match Command::new(compiler).args(FLAGS).arg("-o").arg(&program).arg("load/load.c").output() {
            Ok(output) if output.status.success() => return,
            Ok(output) => reports.push(format!("{compiler}: {}", String::from_utf8_lossy(&output.stderr))),
            Err(error) => reports.push(format!("{compiler}: {error}")),
        }
    }
    panic!("cannot build tests/load/load.c; install clang or gcc:\n{}", reports.join("\n"));
}
