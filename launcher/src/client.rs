//! The supervisor's side: starts the launcher, and through it workers.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use ipc_channel::ipc::{self, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender};

use crate::descriptors::{self, PER_PACKET};
use crate::{Command, Ended, Hello, MODE, Memory, confine};

/// Longest time for the launcher to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// The launcher, as the supervisor sees it. It ends when this is dropped, and the workers with it.
#[derive(Debug)]
pub struct Launcher {
    commands: IpcSender<Command>,
    descriptors: OwnedFd,
    child: Child,
    cgroups: Result<String, String>,
}

/// The supervisor's ends of a worker's channels.
#[derive(Debug)]
pub struct Ends {
    /// Where its orders go.
    pub orders: IpcBytesSender,
    /// Where its packets come from.
    pub packets: OwnedFd,
}

impl Launcher {
    /// Starts `program` (`ebpf-worker`) as the launcher and waits until it is there.
    ///
    /// What is returned beside it tells which workers have ended; it is closed when the launcher itself has.
    pub fn start(program: &Path) -> Result<(Self, IpcReceiver<Ended>)> {
        confine::keep_capabilities_on_exec();
        let (server, rendezvous) = IpcOneShotServer::<Hello>::new().context("cannot make a rendezvous")?;
        let (ours, theirs) = descriptors::pair().context("cannot make a socket for descriptors")?;
        let mut child = std::process::Command::new(program)
            .args([MODE, &rendezvous, &std::process::id().to_string()])
            .stdin(theirs)
            // Standard output is the protocol; nobody but the supervisor may reach it.
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let waiting = thread::spawn(move || server.accept());
        let deadline = Instant::now() + PATIENCE;
        while !waiting.is_finished() {
            let ended = !matches!(child.try_wait(), Ok(None));
            if ended || Instant::now() >= deadline {
                let _ = child.kill();
                // Somebody has to arrive, or the thread waits for ever.
                drop(IpcSender::<Hello>::connect(rendezvous));
                let _ = waiting.join();
                return Err(anyhow!("{} does not start as the launcher", program.display()));
            }
            thread::sleep(Duration::from_millis(2));
        }
        let (_, hello) = waiting
            .join()
            .map_err(|_| anyhow!("the thread that waits for the launcher died"))?
            .context("the launcher's greeting cannot be understood")?;
        let launcher =
            Launcher { commands: hello.commands, descriptors: ours, child, cgroups: hello.cgroups };
        Ok((launcher, hello.ended))
    }

    /// The cgroups of the workers, as text, or why there are none.
    pub fn cgroups(&self) -> Result<&str, &str> {
        self.cgroups.as_deref().map_err(String::as_str)
    }

    /// Starts the worker of `module`, which takes over `held`. `memory`: what it may use.
    pub fn start_worker(&self, worker: u64, module: &str, memory: Memory, held: &[OwnedFd]) -> Result<Ends> {
        let (orders, hears) = ipc::bytes_channel().context("cannot make a channel for orders")?;
        let (packets, theirs) = descriptors::pair().context("cannot make a channel for messages")?;
        let mut all = vec![theirs.as_fd()];
        all.extend(held.iter().map(AsFd::as_fd));
        for some in all.chunks(PER_PACKET) {
            descriptors::send(self.descriptors.as_fd(), &[IoSlice::new(&[0])], some)
                .context("cannot hand descriptors to the launcher")?;
        }
        let command = Command::Start {
            worker,
            module: module.to_owned(),
            orders: hears,
            descriptors: u32::try_from(held.len()).context("too many descriptors")?,
            memory,
        };
        self.commands.send(command).context("the launcher is gone")?;
        Ok(Ends { orders, packets })
    }

    /// Ends a worker by SIGKILL; one that has ended already is no error.
    pub fn kill(&self, worker: u64) {
        // If it cannot be reached it is gone, and the worker with it.
        let _ = self.commands.send(Command::Kill { worker });
    }

    /// Ends the launcher and all workers, and waits for that, `patience` at most.
    pub fn stop(self, patience: Duration) {
        let Launcher { commands, descriptors, mut child, .. } = self;
        drop((commands, descriptors));
        let deadline = Instant::now() + patience;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}
