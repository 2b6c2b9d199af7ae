//! Assignment of rows to groups, against a /proc of our own.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A table over a made-up /proc.
struct Bed {
    table: ProcessTable,
    proc: TempDir,
}

impl Bed {
    fn new(groups: &str) -> Self {
        let (groups, _) = AppsGroups::parse(groups.as_bytes(), Path::new("apps_groups.conf"));
        let proc = tempfile::tempdir().unwrap();
        Self { table: ProcessTable::new(groups, proc.path()), proc }
    }

    fn live(&self, tgid: u32, ppid: u32, comm: &str, command_line: &str) {
        let dir = self.proc.path().join(tgid.to_string());
        fs::create_dir_all(&dir).unwrap();
        let zeros = "0 ".repeat(17);
        fs::write(dir.join("stat"), format!("{tgid} ({comm}) S {ppid} {zeros}{tgid} 0 0\n")).unwrap();
        fs::write(dir.join("cmdline"), command_line).unwrap();
    }

    fn die(&self, tgid: u32) {
        fs::remove_dir_all(self.proc.path().join(tgid.to_string())).unwrap();
    }

    fn assign(&mut self, rows: &[Identity]) -> Vec<String> {
        let mut out = Vec::new();
        self.table.assign(rows, &mut out);
        assert_eq!(out.len(), rows.len());
        out.iter().map(|&group| self.table.groups().id(group).to_owned()).collect()
    }

    fn one(&mut self, row: Identity) -> String {
        self.assign(&[row]).remove(0)
    }

    fn seed(&mut self) -> Vec<String> {
        let used = self.table.seed().unwrap();
        used.iter().map(|&group| self.table.groups().id(group).to_owned()).collect()
    }
}

/// Started at `tgid` ms, in its first generation.
fn row(tgid: u32, parent_tgid: u32, name: &str) -> Identity {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    let start_ns = u64::from(tgid) * 1_000_000;
    Identity { tgid, parent_tgid, generation: 0, start_ns, comm, comm_of_thread: false, ended: false }
}

fn executed(row: Identity, generation: u32) -> Identity {
    Identity { generation, ..row }
}

fn ended(row: Identity) -> Identity {
    Identity { ended: true, ..row }
}

fn started(row: Identity, start_ns: u64) -> Identity {
    Identity { start_ns, ..row }
}

fn of_thread(row: Identity) -> Identity {
    Identity { comm_of_thread: true, ..row }
}

/// All orders of `rows`.
fn permutations(rows: &[Identity]) -> Vec<Vec<Identity>> {
    if rows.len() <= 1 {
        return vec![rows.to_vec()];
    }
    let mut all = Vec::new();
    for at in 0..rows.len() {
        let mut rest = rows.to_vec();
        let first = rest.remove(at);
        all.extend(permutations(&rest).into_iter().map(|mut tail| {
            tail.insert(0, first.clone());
            tail
        }));
    }
    all
}

const GROUPS: &str = "ssh: sshd\nsql: postgres*\nbuild: make gcc*\n";

#[test]
fn a_match_is_remembered_and_a_new_process_without_one_is_other() {
    let mut bed = Bed::new(GROUPS);
    for _ in 0..3 {
        assert_eq!(
            bed.assign(&[row(10, 1, "sshd"), row(11, 1, "bash"), row(10, 1, "sshd")]),
            ["ssh", "other", "ssh"]
        );
    }
    assert_eq!(bed.table.len(), 2);
    assert_eq!(bed.assign(&[]), [""; 0]);
}

#[test]
fn processes_0_and_1_are_other_whatever_they_are_called() {
    let mut bed = Bed::new("system: init systemd* swapper*\n");
    bed.live(1, 0, "systemd", "");
    assert_eq!(bed.seed(), ["other"]);
    assert_eq!(bed.assign(&[row(1, 0, "systemd"), row(0, 0, "swapper/0"), row(9, 1, "x")]), ["other"; 3]);
}

#[test]
fn groups_are_inherited_inside_one_snapshot_in_any_order_of_rows() {
    let chain =
        [row(10, 1, "sshd"), row(11, 10, "bash"), row(12, 11, "make"), row(13, 12, "sh"), row(14, 13, "ls")];
    for rows in permutations(&chain) {
        let got = Bed::new(GROUPS).assign(&rows);
        for (row, group) in rows.iter().zip(got) {
            let expected = if row.tgid < 12 { "ssh" } else { "build" };
            assert_eq!(
                group,
                expected,
                "{} in {:?}",
                row.tgid,
                rows.iter().map(|row| row.tgid).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn a_long_chain_needs_no_deep_stack() {
    let mut rows: Vec<Identity> = (10..100_010).map(|tgid| row(tgid, tgid - 1, "sh")).collect();
    rows[0] = row(10, 1, "sshd");
    rows.reverse();
    assert!(Bed::new(GROUPS).assign(&rows).iter().all(|group| group == "ssh"));
}

#[test]
fn a_circle_of_parents_ends() {
    let mut bed = Bed::new(GROUPS);
    assert_eq!(
        bed.assign(&[row(10, 12, "a"), row(11, 10, "b"), row(12, 11, "c"), row(13, 13, "d")]),
        ["other"; 4]
    );
    bed.live(20, 21, "a", "");
    bed.live(21, 20, "b", "");
    assert_eq!(bed.one(row(22, 20, "c")), "other");
}

#[test]
fn exec_matches_again_and_else_keeps_what_was_inherited() {
    let mut bed = Bed::new(GROUPS);
    let shell = row(11, 10, "bash");
    assert_eq!(bed.assign(&[row(10, 1, "sshd"), shell.clone()]), ["ssh", "ssh"]);
    assert_eq!(bed.one(executed(row(11, 10, "make"), 1)), "build");
    assert_eq!(bed.one(executed(row(11, 10, "python"), 2)), "ssh", "not of `make`, which it has been");
    assert_eq!(bed.one(executed(row(11, 10, "postgres"), 2)), "sql", "renamed without exec");
}

#[test]
fn programs_of_one_process_in_one_snapshot_keep_their_own_groups() {
    let rows = [
        row(10, 1, "sshd"),
        row(11, 10, "bash"),
        executed(row(11, 10, "make"), 1),
        executed(row(11, 10, "xz"), 2),
    ];
    for rows in permutations(&rows) {
        let mut bed = Bed::new(GROUPS);
        let got = bed.assign(&rows);
        for (row, group) in rows.iter().zip(got) {
            assert_eq!(group, if row.name() == b"make" { "build" } else { "ssh" });
        }
        // The last program is what is remembered: a thread of it has no name of its own.
        assert_eq!(bed.one(of_thread(executed(row(11, 10, "worker"), 2))), "ssh");
        assert_eq!(bed.table.processes[&11].comm.as_bytes(), b"xz");
    }
}

#[test]
fn a_late_row_of_an_earlier_program_does_not_take_the_place_of_the_later() {
    let mut bed = Bed::new(GROUPS);
    assert_eq!(bed.one(executed(row(11, 1, "make"), 5)), "build");
    assert_eq!(bed.one(executed(row(11, 1, "sshd"), 4)), "ssh");
    assert_eq!(bed.table.processes[&11].comm.as_bytes(), b"make");
    let wrapped = executed(row(12, 1, "sshd"), 0x7fff_ffff);
    assert_eq!(bed.assign(&[executed(row(12, 1, "make"), 0), wrapped]), ["build", "ssh"]);
    assert_eq!(bed.table.processes[&12].comm.as_bytes(), b"make");
}

#[test]
fn a_child_belongs_to_what_its_parent_was_when_it_was_created() {
    let parent_before = executed(row(10, 1, "make"), 3);
    let parent_after = executed(row(10, 1, "sshd"), 4);
    // It has executed nothing: it is a copy of what its parent was.
    let copy = executed(row(11, 10, "make"), 3);
    let copy_then_other = executed(row(11, 10, "xz"), 4);
    for rows in
        permutations(&[parent_before.clone(), parent_after.clone(), copy.clone(), copy_then_other.clone()])
    {
        let got = Bed::new(GROUPS).assign(&rows);
        for (row, group) in rows.iter().zip(got) {
            assert_eq!(group, if row.name() == b"sshd" { "ssh" } else { "build" });
        }
    }
    // The same, with the parent known from before.
    let mut bed = Bed::new(GROUPS);
    bed.one(parent_before.clone());
    assert_eq!(bed.assign(&[parent_after.clone(), copy, copy_then_other]), ["ssh", "build", "build"]);
    // Nothing tells: the parent's latest program.
    let unknown = executed(row(12, 10, "xz"), 9);
    for rows in permutations(&[parent_before, parent_after, unknown]) {
        let got = Bed::new(GROUPS).assign(&rows);
        let at = rows.iter().position(|row| row.tgid == 12).unwrap();
        assert_eq!(got[at], "ssh");
    }
    // And it stays, whatever the parent becomes.
    assert_eq!(
        bed.assign(&[executed(row(10, 1, "bash"), 5), executed(row(11, 10, "xz"), 4)]),
        ["other", "build"]
    );
}

#[test]
fn a_reused_id_is_another_process() {
    let mut bed = Bed::new(GROUPS);
    assert_eq!(bed.assign(&[row(10, 1, "sshd"), row(11, 10, "bash")]), ["ssh", "ssh"]);
    assert_eq!(bed.one(started(row(11, 1, "bash"), 99_000_000)), "other");
    // Both in one snapshot, and children of both.
    let old = ended(row(20, 10, "sh"));
    let new = started(row(20, 1, "postgres"), 500_000_000);
    let old_child = row(21, 20, "sh");
    let new_child = started(row(22, 20, "sh"), 600_000_000);
    for rows in permutations(&[old, new, old_child, new_child]) {
        let mut bed = Bed::new(GROUPS);
        bed.one(row(10, 1, "sshd"));
        let got = bed.assign(&rows);
        for (row, group) in rows.iter().zip(got) {
            let is_new = row.start_ns >= 500_000_000;
            assert_eq!(group, if is_new { "sql" } else { "ssh" }, "{row:?}");
        }
        assert_eq!(bed.one(started(row(20, 1, "postgres"), 500_000_000)), "sql");
        assert!(!bed.table.processes[&20].ended);
    }
}

#[test]
fn the_present_owner_of_a_parents_id_is_no_parent_if_it_is_younger() {
    let mut bed = Bed::new(GROUPS);
    bed.live(10, 1, "sshd", "");
    bed.one(started(row(10, 1, "sshd"), 900_000_000));
    assert_eq!(bed.one(row(11, 10, "bash")), "other");
}

#[test]
fn without_starts_the_end_tells_that_an_id_is_free() {
    let mut bed = Bed::new(GROUPS);
    assert_eq!(bed.one(ended(started(row(11, 0, "make"), 0))), "build");
    assert_eq!(bed.one(started(row(11, 0, "xz"), 0)), "other");
    // With the same name it may be a late row of the one that ended, but not for long.
    bed.live(9, 1, "make", "");
    bed.live(12, 9, "xz", "");
    assert_eq!(bed.one(started(row(12, 0, "xz"), 0)), "build");
    assert_eq!(bed.one(ended(started(row(12, 0, "xz"), 0))), "build");
    assert_eq!(bed.one(started(row(12, 0, "xz"), 0)), "build", "of another module, in the same epoch");
    assert_eq!(bed.one(row(15, 1, "sshd")), "ssh");
    bed.live(12, 15, "xz", "");
    assert_eq!(bed.one(started(row(12, 0, "xz"), 0)), "ssh");
}

#[test]
fn all_rows_of_an_ended_process_are_assigned_and_it_is_a_parent_a_while() {
    let mut bed = Bed::new(GROUPS);
    bed.one(row(10, 1, "sshd"));
    let rows = [ended(row(12, 10, "sh")), row(12, 10, "sh"), ended(row(10, 1, "sshd"))];
    assert_eq!(bed.assign(&rows), ["ssh"; 3]);
    assert_eq!(bed.one(row(13, 12, "daemon")), "ssh", "its creator ended in the epoch before");
    assert_eq!(bed.one(row(12, 10, "sh")), "ssh", "another module's row of it");
    for _ in 0..KEEP_ENDED_CALLS {
        bed.assign(&[]);
    }
    assert_eq!(bed.table.len(), 1, "only the daemon is left");
    assert_eq!(bed.one(row(14, 12, "late")), "other");
}

#[test]
fn a_processes_id_taken_again_outlives_the_end_of_the_first() {
    let mut bed = Bed::new(GROUPS);
    bed.one(ended(row(10, 1, "sshd")));
    bed.one(started(row(10, 1, "make"), 77_000_000));
    for _ in 0..2 * KEEP_ENDED_CALLS {
        bed.assign(&[]);
    }
    assert_eq!(bed.table.len(), 1);
}

#[test]
fn the_name_of_a_thread_is_not_that_of_its_process() {
    let mut bed = Bed::new("java: java\nbad: worker\nsql: postgres");
    // Known from before.
    bed.one(row(10, 1, "java"));
    assert_eq!(bed.one(of_thread(row(10, 1, "worker"))), "java");
    // Named by another row of the snapshot, whichever comes first.
    let rows = [of_thread(row(11, 1, "worker")), row(11, 1, "java")];
    assert!(permutations(&rows).iter().all(|rows| bed.assign(rows) == ["java", "java"]));
    // Named by /proc, unless the process has ended; the thread's name is the last resort.
    bed.live(12, 1, "java", "");
    bed.live(13, 1, "java", "");
    assert_eq!(bed.one(of_thread(row(12, 1, "worker"))), "java");
    assert_eq!(bed.one(ended(of_thread(row(13, 1, "worker")))), "bad");
    assert_eq!(bed.one(of_thread(row(14, 1, "worker"))), "bad");
    assert_eq!(bed.one(row(14, 1, "java")), "java", "corrected as soon as it is known");
    assert_eq!(bed.one(of_thread(row(14, 1, "worker"))), "java");
    // After an exec the remembered name is the old one.
    bed.live(10, 1, "postgres", "");
    assert_eq!(bed.one(of_thread(executed(row(10, 1, "worker"), 1))), "sql");
}

#[test]
fn the_release_row_of_a_thread_tells_neither_start_nor_parent() {
    let mut bed = Bed::new(GROUPS);
    bed.one(row(10, 1, "sshd"));
    let release = Identity { start_ns: 0, parent_tgid: 0, ended: true, ..of_thread(row(11, 0, "worker")) };
    let rows = [release.clone(), row(11, 10, "bash")];
    for rows in permutations(&rows) {
        assert_eq!(bed.assign(&rows), ["ssh", "ssh"]);
    }
    assert!(bed.table.processes[&11].ended);
    // Alone, of a process that is known.
    bed.one(row(12, 10, "bash"));
    assert_eq!(bed.one(Identity { tgid: 12, ..release }), "ssh");
    assert!(bed.table.processes[&12].ended);
}

#[test]
fn parents_that_no_row_named_are_found_in_proc() {
    let mut bed = Bed::new(GROUPS);
    bed.live(10, 1, "sshd", "");
    bed.live(11, 10, "su", "");
    bed.live(12, 11, "a ) b (", "");
    assert_eq!(bed.assign(&[row(13, 12, "ls"), row(14, 12, "ls")]), ["ssh", "ssh"]);
    assert_eq!(bed.table.len(), 5);
    assert_eq!(bed.one(row(15, 999, "ls")), "other", "the parent is gone");
    // The kernel did not tell the parent.
    bed.live(16, 12, "ls", "");
    assert_eq!(bed.assign(&[row(16, 0, "ls"), row(17, 0, "ls")]), ["ssh", "other"]);
    bed.live(18, 12, "ls", "");
    assert_eq!(bed.one(ended(row(18, 0, "ls"))), "other", "its id may be another's by now");
}

#[test]
fn the_search_for_ancestors_is_bounded() {
    let mut bed = Bed::new(GROUPS);
    bed.live(2, 1, "sshd", "");
    (3..200).for_each(|tgid| bed.live(tgid, tgid - 1, "sh", ""));
    assert_eq!(bed.one(row(60, 59, "ls")), "ssh");
    assert_eq!(bed.one(row(200, 199, "ls")), "other", "64 levels up nothing is known");
}

#[test]
fn a_scan_of_proc_makes_idle_processes_known() {
    let mut bed = Bed::new("ssh: sshd\nmedia: 'Plex Media'\nkernel: kthreadd\nnone: nobody");
    bed.live(1, 0, "systemd", "");
    bed.live(2, 0, "kthreadd", "");
    bed.live(3, 2, "kworker/0:1-events_long_name", "");
    bed.live(10, 1, "sshd", "");
    bed.live(11, 10, "bash", "");
    bed.live(12, 1, "Plex Media", "");
    fs::create_dir(bed.proc.path().join("sys")).unwrap();
    fs::create_dir(bed.proc.path().join("99")).unwrap();
    assert_eq!(bed.seed(), ["ssh", "media", "kernel", "other"]);
    assert_eq!(bed.table.len(), 6);
    // The first row of each: of the same process, whose start is now exact.
    (2..12).filter(|tgid| [2, 3, 10, 11].contains(tgid)).for_each(|tgid| bed.die(tgid));
    assert_eq!(bed.one(executed(row(11, 10, "bash"), 7)), "ssh");
    assert_eq!(bed.table.processes[&11].start, Start::Monotonic(11_000_000));
    assert_eq!(bed.table.processes[&11].generation, Some(7));
    assert_eq!(bed.one(row(3, 2, "kworker/0:1")), "kernel");
    assert_eq!(bed.one(row(20, 10, "bash")), "ssh");
    // Another process with the id of one that was scanned: it started later (ids tell ticks of 10 ms in this
    // /proc).
    assert_eq!(bed.one(started(row(12, 1, "x"), 130_000_000)), "other");
}

#[test]
fn no_proc_is_an_error_of_the_scan_only() {
    let (groups, _) = AppsGroups::parse(GROUPS.as_bytes(), Path::new("f"));
    let mut table = ProcessTable::new(groups, "/nonexistent");
    assert!(table.seed().unwrap_err().to_string().contains("/nonexistent"));
    let mut out = Vec::new();
    table.assign(&[row(10, 9, "sshd")], &mut out);
    assert_eq!(table.groups().id(out[0]), "ssh");
}

const BY_LINE: &str = "plugin: *go.d.plugin*\nshell: bash\nnode: *node*";

#[test]
fn command_lines_are_read_once_for_each_program() {
    let mut bed = Bed::new(BY_LINE);
    bed.live(10, 1, "bash", "bash\0/usr/libexec/go.d.plugin\x001\0");
    assert_eq!(bed.one(row(10, 1, "bash")), "plugin");
    bed.live(10, 1, "bash", "something else\0");
    assert_eq!(bed.one(row(10, 1, "bash")), "plugin");
    assert_eq!(bed.one(row(10, 1, "renamed")), "plugin", "only exec changes a command line");
    assert_eq!(bed.one(executed(row(10, 1, "bash"), 1)), "shell");
    // A copy of the parent needs none of its own; what has executed something does.
    bed.live(20, 1, "sh", "sh\0go.d.plugin\0");
    bed.live(21, 20, "sh", "changed\0");
    bed.live(22, 20, "sh", "sh\0node\0");
    assert_eq!(bed.one(row(21, 20, "sh")), "plugin", "inherited, and its own is not read");
    assert_eq!(bed.one(row(20, 1, "sh")), "plugin");
    assert_eq!(bed.one(executed(row(22, 20, "sh"), 1)), "node");
}

#[test]
fn a_copy_takes_its_parents_result() {
    let mut bed = Bed::new(BY_LINE);
    bed.live(20, 1, "sh", "sh\0node\0");
    bed.one(row(20, 1, "sh"));
    bed.live(21, 20, "sh", "go.d.plugin\0");
    assert_eq!(bed.one(row(21, 20, "sh")), "node");
    // Where the kernel's count of execs is not inherited, equal counts mean nothing.
    bed.live(22, 20, "sh", "go.d.plugin\0");
    assert_eq!(bed.one(started(row(22, 20, "sh"), 0)), "plugin");
}

#[test]
fn unreadable_command_lines_leave_the_name() {
    let mut bed = Bed::new(BY_LINE);
    assert_eq!(bed.one(row(10, 1, "nodejs")), "node");
    bed.live(11, 1, "kworker", "");
    assert_eq!(bed.assign(&[row(11, 1, "kworker/node"), row(12, 1, "kworker/x")]), ["node", "other"]);
    bed.live(13, 1, "bash", "node\0");
    assert_eq!(bed.one(ended(row(13, 1, "bash"))), "shell", "what has ended has none");
}

#[test]
fn command_lines_of_the_kernel_are_preferred() {
    let mut bed = Bed::new(BY_LINE);
    bed.live(10, 1, "sh", "node\0");
    bed.table.remember_command_line(10, 1, b"sh\0go.d.plugin\0");
    let short_lived = [row(10, 1, "sh"), executed(row(10, 1, "sh"), 1), ended(executed(row(10, 1, "sh"), 2))];
    assert_eq!(bed.assign(&short_lived), ["other", "plugin", "other"]);
    assert!(bed.table.command_lines.is_empty());
    bed.table.remember_command_line(11, 0, b"");
    assert_eq!(Bed::new(GROUPS).table.command_lines.len() + bed.table.command_lines.len(), 0);
}

#[test]
fn only_the_last_program_of_a_process_is_asked_for_in_proc() {
    let mut bed = Bed::new(BY_LINE);
    bed.live(10, 1, "sh", "node\0");
    for rows in permutations(&[row(10, 1, "sh"), executed(row(10, 1, "sh"), 1)]) {
        let mut fresh = Bed::new(BY_LINE);
        std::mem::swap(&mut fresh.proc, &mut bed.proc);
        fresh.table.proc_root = fresh.proc.path().to_owned();
        let got = fresh.assign(&rows);
        assert!(rows.iter().zip(got).all(|(row, group)| group == ["other", "node"][row.generation as usize]));
        std::mem::swap(&mut fresh.proc, &mut bed.proc);
    }
}

#[test]
fn processes_whose_end_was_missed_are_dropped() {
    let mut bed = Bed::new(GROUPS);
    bed.live(10, 1, "sshd", "");
    let rows: Vec<Identity> = (10..200).map(|tgid| row(tgid, 1, "sshd")).collect();
    bed.assign(&rows);
    for _ in 0..2 * STALE_CALLS + 16 {
        bed.one(row(11, 1, "sshd"));
    }
    let mut left: Vec<_> = bed.table.processes.keys().copied().collect();
    left.sort_unstable();
    assert_eq!(left, [10, 11], "one lives, of the other we hear");
}

#[test]
fn a_full_table_still_assigns() {
    let mut bed = Bed::new(GROUPS);
    bed.table.limit = 10;
    (10..20).for_each(|tgid| bed.live(tgid, 1, "sshd", ""));
    bed.seed();
    for _ in 0..3 {
        assert_eq!(
            bed.assign(&[row(30, 10, "ls"), row(31, 30, "ls"), row(32, 1, "make")]),
            ["ssh", "ssh", "build"]
        );
        assert_eq!(bed.table.len(), 10);
    }
    (10..20).for_each(|tgid| bed.die(tgid));
    bed.assign(&[row(30, 10, "make"), row(31, 30, "ls"), row(32, 1, "make")]);
    assert_eq!(bed.table.len(), 3, "room was made");
    // Ended ones give way first.
    bed.table.limit = 3;
    bed.one(ended(row(31, 30, "ls")));
    bed.one(row(33, 1, "ls"));
    assert!(bed.table.processes.contains_key(&33) && !bed.table.processes.contains_key(&31));
}

#[test]
fn the_kernel_leaves_older_names_behind_the_nul() {
    let mut bed = Bed::new(GROUPS);
    let mut other_tail = row(10, 1, "sshd");
    other_tail.comm[5..9].copy_from_slice(b"make");
    assert_eq!(bed.assign(&[other_tail.clone(), row(10, 1, "sshd")]), ["ssh", "ssh"]);
    bed.table.now = 41;
    bed.one(other_tail);
    assert!(bed.table.undecided.is_empty(), "nothing new in it");
    let full = Identity { comm: *b"sshdsshdsshdsshd", ..row(12, 1, "") };
    for _ in 0..2 {
        assert_eq!(bed.one(full.clone()), "other");
    }
}

/// 100,000 processes, four rows each, twice; with the time for whoever looks.
#[test]
fn a_hundred_thousand_processes() {
    let mut bed = Bed::new(GROUPS);
    let mut rows: Vec<Identity> = (10..100_010).map(|tgid| row(tgid, tgid / 2, "sh")).collect();
    rows[0] = row(10, 1, "sshd");
    rows = [rows.clone(), rows.clone(), rows.clone(), rows].concat();
    let mut out = Vec::new();
    for round in ["new", "known"] {
        let began = std::time::Instant::now();
        bed.table.assign(&rows, &mut out);
        println!("{round}: {:?} for {} rows", began.elapsed(), rows.len());
    }
    assert!(bed.table.undecided.is_empty());
    assert_eq!(bed.table.len(), 100_000);
}

/// Any rows: no panic, no endless search, and no more processes than ids.
#[test]
fn random_rows_never_panic() {
    let mut seed: u64 = 88_172_645_463_325_252;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut bed = Bed::new("a: sh\nb: *x*\nc: y*");
    (2..12).for_each(|tgid| bed.live(tgid, (tgid * 7) % 13, "xyz", "x\0y\0"));
    bed.seed();
    let names = ["sh", "xa", "ya", "z", ""];
    for _ in 0..3000 {
        let rows: Vec<Identity> = (0..random(12))
            .map(|_| {
                let mut identity = row(random(14) as u32, random(14) as u32, names[random(5) as usize]);
                identity.generation = [0, 1, 2, u32::MAX, 0x7fff_ffff][random(5) as usize];
                identity.start_ns = random(4) * random(200_000_000);
                identity.comm_of_thread = random(4) == 0;
                identity.ended = random(5) == 0;
                identity
            })
            .collect();
        if random(3) == 0 {
            bed.table.remember_command_line(random(14) as u32, random(3) as u32, b"x");
        }
        bed.assign(&rows);
        assert!(bed.table.len() <= 14);
    }
}
