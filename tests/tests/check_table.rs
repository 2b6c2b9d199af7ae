//! "Shows" 1 and 2: what `--check` says is what the plugin then does, per chart, and forecasts equal the truth.
//!
//! The short list of set-ups, on this machine and in guests (`tools/check-table` makes the whole table, docs/check.md). Needs root.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::time::TimeValLike;
use tests::system::{alone, beside, program_directory, run_tool};

fn table(kernels: &[&str]) {
    let _beside = (kernels != ["host"]).then(|| beside().unwrap());
    let arguments: Vec<&str> = ["--quick"].iter().chain(kernels).copied().collect();
    run_tool("check-table", &arguments, ("CHECK_CELLS", env!("CARGO_BIN_EXE_check-cells"))).unwrap();
}

#[test]
fn oldest_kernel() {
    table(&["5.10"]);
}

#[test]
fn newest_kernel() {
    table(&["7.2"]);
}

#[test]
fn this_machine() {
    table(&["host"]);
}

/// Time for which some program of this machine has waited for a CPU since the start; nothing where the kernel does not tell.
fn stalled() -> Duration {
    let text = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let total =
        text.lines().find(|line| line.starts_with("some ")).and_then(|line| line.split("total=").nth(1));
    Duration::from_micros(total.and_then(|total| total.trim().parse().ok()).unwrap_or(0))
}

/// CPU time of all processes that this one has started and that have ended, and of theirs.
fn cpu_time_of_children() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
    let times = [usage.user_time(), usage.system_time()];
    times.iter().map(|time| Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap())).sum()
}

/// It ends within three seconds, and nothing is left: no mount, no file, no program.
///
/// Other programs of this machine may take its CPUs: the time for which anybody waited for one is not its own, but then its CPU time has a
/// limit. The best of three runs counts.
#[test]
fn check_is_quick_and_leaves_nothing() {
    let _alone = alone().unwrap();
    let mounts = || std::fs::read_to_string("/proc/self/mounts").unwrap();
    let (before, directory) = (mounts(), tempfile::tempdir().unwrap());
    let check = || {
        let (started, stalled_before, cpu_before) = (Instant::now(), stalled(), cpu_time_of_children());
        let mut command = Command::new(program_directory().unwrap().join("supervisor"));
        command.args(["--check", "-q", "-r"]).env("NETDATA_USER_CONFIG_DIR", directory.path());
        let output = command.output().unwrap();
        let took = started.elapsed();
        let own = took.saturating_sub(stalled() - stalled_before);
        let cpu = cpu_time_of_children() - cpu_before;
        eprintln!("took {took:?}, of which nobody waited for a CPU in {own:?}; {cpu:?} of CPU time");
        (own, cpu, output)
    };
    let runs: Vec<_> = (0..3).map(|_| check()).collect();
    let best = runs.iter().map(|(own, ..)| *own).min().unwrap();
    assert!(best < Duration::from_secs(3), "{best:?}");
    let cpu = runs.iter().map(|(_, cpu, _)| *cpu).min().unwrap();
    assert!(cpu > Duration::from_millis(50), "{cpu:?}: the workers' time is not in it");
    assert!(cpu < Duration::from_millis(2500), "{cpu:?} of CPU time");
    for (.., output) in &runs {
        assert_eq!(output.stdout.is_empty(), output.status.code() == Some(0), "{output:?}");
    }
    assert_eq!(before, mounts());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// The policies compile; Debian's packages checkpolicy and semodule-utils.
#[test]
fn selinux_policies_compile() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let directory = tempfile::tempdir().unwrap();
    // The module's file must be called like the module.
    let module = directory.path().join("netdata_ebpf.mod");
    for policy in ["netdata_ebpf.te", "netdata_ebpf_rhel7.te"] {
        let run = |command: &mut Command| {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{policy}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let source = workspace.join("conf/selinux").join(policy);
        run(Command::new("checkmodule").args(["-M", "-m", "-o"]).arg(&module).arg(source));
        let package = directory.path().join("netdata_ebpf.pp");
        run(Command::new("semodule_package").arg("-o").arg(&package).arg("-m").arg(&module));
        assert!(package.metadata().unwrap().len() > 0);
    }
}
