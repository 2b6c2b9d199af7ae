//! Takes the place of `ebpf-worker` and does what a compromised worker might: `ROGUE` says what.

#![allow(clippy::unwrap_used, reason = "what goes wrong here ends this process, as it would end a worker")]

use std::thread::sleep;
use std::time::Duration;

use launcher::server::{self, Job};
use shared::snapshot::{Baseline, Identity, Missed, Snapshot};
use shared::table::Table;
use shared::wire::{self, Inventory, LogLevel, Plan, ToSupervisor, ToWorker};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(job) = server::serve(&arguments[1], &arguments[2]).unwrap() {
        act(&job, &std::env::var("ROGUE").unwrap());
    }
}

fn send(job: &Job, message: &ToSupervisor) {
    job.messages.send(&wire::encode(message).unwrap()).unwrap();
}

fn act(job: &Job, how: &str) {
    let mut chance = tests::chaos::Chance::new(std::process::id().into());
    let first: ToWorker = wire::decode(&job.orders.recv().unwrap()).unwrap();
    match how {
        "random" => {
            let bytes: Vec<u8> = (0..chance.below(100_000) + 1).map(|_| chance.below(256) as u8).collect();
            job.messages.send(&bytes).unwrap();
        }
        "truncated" => {
            let frame = wire::encode(&ready()).unwrap();
            job.messages.send(&frame[..frame.len() / 2]).unwrap();
        }
        // Longer than any frame may be: refused long before it is whole.
        "huge" => job.messages.send(&vec![4; 3 * wire::MAX_FRAME]).unwrap(),
        "endless log" => loop {
            send(job, &ToSupervisor::Log { level: LogLevel::Error, text: "SET x = 1\n".repeat(10_000) });
        },
        "descriptors" => {
            let null = std::fs::File::open("/dev/null").unwrap();
            let many = vec![std::os::fd::AsFd::as_fd(&null); 2000];
            job.messages.send_descriptors(&many).unwrap();
        }
        "out of order" => send(job, &ToSupervisor::Snapshot(snapshot(1, 1))),
        "ready twice" => (0..2).for_each(|_| send(job, &ready())),
        _ => count(job, how, matches!(first, ToWorker::Adopt(_))),
    }
    sleep(Duration::from_secs(60));
}

/// Answers as a worker does, but with snapshots that are wrong.
fn count(job: &Job, how: &str, adopts: bool) {
    send(job, &if adopts { ToSupervisor::Adopted } else { ready() });
    let mut delivered = 0;
    while let Ok(frame) = job.orders.recv() {
        let ToWorker::Collect { merged_epoch, .. } = wire::decode(&frame).unwrap() else { return };
        if how == "spins at once" || (how == "spins later" && delivered == 2) {
            send(job, &ToSupervisor::Log { level: LogLevel::Info, text: "spinning".to_owned() });
            loop {
                std::hint::spin_loop();
            }
        }
        delivered += 1;
        let snapshot = match how {
            "replayed" => {
                // The right one, and again, unasked.
                send(job, &ToSupervisor::Snapshot(snapshot(merged_epoch + 1, 1)));
                snapshot(merged_epoch + 1, 1)
            }
            "skips epochs" => snapshot(merged_epoch + 7, 1),
            "wrong shape" => Snapshot { values: vec![1; 3], ..snapshot(merged_epoch + 1, 1) },
            "many processes" => snapshot(merged_epoch + 1, 200_000),
            "spins later" | "is honest" => snapshot(merged_epoch + 1, 1),
            other => panic!("no such mischief: {other}"),
        };
        send(job, &ToSupervisor::Snapshot(snapshot));
    }
}

fn ready() -> ToSupervisor {
    ToSupervisor::Ready(
        Plan { flavour: "rogue\nSET x = 1".to_owned(), ..Plan::default() },
        Inventory::default(),
    )
}

fn snapshot(epoch: u64, processes: u32) -> Snapshot {
    let counters = Table::of("process").unwrap().counters().count();
    let identity = |tgid| Identity {
        tgid: 1_000_000 + tgid,
        parent_tgid: 1,
        generation: epoch as u32,
        start_ns: epoch,
        comm: *b"x\nSET y = 2\n\0\0\0\0",
        comm_of_thread: false,
        ended: false,
    };
    Snapshot {
        epoch,
        taken_at_ns: epoch,
        identities: (0..processes).map(|number| identity(number + epoch as u32 * processes)).collect(),
        values: vec![1; counters * processes as usize],
        unattributed: vec![u64::MAX; counters],
        command_lines: Vec::new(),
        flows: Vec::new(),
        missed: Missed { no_row: u64::MAX, ..Missed::default() },
        baseline: Baseline::default(),
    }
}
