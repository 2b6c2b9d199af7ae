//! Joins the rows of one process: it has one for each CPU that it ran on, and the supervisor need not know.

use std::collections::HashMap;

use shared::snapshot::{Identity, Snapshot};

/// Rows of one process joined: a process has one for each CPU that it ran on. Keeps the first row's place.
///
/// `renamed`: rows, by number, whose name the process gave itself: it is the name of all its rows of the epoch.
pub fn join_rows(snapshot: &mut Snapshot, renamed: &[usize], counters: usize) {
    let mut places: HashMap<(u32, u32), usize> = HashMap::with_capacity(snapshot.identities.len());
    let mut kept: Vec<Identity> = Vec::with_capacity(snapshot.identities.len());
    let mut values: Vec<u64> = Vec::with_capacity(snapshot.values.len());
    let names: HashMap<(u32, u32), [u8; 16]> = renamed
        .iter()
        .map(|&row| &snapshot.identities[row])
        .map(|identity| ((identity.tgid, identity.generation), identity.comm))
        .collect();
    for (identity, row) in snapshot.identities.drain(..).zip(snapshot.values.chunks(counters)) {
        let place = *places.entry((identity.tgid, identity.generation)).or_insert(kept.len());
        let Some(same) = kept.get_mut(place) else {
            kept.push(identity);
            values.extend_from_slice(row);
            continue;
        };
        same.ended |= identity.ended;
        if same.comm_of_thread && !identity.comm_of_thread {
            same.comm = identity.comm;
            same.comm_of_thread = false;
        }
        if same.start_ns == 0 {
            same.start_ns = identity.start_ns;
        }
        // The row made at the fork names the creator; one made after the creator's end names whoever adopted the orphan.
        if same.parent_tgid <= 1 && identity.parent_tgid != 0 {
            same.parent_tgid = identity.parent_tgid;
        }
        for (sum, value) in values[place * counters..].iter_mut().zip(row) {
            *sum += value;
        }
    }
    for (process, comm) in names {
        if let Some(identity) = places.get(&process).and_then(|&place| kept.get_mut(place)) {
            identity.comm = comm;
            identity.comm_of_thread = false;
        }
    }
    snapshot.identities = kept;
    snapshot.values = values;
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::snapshot::Missed;

    fn row(tgid: u32, parent_tgid: u32, name: &[u8; 4], comm_of_thread: bool) -> Identity {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(name);
        Identity { tgid, parent_tgid, generation: 1, start_ns: 0, comm, comm_of_thread, ended: false }
    }

    #[test]
    fn rows_of_one_process_become_one_that_knows_most() {
        let mut snapshot = Snapshot {
            epoch: 1,
            taken_at_ns: 0,
            identities: vec![
                row(7, 1, b"thr0", true),
                row(8, 7, b"new8", false),
                row(7, 5, b"main", false),
                row(8, 7, b"old8", false),
            ],
            values: vec![1, 10, 2, 20, 4, 40, 8, 80],
            unattributed: vec![0, 0],
            command_lines: Vec::new(),
            flows: Vec::new(),
            missed: Missed::default(),
            baseline: shared::snapshot::Baseline::default(),
        };
        join_rows(&mut snapshot, &[1], 2);
        assert_eq!(snapshot.values, [5, 50, 10, 100]);
        assert_eq!(snapshot.identities[1].name(), b"new8");
        assert_eq!(snapshot.identities[0].name(), b"main");
        assert_eq!((snapshot.identities[0].parent_tgid, snapshot.identities[0].comm_of_thread), (5, false));
    }
}
