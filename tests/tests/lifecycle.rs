//! "Shows" 4: whatever ends the plugin, nothing is left after two seconds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::compare::{group_differences, sum_differences};
use tests::load::Load;
use tests::plugin::{Plugin, STOP_LIMIT, Setup, only_process};
use tests::residue::{Residue, wait_dead};
use tests::system::{alone, is_alive, workers};

const GROUPS: &str = "load: ebpft_life\n";

/// Ends a running plugin by `end` and checks that all is gone. `status`: exit code where it may choose.
fn ends_clean(end: impl FnOnce(&mut Plugin), status: Option<i32>) {
    let _alone = alone().unwrap();
    let before = Residue::now().unwrap();
    let mut plugin = Plugin::start_and_wait(&Setup::new("return", GROUPS)).unwrap();
    assert!(before.new_objects().unwrap() > 0, "the plugin attached nothing, so nothing would be tested");
    let workers = workers(plugin.pid()).unwrap();
    assert!(!workers.is_empty(), "no worker is running");
    end(&mut plugin);
    let finished = plugin.finish(STOP_LIMIT).unwrap();
    assert_eq!(finished.status.code(), status, "{}", finished.stderr);
    wait_dead(&workers, STOP_LIMIT).unwrap();
    before.wait_gone(STOP_LIMIT).unwrap();
}

#[test]
fn signals_that_ask() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        ends_clean(|plugin| plugin.signal(signal).unwrap(), Some(0));
    }
}

#[test]
fn end_of_piped_stdin() {
    ends_clean(Plugin::close_stdin, Some(0));
}

#[test]
fn closed_stdout() {
    ends_clean(|plugin| plugin.close_stdout().unwrap(), Some(0));
}

#[test]
fn kill_of_the_supervisor() {
    ends_clean(|plugin| plugin.signal(Signal::SIGKILL).unwrap(), None);
}

#[test]
fn a_signal_during_the_start() {
    for delay_ms in [0, 20, 100, 300] {
        let _alone = alone().unwrap();
        let before = Residue::now().unwrap();
        let plugin = Plugin::start(&Setup::new("return", GROUPS)).unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        plugin.signal(Signal::SIGTERM).unwrap();
        let finished = plugin.finish(STOP_LIMIT).unwrap();
        // Before the program has set up its signals, the signal itself ends it.
        assert!(finished.status.code() == Some(0) || delay_ms == 0, "{delay_ms} ms: {:?}", finished.status);
        before.wait_gone(STOP_LIMIT).unwrap();
    }
}

/// A killed worker is replaced, and what happens while there is none is counted, too: nothing is lost, nothing counted twice.
#[test]
fn a_killed_worker_is_replaced() {
    let _alone = alone().unwrap();
    let before = Residue::now().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut plugin = Plugin::start_and_wait(&Setup::new("return", GROUPS)).unwrap();
    Load::run(directory.path(), "ebpft_life", "open=101 read=50:10").unwrap();
    plugin.wait_ticks(3).unwrap();
    let killed = workers(plugin.pid()).unwrap();
    for &worker in &killed {
        kill(Pid::from_raw(worker.cast_signed()), Signal::SIGKILL).unwrap();
    }
    Load::run(directory.path(), "ebpft_life", "open=103 write=70:10 fork=9").unwrap();
    wait_dead(&killed, STOP_LIMIT).unwrap();
    plugin.wait_ticks(4).unwrap();
    let finished = plugin.stop().unwrap();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let shown = |chart: &str| finished.output.total(chart, "load");
    assert_eq!([shown("apps.file_open"), shown("apps.vfs_write_call")], [204, 70], "{}", finished.stderr);
    assert_eq!(shown("apps.task_close"), 11, "{}", finished.stderr);
    let mut faults = finished.output.counter_faults();
    faults.extend(sum_differences(&finished.output, true));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    before.wait_gone(STOP_LIMIT).unwrap();
}

/// Where SIGCHLD is ignored the kernel reaps children without a word; whoever started the plugin may have wanted that, for children of its own.
#[test]
fn a_worker_is_replaced_where_sigchld_was_ignored() {
    use nix::sys::signal::{SigHandler, SigSet, signal};
    let _alone = alone().unwrap();
    let blocked = SigSet::all();
    // SAFETY: neither action runs code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.unwrap();
    let before = blocked.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK).unwrap();
    let global = "ebpf load mode = return\n    ebpf co-re tracing = tracepoint";
    let setup = Setup { ebpf_conf: Some(only_process(global)), ..Setup::new("return", GROUPS) };
    let plugin = Plugin::start(&setup);
    before.thread_set_mask().unwrap();
    // SAFETY: as above.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.unwrap();
    let mut plugin = plugin.unwrap();
    plugin.wait_first_data().unwrap();
    let killed = workers(plugin.pid()).unwrap();
    for &worker in &killed {
        kill(Pid::from_raw(worker.cast_signed()), Signal::SIGKILL).unwrap();
    }
    plugin.wait_ticks(4).unwrap();
    let finished = plugin.stop().unwrap();
    assert!(finished.stderr.contains("nothing was detached"), "{}", finished.stderr);
}

/// A second instance beside the first: both count, or the second says why not; the first stays exact.
#[test]
fn a_second_instance_does_not_disturb_the_first() {
    let _alone = alone().unwrap();
    let before = Residue::now().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut first = Plugin::start_and_wait(&Setup::new("return", GROUPS)).unwrap();
    let mut second = Plugin::start(&Setup::new("return", GROUPS)).unwrap();
    let second_counts = second.wait_first_data().is_ok();
    let expected = Load::run(directory.path(), "ebpft_life", "open=101 read=50:10 fork=5").unwrap();
    first.wait_ticks(3).unwrap();
    if second_counts {
        second.wait_ticks(1).unwrap();
    } else {
        assert!(!second.stderr().is_empty(), "the second instance gives no reason");
    }
    let mut both = vec![first.stop().unwrap()];
    if second_counts || is_alive(second.pid()) {
        both.push(second.stop().unwrap());
    }
    for finished in both.iter().take(1 + usize::from(second_counts)) {
        let differences = group_differences(&finished.output, "load", &expected, true);
        assert!(differences.is_empty(), "{differences:#?}");
    }
    before.wait_gone(STOP_LIMIT).unwrap();
}

/// Without the right to load eBPF programs it says so, prints no number and ends.
#[test]
fn not_root_is_a_clear_message() {
    use std::os::unix::process::CommandExt;
    let _alone = alone().unwrap();
    // A home that another user can reach.
    let directory = tempfile::Builder::new().permissions(permissions()).tempdir().unwrap();
    for program in ["supervisor", "ebpf-worker"] {
        let from = tests::system::program_directory().unwrap().join(program);
        std::fs::copy(from, directory.path().join(program)).unwrap();
    }
    let output = std::process::Command::new("timeout")
        .args(["--signal=TERM", "20"])
        .arg(directory.path().join("supervisor"))
        .args(["1", "--iterations", "2"])
        .uid(65534)
        .gid(65534)
        .current_dir("/")
        .env("NETDATA_USER_CONFIG_DIR", directory.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(
        log.contains("root") || log.contains("cap_") || log.contains("capabilit"),
        "no clear message:\n{log}"
    );
    assert!(!output.stdout.windows(4).any(|word| word == b"SET "), "numbers without a worker");
    assert_ne!(output.status.code(), Some(124), "it did not end by itself");
}

fn permissions() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o755)
}
