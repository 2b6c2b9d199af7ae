//! What each process may do, as the kernel tells it in `/proc/PID/status`, and that the plugin starts and counts under every way of installing it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use launcher::calls;
use nix::libc;
use tests::inject::{Held, Outcome};
use tests::plugin::{Plugin, Setup};
use tests::system::{beside, children, program_directory, wait_until, workers};

/// A user of no rights, as the agent's is.
const AGENT: u32 = 65534;

/// Its library directory, in the one where the plugin is installed.
const LIBRARY: &str = "lib";

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
    let _beside = beside().unwrap();
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

/// EPERM, as a result.
const REFUSED: Outcome = Outcome::Returned(-(libc::EPERM as i64));
/// What the kernel ends it with.
const ENDED: Outcome = Outcome::Ended(libc::SIGSYS);

/// A call's number and arguments.
type Call = (i64, [u64; 6]);

fn call(number: i64, arguments: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    (number, all)
}

/// Commands of bpf(2) that a worker which counts is refused: what makes, loads, attaches, pins and opens objects.
const FORBIDDEN_BPF: [u64; 12] = [0, 5, 6, 7, 8, 9, 13, 14, 17, 18, 28, 30];

/// Refused in the supervisor and in a worker that counts, which are given no right to any of it. `text`: address of a path.
fn forbidden_to_both(text: u64) -> Vec<Call> {
    let (here, executable) = (libc::AT_FDCWD as u64, (libc::PROT_READ | libc::PROT_EXEC) as u64);
    let mut calls = vec![
        call(
            libc::SYS_mmap,
            &[0, 4096, executable, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64, u64::MAX],
        ),
        call(libc::SYS_mprotect, &[text & !4095, 4096, executable]),
        call(libc::SYS_unlink, &[text]),
        call(libc::SYS_unlinkat, &[here, text]),
        call(libc::SYS_mkdir, &[text, 0o700]),
        call(libc::SYS_rename, &[text, text]),
        call(libc::SYS_symlink, &[text, text]),
        call(libc::SYS_mknod, &[text, libc::S_IFIFO.into()]),
        call(libc::SYS_chmod, &[text, 0o777]),
        call(libc::SYS_chown, &[text]),
        call(libc::SYS_truncate, &[text]),
        call(libc::SYS_creat, &[text, 0o600]),
        call(libc::SYS_openat2, &[here, text]),
        call(libc::SYS_open_by_handle_at, &[]),
        call(libc::SYS_chroot, &[text]),
        call(libc::SYS_setuid, &[]),
        call(libc::SYS_setresuid, &[]),
        call(libc::SYS_capset, &[]),
        call(libc::SYS_kill, &[1, 0]),
        call(libc::SYS_fork, &[]),
        call(libc::SYS_listen, &[0, 1]),
        call(libc::SYS_accept4, &[]),
        call(libc::SYS_memfd_create, &[text]),
        call(libc::SYS_io_uring_setup, &[1]),
        call(libc::SYS_pidfd_open, &[1]),
        call(libc::SYS_pidfd_getfd, &[]),
        call(libc::SYS_shmget, &[0, 4096, 0o600]),
        call(libc::SYS_sethostname, &[text, 1]),
        call(libc::SYS_clock_settime, &[]),
        call(libc::SYS_fsopen, &[text]),
        call(libc::SYS_personality, &[u64::from(u32::MAX)]),
        call(libc::SYS_seccomp, &[]),
    ];
    for family in [libc::AF_NETLINK, libc::AF_PACKET, libc::AF_ALG, libc::AF_VSOCK] {
        calls.push(call(libc::SYS_socket, &[family as u64, libc::SOCK_DGRAM as u64]));
    }
    for flags in
        [libc::O_WRONLY, libc::O_RDWR, libc::O_RDONLY | libc::O_CREAT, libc::O_RDONLY | libc::O_TRUNC]
    {
        calls.push(call(libc::SYS_openat, &[here, text, flags as u64, 0o600]));
        calls.push(call(libc::SYS_open, &[text, flags as u64, 0o600]));
    }
    calls
}

fn refused(held: &mut Held, who: &str, calls: &[Call]) {
    let outcomes: Vec<(Call, Outcome)> =
        calls.iter().map(|&call| (call, held.call(call.0, call.1).unwrap())).collect();
    let done: Vec<&(Call, Outcome)> = outcomes.iter().filter(|(_, outcome)| *outcome != REFUSED).collect();
    assert!(done.is_empty(), "the {who} may do (call and arguments, outcome): {done:?}");
    eprintln!("{who}: {} calls are refused", calls.len());
}

/// Each in a copy of its own.
fn ends_copies(held: &mut Held, who: &str, calls: &[i64]) {
    for &number in calls {
        assert_eq!(held.copy().unwrap().call(number, [0; 6]).unwrap(), ENDED, "call {number} in the {who}");
    }
    eprintln!("{who}: {} calls end it", calls.len());
}

/// The calls are made inside of the real processes while they count, not by a program that says that it is confined alike.
#[test]
fn forbidden_calls_are_refused_in_the_supervisor_and_in_the_launcher() {
    let _beside = beside().unwrap();
    let mut plugin = Plugin::start_and_wait(&Setup::new("return", "")).unwrap();
    let mut held = Held::new(plugin.pid()).unwrap();
    // It is this process that calls, and what it may do, it can.
    let itself = held.call(libc::SYS_getpid, [0; 6]).unwrap();
    assert_eq!(itself, Outcome::Returned(plugin.pid().into()));
    let text = held.place(b"/proc/self/stat").unwrap();
    let (number, arguments) = call(libc::SYS_openat, &[libc::AT_FDCWD as u64, text]);
    let Outcome::Returned(file @ 0..) = held.call(number, arguments).unwrap() else {
        panic!("it cannot read")
    };
    let (number, arguments) = call(libc::SYS_close, &[file.cast_unsigned()]);
    assert_eq!(held.call(number, arguments).unwrap(), Outcome::Returned(0));
    refused(&mut held, "supervisor", &forbidden_to_both(text));
    // TIOCSTI would type into the terminal of who started it.
    refused(&mut held, "supervisor", &[call(libc::SYS_ioctl, &[0, libc::TIOCSTI, text])]);
    ends_copies(
        &mut held,
        "supervisor",
        &[calls::NEVER, calls::NEVER_AFTER_LOADING, &[libc::SYS_bpf]].concat(),
    );
    drop(held);

    let mut held = Held::new(children(plugin.pid()).unwrap()[0]).unwrap();
    let text = held.place(b"/").unwrap();
    // For which it has no capability.
    let raw = [libc::AF_PACKET as u64, libc::SOCK_RAW as u64];
    refused(
        &mut held,
        "launcher",
        &[
            call(libc::SYS_setuid, &[u64::from(AGENT)]),
            call(libc::SYS_chroot, &[text]),
            call(libc::SYS_socket, &raw),
            call(libc::SYS_clock_settime, &[0, text]),
        ],
    );
    ends_copies(&mut held, "launcher", calls::NEVER);
    drop(held);
    plugin.wait_ticks(2).unwrap();
    assert_eq!(plugin.stop().unwrap().status.code(), Some(0));
}

/// What ends a worker ends it for good: the next one takes its place.
#[test]
fn forbidden_calls_are_refused_in_a_worker_that_counts() {
    let _beside = beside().unwrap();
    let mut plugin = Plugin::start_and_wait(&Setup::new("return", "")).unwrap();
    plugin.wait_ticks(1).unwrap();
    let mut held = Held::new(workers(plugin.pid()).unwrap()[0]).unwrap();
    let text = held.place(b"/proc/self/stat").unwrap();
    refused(&mut held, "worker", &forbidden_to_both(text));
    let own = [
        call(libc::SYS_openat, &[libc::AT_FDCWD as u64, text]),
        call(libc::SYS_open, &[text]),
        call(libc::SYS_socket, &[libc::AF_INET as u64, libc::SOCK_STREAM as u64]),
        call(libc::SYS_socket, &[libc::AF_UNIX as u64, libc::SOCK_STREAM as u64]),
        call(libc::SYS_connect, &[]),
        call(libc::SYS_clone, &[libc::SIGCHLD as u64]),
        call(libc::SYS_clone3, &[]),
        call(libc::SYS_prctl, &[libc::PR_GET_DUMPABLE as u64]),
        call(libc::SYS_ioctl, &[0, libc::FIONREAD, text]),
        call(libc::SYS_readlink, &[text]),
        call(libc::SYS_getdents64, &[]),
    ];
    refused(&mut held, "worker", &own);
    refused(&mut held, "worker", &FORBIDDEN_BPF.map(|command| call(libc::SYS_bpf, &[command, text, 64])));
    drop(held);
    for &number in calls::NEVER_AFTER_LOADING.iter().chain(&[libc::SYS_execve, libc::SYS_ptrace]) {
        let mut worker = 0;
        wait_until("a worker that is confined", Duration::from_secs(10), || {
            worker = workers(plugin.pid())?.first().copied().unwrap_or(0);
            Ok(worker != 0 && filters(worker) == Some(3))
        })
        .unwrap();
        assert_eq!(Held::new(worker).unwrap().call(number, [0; 6]).unwrap(), ENDED, "call {number}");
    }
    plugin.wait_ticks(3).unwrap();
    let finished = plugin.stop().unwrap();
    assert_eq!(finished.status.code(), Some(0));
    assert!(finished.stderr.contains("ended: signal: SIGSYS"), "{}", finished.stderr);
    assert_eq!(finished.output.counter_faults(), Vec::<String>::new());
}

/// System-call filters of a process; kernels tell since 5.9.
fn filters(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"))?.trim().parse().ok()
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
    // The agent's own, as /var/lib/netdata is.
    fs::create_dir(directory.join(LIBRARY)).unwrap();
    chown(directory.join(LIBRARY), Some(AGENT), Some(AGENT)).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the installed plugin for a few intervals by `setpriv` with these arguments; it must have counted.
fn counts(directory: &Path, privileges: &[&str]) {
    counts_by(directory, &[&["setpriv"], privileges, &["--clear-groups"]].concat());
}

/// It has kept the mark of its first attachment in the agent's directory.
fn kept_mark(directory: &Path) {
    let mark = fs::read_to_string(directory.join(LIBRARY).join("ebpf.plugin.first-attach")).unwrap();
    assert!(mark.starts_with("clean 0 "), "{mark}");
}

/// Runs the installed plugin by `command`; it must have counted.
fn counts_by(directory: &Path, command: &[&str]) {
    let output = Command::new(command[0])
        .args(&command[1..])
        .arg(directory.join("supervisor"))
        .args(["1", "--iterations", "4"])
        .current_dir("/")
        .env("NETDATA_USER_CONFIG_DIR", directory)
        .env("NETDATA_LIB_DIR", directory.join(LIBRARY))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let reads = out.lines().filter(|line| line.starts_with("SET vfs_read = ") && !line.ends_with("= 0"));
    assert!(output.status.success() && reads.count() > 0, "{command:?}: {}\n{log}\n{out}", output.status);
    assert!(log.contains("the supervisor is confined: "), "{log}");
    eprintln!("{command:?}: {log}");
}

#[test]
fn set_uid_root_started_by_the_agents_user() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    install(directory.path(), 0o4750);
    let (uid, gid) = (format!("--reuid={AGENT}"), format!("--regid={AGENT}"));
    counts(directory.path(), &[&uid, &gid]);
    kept_mark(directory.path());
}

/// What a user names by the environment or the command line is read and written with this user's rights.
#[test]
fn set_uid_root_lends_nobody_its_rights_to_files() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    install(directory.path(), 0o4750);
    let secret = directory.path().join("secret");
    fs::write(&secret, "nobody-may-see-this\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["ebpf.conf", "apps_groups.conf", "ebpf_kernel_reject_list.txt", "ebpf.d/process.toml"] {
        let link = directory.path().join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&secret, &link).unwrap();
    }
    let as_agent = |args: &[&str]| {
        let output = Command::new("setpriv")
            .args([&format!("--reuid={AGENT}"), &format!("--regid={AGENT}"), "--clear-groups"])
            .arg(directory.path().join("supervisor"))
            .args(args)
            .env("NETDATA_USER_CONFIG_DIR", directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!told.contains("nobody-may-see-this"), "{args:?}: {told}");
        (output.status.code(), told)
    };
    assert!(
        as_agent(&["--print-config"]).1.contains("ebpf.conf: exists but cannot be read: Permission denied")
    );
    let path = secret.to_str().unwrap();
    assert_eq!(as_agent(&["--check", "--facts", path]).0, Some(64));
    assert!(as_agent(&["--check", "--save-facts", path]).1.contains("Permission denied"));
    assert_eq!(fs::read_to_string(&secret).unwrap(), "nobody-may-see-this\n");
    let (status, told) = as_agent(&["1", "--iterations", "1"]);
    assert_eq!(status, Some(0), "{told}");
    assert_eq!(told.matches("Permission denied").count(), 4, "{told}");
}

#[test]
fn file_capabilities_started_by_the_agents_user() {
    let _beside = beside().unwrap();
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
    kept_mark(directory.path());
}

/// The bounding set of the agent's stock unit (netdata.service): CAP_SYS_ADMIN has to do for CAP_BPF and CAP_PERFMON.
#[test]
fn bounding_set_of_the_stock_unit() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    install(directory.path(), 0o4750);
    let bounding = "--bounding-set=-all,+dac_override,+dac_read_search,+fowner,+setpcap,+sys_admin,+sys_ptrace,\
                    +sys_resource,+net_raw,+sys_chroot,+net_admin,+setgid,+setuid,+chown";
    let (uid, gid) = (format!("--reuid={AGENT}"), format!("--regid={AGENT}"));
    counts(directory.path(), &[&uid, &gid, bounding]);
    kept_mark(directory.path());
}

/// The bounding set of Debian's unit with what `conf/netdata.service.d/ebpf.conf` adds: root may not write everywhere.
#[test]
fn bounding_set_of_debians_unit() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    install(directory.path(), 0o4750);
    let bounding = "--bounding-set=-all,+dac_read_search,+sys_ptrace,+setgid,+setuid,+net_raw,+audit_write,\
                    +bpf,+perfmon,+sys_admin,+sys_resource";
    let (uid, gid) = (format!("--reuid={AGENT}"), format!("--regid={AGENT}"));
    counts(directory.path(), &[&uid, &gid, bounding]);
    kept_mark(directory.path());
}

/// As in a container that runs as root with the capabilities that it needs and no others.
#[test]
fn root_with_few_capabilities() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    install(directory.path(), 0o750);
    let bounding = "--bounding-set=-all,+bpf,+perfmon,+sys_admin,+sys_resource,+dac_read_search,+setgid";
    counts(directory.path(), &[bounding, "--inh-caps=-all"]);
}

/// Root in a container as `docker run --cap-add SYS_ADMIN --cap-add SYS_RESOURCE` makes it: Docker's capabilities and these two, namespaces of its
/// own, processes among them, and /sys read-only.
#[test]
fn root_in_a_container() {
    let _beside = beside().unwrap();
    let directory = tempfile::tempdir().unwrap();
    install(directory.path(), 0o750);
    let namespaces =
        "--mount --propagation private --ipc --uts --cgroup --net --pid --fork --kill-child --mount-proc";
    let mut command = vec!["unshare"];
    command.extend(namespaces.split(' '));
    command.extend(["sh", "-c", "mount -o remount,ro,bind /sys && exec \"$@\"", "sh", "setpriv"]);
    let bounding = "--bounding-set=-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
                    +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap,+sys_admin,+sys_resource";
    command.extend([bounding, "--inh-caps=-all"]);
    counts_by(directory.path(), &command);
}
