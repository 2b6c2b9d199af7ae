//! The launcher itself: waits for commands, forks, reaps.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ipc_channel::TryRecvError;
use ipc_channel::ipc::{self, IpcBytesReceiver, IpcReceiver, IpcSender};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use crate::cgroup::{self, Cgroups};
use crate::packets::Sender;
use crate::{CANARY, Command, Ended, Hello, MAX_DESCRIPTORS, Memory, confine, descriptors, limits, signals};

/// How often ends of workers are looked for. The supervisor sees a worker's end first, by its socket, and then asks to end it, which wakes
/// the launcher.
const TENDING: Duration = Duration::from_millis(500);
/// And while a worker is being ended.
const ENDING: Duration = Duration::from_millis(2);

/// Longest time for workers to leave their cgroups when all ends: the kernel takes tenths of a second for each hook that it lets go of.
const LEAVING: Duration = Duration::from_secs(60);

/// How long a worker may be stopped by a signal: long enough for all of a terminal's job to be stopped and to go on.
const STOPPED: Duration = Duration::from_secs(2);

/// What a new worker is given.
#[derive(Debug)]
pub struct Job {
    /// Number among all workers that were ever started.
    pub worker: u64,
    /// Name of the module's worker.
    pub module: String,
    /// Where its orders come from.
    pub orders: IpcBytesReceiver,
    /// Where its messages go.
    pub messages: Sender,
    /// Descriptors of a worker before it.
    pub held: Vec<OwnedFd>,
    /// The process that the workers count for: that of the supervisor.
    pub supervisor: u32,
    /// Why it is in no cgroup of its own, although it should be.
    pub outside: Option<String>,
}

/// Runs the launcher; returns in each worker that it starts, with its job, and in the launcher itself at the end, with none.
///
/// `rendezvous`, `supervisor`: the arguments after [`crate::MODE`]. Must be called before any thread is started.
pub fn serve(rendezvous: &str, supervisor: &str) -> Result<Option<Job>> {
    die_with_parent(supervisor.parse().context("the supervisor's process id")?)?;
    let _ = prctl::set_name(c"ebpf-launcher");
    signals::reset()?;
    let (commands, ours) = ipc::channel().context("cannot make a channel for commands")?;
    let (reports, ended) = ipc::channel().context("cannot make a channel for reports")?;
    let greeting = IpcSender::connect(rendezvous.to_owned()).context("cannot reach the supervisor")?;
    let cgroups = Cgroups::find(getppid()).map_err(|error| format!("{error:#}"));
    if cgroups.is_ok() {
        // They are removed when the supervisor has ended, so this process must outlive it: it sees its channel closed, and is not left stopped.
        prctl::set_pdeathsig(Some(Signal::SIGCONT)).context("cannot ask for a signal at the parent's end")?;
    }
    let told = cgroups.as_ref().map(Cgroups::describe).map_err(Clone::clone);
    greeting.send(Hello { commands, ended, cgroups: told }).context("cannot greet the supervisor")?;
    drop(greeting);
    // Where the kernel has no such filters the rest must do.
    let _ = confine::launcher();
    let mut launcher = Launcher {
        commands: ours,
        reports,
        workers: BTreeMap::new(),
        supervisor: getppid(),
        ending: BTreeSet::new(),
        stopped: BTreeMap::new(),
        cgroups: cgroups.ok(),
    };
    let outcome = launcher.run();
    launcher.end();
    outcome
}

/// Asks the kernel to end this process when its parent does.
pub fn die_with_parent(parent: i32) -> Result<()> {
    prctl::set_pdeathsig(Some(Signal::SIGKILL)).context("cannot ask to end with the parent")?;
    // It may have ended before the kernel knew our wish.
    if getppid() != Pid::from_raw(parent) {
        bail!("the parent {parent} is gone");
    }
    Ok(())
}

struct Launcher {
    commands: IpcReceiver<Command>,
    reports: IpcSender<Ended>,
    workers: BTreeMap<u64, Pid>,
    supervisor: Pid,
    /// Those that were killed and are not reaped yet.
    ending: BTreeSet<u64>,
    /// Those that are stopped, and since when.
    stopped: BTreeMap<u64, Instant>,
    /// Where the workers' cgroups are made, if they can be.
    cgroups: Option<Cgroups>,
}

impl Launcher {
    fn run(&mut self) -> Result<Option<Job>> {
        loop {
            match self.commands.try_recv_timeout(if self.ending.is_empty() { TENDING } else { ENDING }) {
                Ok(Command::Start { worker, module, orders, descriptors, memory }) => {
                    let mut held = take_descriptors(descriptors as usize)?;
                    let messages = Sender::new(held.remove(0));
                    let (own, cgroup) = (getpid(), self.cgroup_of(&module, memory));
                    let is_worker = match self.fork(worker) {
                        Ok(is_worker) => is_worker,
                        // No memory or no process left, perhaps only now: the others go on, and the supervisor asks again.
                        Err(error) => {
                            let how = format!("it was never started: {error:#}");
                            if self.reports.send(Ended { worker, how, started: false }).is_err() {
                                break;
                            }
                            false
                        }
                    };
                    if is_worker {
                        die_with_parent(own.as_raw())?;
                        let outside =
                            cgroup.and_then(|cgroup| cgroup.and_then(|procs| cgroup::enter(&procs)).err());
                        let outside = outside.map(|error| format!("{error:#}"));
                        let _ = prctl::set_name(c"ebpf-worker");
                        limits::set(memory.own_bytes);
                        forget_launcher()?;
                        let supervisor = self.supervisor.as_raw().cast_unsigned();
                        return Ok(Some(Job { worker, module, orders, messages, held, supervisor, outside }));
                    }
                }
                Ok(Command::Kill { worker }) => self.kill(worker),
                Err(TryRecvError::Empty) => {}
                // EINTR arrives as an error of input and output.
                Err(TryRecvError::IpcError(ipc_channel::IpcError::Io(error)))
                    if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
            if !self.reap() {
                break;
            }
            self.kill_stopped();
        }
        Ok(None)
    }

    /// The supervisor is gone: ends the workers, and removes their cgroups. Does nothing in a worker.
    fn end(&mut self) {
        // The kernel would end them, too, when this process ends; but not before.
        for &pid in self.workers.values() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let deadline = Instant::now() + LEAVING;
        while !self.cgroups.as_mut().is_none_or(Cgroups::remove) && Instant::now() < deadline {
            sleep(ENDING);
            self.reap();
        }
    }

    /// The file by which the worker of `module` enters its cgroup. A canary has none: it lives for a moment, and forks.
    fn cgroup_of(&mut self, module: &str, memory: Memory) -> Option<Result<PathBuf>> {
        let cgroups = self.cgroups.as_mut().filter(|_| !module.starts_with(CANARY))?;
        Some(cgroups.prepare(module, memory))
    }

    /// Makes the process of a worker; `true` in it.
    fn fork(&mut self, worker: u64) -> Result<bool> {
        // SAFETY: this process has one thread only (`serve` asks for that, and starts none), so the child may do anything.
        match unsafe { fork() }.context("cannot make a process")? {
            ForkResult::Child => {
                // Siblings and cgroups are the launcher's business.
                self.workers.clear();
                self.cgroups = None;
                Ok(true)
            }
            ForkResult::Parent { child } => {
                self.workers.insert(worker, child);
                Ok(false)
            }
        }
    }

    fn kill(&mut self, worker: u64) {
        // Not reaped yet, so the id is still its own.
        if let Some(&pid) = self.workers.get(&worker) {
            let _ = kill(pid, Signal::SIGKILL);
            self.ending.insert(worker);
        }
    }

    /// Ends those that have been stopped for too long. Its deadlines tell the supervisor, too, but not soon of one that loads.
    fn kill_stopped(&mut self) {
        let long: Vec<u64> = self
            .stopped
            .iter()
            .filter(|(_, since)| since.elapsed() >= STOPPED)
            .map(|(&worker, _)| worker)
            .collect();
        long.into_iter().for_each(|worker| self.kill(worker));
    }

    /// Reports the workers that have ended, and notes those that are stopped; `false` when there is nobody to tell.
    fn reap(&mut self) -> bool {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED;
        loop {
            let (pid, how) = match waitpid(None::<Pid>, Some(flags)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, format!("exit status: {code}")),
                // What a worker may use up while it loads, it tells the kernel itself.
                Ok(WaitStatus::Signaled(pid, Signal::SIGVTALRM, _)) => {
                    (pid, "it took too much CPU time for a step of its start; signal: SIGVTALRM".to_owned())
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, format!("signal: {signal}")),
                Ok(WaitStatus::Stopped(pid, _)) => {
                    if let Some(worker) = self.number_of(pid) {
                        self.stopped.insert(worker, Instant::now());
                    }
                    continue;
                }
                Ok(WaitStatus::Continued(pid)) => {
                    if let Some(worker) = self.number_of(pid) {
                        self.stopped.remove(&worker);
                    }
                    continue;
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return true,
                Ok(_) | Err(_) => continue,
            };
            let Some(worker) = self.number_of(pid) else { continue };
            self.workers.remove(&worker);
            self.ending.remove(&worker);
            let how = match self.stopped.remove(&worker) {
                Some(since) => format!("it was stopped for {:.1} s; {how}", since.elapsed().as_secs_f64()),
                None => how,
            };
            if self.reports.send(Ended { worker, how, started: true }).is_err() {
                return false;
            }
        }
    }

    /// Number of the worker with this process id.
    fn number_of(&self, pid: Pid) -> Option<u64> {
        self.workers.iter().find(|(_, known)| **known == pid).map(|(&worker, _)| worker)
    }
}

/// The socket of the next worker and the `more` descriptors for it, which the supervisor has sent before the command.
fn take_descriptors(more: usize) -> Result<Vec<OwnedFd>> {
    if more > MAX_DESCRIPTORS {
        bail!("{more} descriptors");
    }
    let mut taken = Vec::new();
    let input = io::stdin();
    while taken.len() < more + 1 {
        let packet = descriptors::receive(input.as_fd(), &mut [0])?;
        if packet.descriptors.is_empty() || packet.cut {
            bail!("fewer descriptors than announced");
        }
        taken.extend(packet.descriptors);
    }
    Ok(taken)
}

/// A worker must not read what is sent to the launcher. (The channels of commands and reports are dropped with the `Launcher`.)
fn forget_launcher() -> Result<()> {
    let null = std::fs::File::open("/dev/null").context("cannot open /dev/null")?;
    nix::unistd::dup2_stdin(null).context("cannot replace standard input")
}
