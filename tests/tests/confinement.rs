//! What each process may do, as the kernel tells it in `/proc/PID/status`, and that the plugin starts and counts under every way of installing it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use tests::plugin::{Plugin, Setup};
use tests::system::{alone, children, program_directory, workers};

/// A user of no rights, as the agent's is.
const AGENT: u32 = 65534;

/// A field of `/proc/PID/status`.
fn field(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no field {name}")).trim().to_owned()
}

fn no_capabilities(pid: u32) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(pid, set), "0000000000000000", "{set} of process {pid}");
    }
}

#[test]
fn every_process_has_given_up_what_it_does_not_need() {
    let _alone = alone().unwrap();
    let mut plugin = Plugin::start_and_wait(&Setup::new("return", "")).unwrap();
    plugin.wait_ticks(1).unwrap();
    let (launchers, workers) = (children(plugin.pid()).unwrap(), workers(plugin.pid()).unwrap());
    assert_eq!((launchers.len(), workers.len()), (1, 1));
    for &pid in launchers.iter().chain(&workers).chain(&[plugin.pid()]) {
        assert_eq!(
            (field(pid, "NoNewPrivs").as_str(), field(pid, "Seccomp").as_str()),
            ("1", "2"),
            "process {pid}"
        );
    }
    no_capabilities(plugin.pid());
    no_capabilities(workers[0]);
    // CAP_SYS_ADMIN and what else loading may need, but nothing that goes beyond it.
    let held = u64::from_str_radix(&field(launchers[0], "CapEff"), 16).unwrap();
    let for_loading: u64 = [1, 2, 14, 21, 23, 24, 34, 38, 39].iter().map(|bit| 1_u64 << bit).sum();
    assert_eq!(held & !for_loading, 0, "the launcher holds {held:x}");
    // Every thread of the supervisor, too.
    for thread in fs::read_dir(format!("/proc/{}/task", plugin.pid())).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert!(status.contains("CapEff:\t0000000000000000") && status.contains("Seccomp:\t2"), "{status}");
    }
    let finished = plugin.stop().unwrap();
    assert!(finished.stderr.contains("the supervisor is confined: "), "{}", finished.stderr);
}

/// The programs in a directory that the agent's user can reach, owned by root and that user's group, with `mode` for the supervisor.
fn install(directory: &Path, mode: u32) {
    let built = program_directory().unwrap();
    for (program, mode) in [("supervisor", mode), ("ebpf-worker", 0o750)] {
        let file = directory.join(program);
        fs::copy(built.join(program), &file).unwrap();
        chown(&file, Some(0), Some(AGENT)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(directory.join("ebpf.conf"), tests::plugin::only_process("ebpf load mode = return")).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the installed plugin for a few intervals by `command`, which is `setpriv` with these arguments; it must have counted.
fn counts(directory: &Path, privileges: &[&str]) {
    let output = Command::new("setpriv")
        .args(privileges)
        .args(["--clear-groups", "--"])
        .arg(directory.join("supervisor"))
        .args(["1", "--iterations", "4"])
        .current_dir("/")
        .env("NETDATA_USER_CONFIG_DIR", directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let reads = out.lines().filter(|line| line.starts_with("SET vfs_read = ") && !line.ends_with("= 0"));
    assert!(output.status.success() && reads.count() > 0, "{privileges:?}: {}\n{log}\n{out}", output.status);
    assert!(log.contains("the supervisor is confined: "), "{log}");
    eprintln!("{privileges:?}: {log}");
}

#[test]
fn set_uid_root_started_by_the_agents_user() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    install(directory.path(), 0o4750);
    let (uid, gid) = (format!("--reuid={AGENT}"), format!("--regid={AGENT}"));
    counts(directory.path(), &[&uid, &gid]);
}

#[test]
fn file_capabilities_started_by_the_agents_user() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    install(directory.path(), 0o750);
    // The kernel refuses to execute a file that wants more than the bounding set allows, which in a container may lack some.
    let bounding = u64::from_str_radix(&field(std::process::id(), "CapBnd"), 16).unwrap();
    let wanted =
        [("sys_admin", 21), ("bpf", 39), ("perfmon", 38), ("sys_resource", 24), ("dac_read_search", 2)];
    let sets: Vec<String> = wanted
        .iter()
        .filter(|(_, bit)| bounding >> bit & 1 == 1)
        .map(|(name, _)| format!("cap_{name}"))
        .collect();
    let set = Command::new("setcap")
        .arg(sets.join(",") + "+ep")
        .arg(directory.path().join("supervisor"))
        .status()
        .unwrap();
    assert!(set.success());
    let (uid, gid) = (format!("--reuid={AGENT}"), format!("--regid={AGENT}"));
    counts(directory.path(), &[&uid, &gid]);
}

/// The bounding set of the agent's stock unit (netdata.service): CAP_SYS_ADMIN has to do for CAP_BPF and CAP_PERFMON.
#[test]
fn bounding_set_of_the_stock_unit() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    install(directory.path(), 0o4750);
    let bounding = "--bounding-set=-all,+dac_override,+dac_read_search,+fowner,+setpcap,+sys_admin,+sys_ptrace,\
                    +sys_resource,+net_raw,+sys_chroot,+net_admin,+setgid,+setuid,+chown";
    let (uid, gid) = (format!("--reuid={AGENT}"), format!("--regid={AGENT}"));
    counts(directory.path(), &[&uid, &gid, bounding]);
}

/// As in a container that runs as root with the capabilities that it needs and no others.
#[test]
fn root_with_few_capabilities() {
    let _alone = alone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    install(directory.path(), 0o750);
    let bounding = "--bounding-set=-all,+bpf,+perfmon,+sys_admin,+sys_resource,+dac_read_search,+setgid";
    counts(directory.path(), &[bounding, "--inh-caps=-all"]);
}
