//! A host that died while programs were being attached starts without them the next time, says so, and comes back by itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use tests::plugin::{Finished, Plugin, STOP_LIMIT, Setup};
use tests::residue::Residue;
use tests::system::{alone, program_directory};

const FILE: &str = "ebpf.plugin.first-attach";
/// First time without programs, s.
const REST_S: u64 = 3600;
/// A boot that no machine has.
const OTHER_BOOT: &str = "00000000-0000-0000-0000-000000000000";

/// The agent's library directory, with the mark in it.
struct Library(tempfile::TempDir);

impl Library {
    fn new() -> Self {
        Library(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join(FILE)
    }

    fn setup(&self) -> Setup {
        Setup { library: Some(self.0.path().to_owned()), ..Setup::new("entry", "") }
    }

    /// The words of the mark: state, strikes, time, boot, versions.
    fn mark(&self) -> [String; 5] {
        let text = fs::read_to_string(self.path()).unwrap();
        let words: Vec<String> = text.trim_end().splitn(5, ' ').map(str::to_owned).collect();
        words.try_into().unwrap()
    }

    /// Changes the mark that is there.
    fn set(&self, state: &str, boot: &str, time_s: u64) {
        let [_, strikes, _, _, versions] = self.mark();
        let strikes = if state == "resting" { "1".to_owned() } else { strikes };
        fs::write(self.path(), format!("{state} {strikes} {time_s} {boot} {versions}\n")).unwrap();
    }

    fn state(&self) -> String {
        let [state, ..] = self.mark();
        state
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn stop(plugin: Plugin) -> Finished {
    let finished = plugin.stop().unwrap();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    finished
}

/// Exit code and text of `--check`, which must not try what may have ended the host.
fn check(library: &Path) -> (Option<i32>, String) {
    let output = Command::new(program_directory().unwrap().join("supervisor"))
        .args(["--check", "--quiet"])
        .env("NETDATA_LIB_DIR", library)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_killed_plugin_is_no_lost_host() {
    let _alone = alone().unwrap();
    let library = Library::new();
    let plugin = Plugin::start_and_wait(&library.setup()).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let [state, strikes, time_s, of_boot, _] = library.mark();
    assert_eq!((state.as_str(), strikes.as_str(), of_boot.as_str()), ("attaching", "0", boot.trim()));
    assert!(now_s() - time_s.parse::<u64>().unwrap() < 120, "{time_s}");
    plugin.signal(Signal::SIGKILL).unwrap();
    plugin.finish(STOP_LIMIT).unwrap();
    assert_eq!(library.state(), "attaching");
    stop(Plugin::start_and_wait(&library.setup()).unwrap());
    assert_eq!(library.state(), "clean");
    // Of another boot, and in order.
    library.set("clean", OTHER_BOOT, now_s() - 60);
    stop(Plugin::start_and_wait(&library.setup()).unwrap());
}

#[test]
fn a_lost_host_starts_without_programs_and_comes_back() {
    let _alone = alone().unwrap();
    let library = Library::new();
    stop(Plugin::start_and_wait(&library.setup()).unwrap());
    library.set("attaching", OTHER_BOOT, now_s() - 60);
    let before = Residue::now().unwrap();
    // It changes nothing, so it comes first.
    let (code, text) = check(library.0.path());
    assert_eq!(code, Some(30), "{text}");
    assert!(text.contains("the host went down") && text.contains(FILE), "{text}");
    assert_eq!(library.state(), "attaching");

    let plugin = Plugin::start(&library.setup()).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(before.new_objects().unwrap(), 0, "something is attached");
    let finished = stop(plugin);
    assert!(finished.output.charts.is_empty() && finished.stdout.trim().is_empty(), "{}", finished.stdout);
    let told = "(1 times in a row); nothing is attached for 60 min";
    assert!(finished.stderr.contains(told), "{}", finished.stderr);
    assert_eq!(library.mark()[..2], ["resting", "1"]);

    // The rest is nearly over: the plugin ends as one that the agent starts again, and then it counts.
    library.set("resting", OTHER_BOOT, now_s() - REST_S + 4);
    let finished = Plugin::start(&library.setup()).unwrap().finish(Duration::from_secs(15)).unwrap();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("ends: programs may be attached again"), "{}", finished.stderr);
    stop(Plugin::start_and_wait(&library.setup()).unwrap());
    assert_eq!(library.state(), "clean");
    assert_eq!(check(library.0.path()).0, check(Path::new("/nonexistent")).0);
}
