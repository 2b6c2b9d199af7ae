//! The only codec between supervisor and worker: messages to bytes and back.
//!
//! A frame is one version byte and one bincode value. What does not decode, is too long or has another version is an error that
//! ends the worker; it is never guessed at.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{LoadMode, Strategy, TypeFormat};
use crate::snapshot::{Baseline, Snapshot};

/// Raised with every change of the messages: both programs are installed together, so another version is a mixed-up installation.
const VERSION: u8 = 5;

/// Longest frame, in bytes: 100 000 rows of 256 bytes fit.
pub const MAX_FRAME: usize = 32 << 20;

/// Why a frame was not understood.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Nothing at all, or longer than `MAX_FRAME`.
    #[error("a frame of {0} bytes; 1 to {MAX_FRAME} are allowed")]
    Length(usize),
    /// Written by a program of another release.
    #[error("wire version {0}, expected {VERSION}; supervisor and ebpf-worker must be of the same release")]
    Version(u8),
    /// Not a message.
    #[error("a frame that is no message: {0}")]
    Decode(#[from] bincode::error::DecodeError),
    /// Bytes after the message.
    #[error("{0} bytes after the message")]
    Trailing(usize),
    /// Could not be written.
    #[error("cannot encode a message: {0}")]
    Encode(#[from] bincode::error::EncodeError),
}

/// What the supervisor says to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The first message: what to load and how.
    Start(StartOrder),
    /// The first message, to a worker that goes on where another stopped; it has the descriptors already.
    Adopt(Adoption),
    /// Close the epoch and send it. At most one is under way.
    Collect {
        /// Number of the tick, for the logs.
        tick: u64,
        /// The newest epoch that is merged: its rows may be cleared.
        merged_epoch: u64,
    },
    /// Detach and end.
    Shutdown,
    /// Instead of `Start`: try every hook of the table once, tell what works, and end.
    TryHooks(StartOrder),
}

/// What a worker needs to know before it loads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartOrder {
    /// With errors or without.
    pub load_mode: LoadMode,
    /// With a row for each process.
    pub apps: bool,
    /// With the arguments of executed programs, for groups that are told by them.
    pub command_lines: bool,
    /// Only this way of attaching.
    pub strategy: Option<Strategy>,
    /// With or without BTF.
    pub type_format: TypeFormat,
    /// Where `vmlinux` BTF is.
    pub btf_path: std::path::PathBuf,
    /// Entries of the hash for rows without a slot.
    pub pid_table_size: u32,
    /// With traffic by peer and by port, in modules that count it.
    pub flows: bool,
    /// The text of the user's `ebpf.d/<module>.toml`, already known to be sound.
    pub hook_overrides: Option<String>,
    /// CPU time that the worker's own code may take for one step of loading; zero: any.
    pub step: Duration,
}

/// What a worker needs to know that goes on with the maps of one before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adoption {
    /// What the descriptors are.
    pub inventory: Inventory,
    /// The newest epoch of these maps that is merged; 0 when none is.
    pub merged_epoch: u64,
    /// Of the newest epoch that is merged.
    pub baseline: Baseline,
}

/// What the descriptors are that a worker hands over, in their order: maps, programs, kprobes, and others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// Maps, one descriptor each.
    pub maps: Vec<HeldMap>,
    /// Programs, one descriptor each.
    pub programs: u32,
    /// kprobes: their event, then their link if they have one.
    pub kprobes: Vec<HeldKprobe>,
    /// Whatever else keeps a program attached.
    pub others: u32,
    /// Possible CPUs.
    pub cpus: u32,
    /// The word that tells the programs of an odd epoch.
    pub odd_epoch: u64,
    /// Rows that are to be mapped; 0 when they are not.
    pub mapped_rows: u32,
    /// Hashes may be read by batches.
    pub batches: bool,
    /// membarrier(2) is called, too.
    pub membarrier: bool,
    /// The worker must not be preempted.
    pub realtime: bool,
}

impl Inventory {
    /// How many descriptors it describes.
    pub fn descriptors(&self) -> usize {
        let kprobes = self.kprobes.iter().map(|kprobe| 1 + usize::from(kprobe.has_link)).sum::<usize>();
        self.maps.len() + self.programs as usize + kprobes + self.others as usize
    }
}

/// A map that is handed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldMap {
    /// What it is for, in the worker's words.
    pub role: String,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
}

/// A kprobe that is handed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldKprobe {
    /// At a return.
    pub at_return: bool,
    /// Attached by a link.
    pub has_link: bool,
    /// Its name in `kprobe_events`, if it has one.
    pub entry: Option<String>,
}

/// What a worker says to the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// Every hook that this kernel offers is live; the descriptors have been sent before.
    Ready(Plan, Inventory),
    /// The maps and programs of the worker before are taken over.
    Adopted,
    /// An epoch.
    Snapshot(Snapshot),
    /// Every hook that was tried.
    Tried(Vec<TriedHook>),
    /// A line for the log.
    Log {
        /// How bad.
        level: LogLevel,
        /// What.
        text: String,
    },
    /// The worker cannot do its work, and ends.
    Failed {
        /// What it was doing.
        stage: String,
        /// What went wrong, the whole chain.
        cause: String,
        /// What to do about it.
        hint: String,
    },
}

/// What a worker attached, and at what cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Which objects were loaded: `rows`, `hash` or `legacy`.
    pub flavour: String,
    /// The objects that come before those, and what they could not count, or why they could not be loaded.
    pub passed_over: Vec<String>,
    /// Each event of the table and what counts it.
    pub events: Vec<PlannedEvent>,
    /// Kernel memory of the maps, bytes.
    pub map_bytes: u64,
    /// What the worker may still do; `None` before it has given up the rest, and in forecasts.
    pub rights: Option<Rights>,
}

/// What a worker may do once it counts; as little as the kernel lets it give up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Capabilities that it keeps, because the kernel wants them for reading maps, such as `CAP_BPF`.
    pub kept: Vec<String>,
    /// Why; empty when it keeps none.
    pub why: String,
    /// Whether its system calls are filtered.
    pub seccomp: bool,
}

/// How one event is counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedEvent {
    /// The event's name in the table.
    pub event: String,
    /// The attachments, such as `fexit:__x64_sys_read`; empty when this kernel offers none.
    pub attached: Vec<String>,
    /// The candidates before it (or all), and why they were not used.
    pub refused: Vec<String>,
}

/// One hook of one kind of objects, and whether the kernel takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriedHook {
    /// The event's name in the table.
    pub event: String,
    /// `rows`, `hash` or `legacy`.
    pub objects: String,
    /// Such as `function:release_task`.
    pub hook: String,
    /// `None`: could not be told.
    pub works: Option<bool>,
    /// Why not, or why it could not be told; empty when it works.
    pub reason: String,
}

/// Levels of a log line: error = data is missing and somebody must act; warning = less data than asked; info = life cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    /// Data is missing.
    Error,
    /// Less data than asked for.
    Warning,
    /// Life cycle.
    Info,
}

/// Most memory that decoding one frame may ask for: values are larger in memory than on the wire, identities about twice.
const MAX_DECODED: usize = 4 * MAX_FRAME;

fn options() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_DECODED>()
}

/// One frame of `message`.
///
/// Fails when it would be longer than [`MAX_FRAME`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut frame = vec![VERSION];
    bincode::serde::encode_into_std_write(message, &mut frame, options())?;
    if frame.len() > MAX_FRAME {
        return Err(WireError::Length(frame.len()));
    }
    Ok(frame)
}

/// The message of one frame. Fails on anything that `encode` of this version would not have written.
pub fn decode<T: for<'de> Deserialize<'de>>(frame: &[u8]) -> Result<T, WireError> {
    let (&version, body) = frame.split_first().ok_or(WireError::Length(0))?;
    if frame.len() > MAX_FRAME {
        return Err(WireError::Length(frame.len()));
    }
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let (message, used) = bincode::serde::decode_from_slice(body, options())?;
    if used != body.len() {
        return Err(WireError::Trailing(body.len() - used));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{CommandLine, Direction, Flow, FlowKey, Identity, Missed, Protocol, Traffic};

    fn snapshot() -> ToSupervisor {
        let identity = Identity {
            tgid: 4242,
            parent_tgid: 1,
            generation: 3,
            start_ns: 123_456_789,
            comm: *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0",
            comm_of_thread: false,
            ended: true,
        };
        ToSupervisor::Snapshot(Snapshot {
            epoch: 7,
            taken_at_ns: 99,
            identities: vec![identity],
            values: vec![1, 2, u64::MAX],
            unattributed: vec![0, 0, 5],
            command_lines: vec![CommandLine {
                tgid: 4242,
                generation: 3,
                text: b"cat\0x\0".to_vec(),
                complete: true,
            }],
            flows: vec![Flow {
                key: FlowKey {
                    direction: Direction::Outbound,
                    protocol: Protocol::Udp,
                    port: 53,
                    address: [7; 16],
                },
                traffic: Traffic { sent_bytes: 10, ..Traffic::default() },
            }],
            missed: Missed { no_row: 5, ..Missed::default() },
            baseline: Baseline { totals: vec![7, 8], recursion: 1, kretprobe: 2 },
        })
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let frame = encode(&snapshot()).unwrap();
        assert_eq!(decode::<ToSupervisor>(&frame).unwrap(), snapshot());
    }

    #[test]
    fn every_shortened_frame_is_refused() {
        let frame = encode(&snapshot()).unwrap();
        for length in 0..frame.len() {
            assert!(
                decode::<ToSupervisor>(&frame[..length]).is_err(),
                "{length} bytes were taken for a message"
            );
        }
    }

    #[test]
    fn another_version_and_trailing_bytes_are_refused() {
        let mut frame = encode(&snapshot()).unwrap();
        frame.push(0);
        assert!(matches!(decode::<ToSupervisor>(&frame), Err(WireError::Trailing(1))));
        frame.pop();
        frame[0] = VERSION + 1;
        assert!(matches!(decode::<ToSupervisor>(&frame), Err(WireError::Version(_))));
    }

    #[test]
    fn random_bytes_never_panic_nor_ask_for_much_memory() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000 {
            let mut frame = vec![VERSION];
            for _ in 0..round % 64 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                frame.push(state as u8);
            }
            let _ = decode::<ToSupervisor>(&frame);
            let _ = decode::<ToWorker>(&frame);
        }
    }
}
