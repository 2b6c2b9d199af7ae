//! The one process that stays privileged, and how the others reach it.
//!
//! The supervisor starts the launcher (a mode of `ebpf-worker`) first of all and then gives up its own privileges. The launcher knows two
//! commands: start the worker of a module, end it. It starts one by fork(2) without exec, so that nothing is looked up on disk
//! later and a worker has its channels from the start. It ends with the supervisor, and the workers with it.
//!
//! - [`client`]: the supervisor's side.
//! - [`server`]: the launcher itself.
//! - `limits`, `cgroup`, `signals`: what a worker may use, and what it must not inherit.
//! - [`confine`], [`calls`]: what each process gives up once it has started.
//! - [`heap`]: memory of both.
//! - [`packets`]: what a worker sends to the supervisor: bounded frames, and descriptors.

pub mod calls;
mod cgroup;
pub mod client;
pub mod confine;
mod descriptors;
pub mod heap;
mod limits;
pub mod packets;
pub mod server;
mod signals;

use ipc_channel::ipc::{IpcBytesReceiver, IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize};

/// Argument of `ebpf-worker` that makes it the launcher.
pub const MODE: &str = "launch";

/// Before a module's name: not its worker is started, but its canary.
pub const CANARY: &str = "canary:";

/// Most descriptors that are kept for one module: a program, an event and a link for each of some hundred probes.
pub const MAX_DESCRIPTORS: usize = 1024;

/// Everything that the launcher can be asked for.
#[derive(Debug, Serialize, Deserialize)]
enum Command {
    /// Start the worker of a module. Its socket and `descriptors` descriptors for it are in the launcher's standard input already.
    Start {
        /// Number among all workers that were ever started.
        worker: u64,
        /// Name of the module's worker, such as `process`.
        module: String,
        /// Where it hears its orders.
        orders: IpcBytesReceiver,
        /// Descriptors that it takes over.
        descriptors: u32,
        /// What it may use.
        memory: Memory,
    },
    /// End a worker by SIGKILL.
    Kill {
        /// Its number.
        worker: u64,
    },
}

/// Most memory of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Its own, bytes.
    pub own_bytes: u64,
    /// What the kernel takes for it, bytes: bounded only where it has a cgroup.
    pub kernel_bytes: u64,
}

/// A worker has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its number.
    pub worker: u64,
    /// How, as text: `exit status: 1`, `signal: SIGSEGV`.
    pub how: String,
    /// Whether there was a process at all.
    pub started: bool,
}

/// What the launcher sends when it arrives: the supervisor's ends of two channels, and what was found.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    commands: IpcSender<Command>,
    ended: IpcReceiver<Ended>,
    /// The cgroups of the workers, or why there are none.
    cgroups: Result<String, String>,
}
