//! Everything that the main loop waits for, in one queue.
//!
//! Small threads do the waiting: one for signals, one for the ends of standard input and output, one for each worker (`worker.rs`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use ipc_channel::ipc::IpcReceiver;
use launcher::Ended;
use launcher::packets::Received;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{SFlag, fstat};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// One thing that happened.
#[derive(Debug)]
pub enum Event {
    /// It is time to end, and why.
    Stop(String),
    /// A worker sent something.
    Packet {
        /// Number of the worker.
        worker: u64,
        /// What, not looked at yet.
        received: Received,
    },
    /// A worker's channel is closed, and all that it sent is dealt with.
    Closed {
        /// Number of the worker.
        worker: u64,
        /// Why.
        why: String,
    },
    /// A worker's process has ended.
    Ended(Ended),
}

/// Passes on which workers have ended, as the launcher tells; if that ends itself, no worker can be started any more.
pub fn watch_launcher(ended: IpcReceiver<Ended>, events: Sender<Event>) -> io::Result<()> {
    thread::Builder::new().name("launcher".to_owned()).spawn(move || {
        while let Ok(ended) = ended.recv() {
            if events.send(Event::Ended(ended)).is_err() {
                return;
            }
        }
        let _ = events.send(Event::Stop("the launcher is gone".to_owned()));
    })?;
    Ok(())
}

/// Longest time that an orderly end may take.
const GRACE: Duration = Duration::from_millis(1200);
/// What the end that is under way may take beyond that, milliseconds.
static FURTHER_MS: AtomicU64 = AtomicU64::new(0);

/// Lets an end that has begun take longer, by `further`.
pub fn allow_longer_end(further: Duration) {
    FURTHER_MS.store(further.as_millis() as u64, Ordering::Relaxed);
}

/// Asks the main loop to end; if it does not, because nobody reads the pipe that it writes to, ends the process, and with it the workers.
fn stop(events: &Sender<Event>, reason: String) {
    let _ = events.send(Event::Stop(reason));
    thread::sleep(GRACE);
    thread::sleep(Duration::from_millis(FURTHER_MS.load(Ordering::Relaxed)));
    std::process::exit(0);
}

/// Until `watch_signals` is called: such a signal ends this process at once, as if all were done. Needs no thread.
pub fn end_at_signals() -> io::Result<Arc<AtomicBool>> {
    let early = Arc::new(AtomicBool::new(true));
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
        signal_hook::flag::register_conditional_shutdown(signal, 0, early.clone())?;
    }
    Ok(early)
}

/// Turns SIGTERM, SIGINT, SIGHUP and SIGQUIT into a wish to stop.
pub fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    // Whoever started us may have blocked them; threads inherit the mask, so this comes before any is made.
    let mut wanted = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT]
        .into_iter()
        .for_each(|signal| wanted.add(signal));
    wanted.thread_unblock()?;
    // A full quota on the log's file is an error of that write, not our end.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGQUIT])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
            stop(&events, format!("{name} received"));
        }
    })?;
    Ok(())
}

/// Turns the end of a piped standard input, and a reader of standard output that goes away, into a wish to stop.
///
/// A standard input that is a file, a terminal or /dev/null says nothing about who started us.
pub fn watch_ends(events: Sender<Event>) -> io::Result<()> {
    let input = is_pipe_or_socket(io::stdin().as_fd());
    let output = is_pipe_or_socket(io::stdout().as_fd());
    if !input && !output {
        return Ok(());
    }
    thread::Builder::new().name("ends".to_owned()).spawn(move || {
        stop(&events, wait_for_end(input, output));
    })?;
    Ok(())
}

fn is_pipe_or_socket(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|stat| {
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        kind == SFlag::S_IFIFO || kind == SFlag::S_IFSOCK
    })
}

fn wait_for_end(input: bool, output: bool) -> String {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    loop {
        let mut fds = Vec::new();
        if input {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        if output {
            // No events asked for: errors are always told.
            fds.push(PollFd::new(stdout.as_fd(), PollFlags::empty()));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return format!("cannot watch standard input and output: {error}"),
            Ok(_) => {}
        }
        let told = |place: usize, wanted: PollFlags| {
            fds.get(place).and_then(PollFd::revents).is_some_and(|flags| flags.intersects(wanted))
        };
        if output && told(usize::from(input), PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL) {
            return "the reader of standard output is gone".to_owned();
        }
        if input && told(0, PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            // What the agent writes here (calls of functions) is not for us; only its end is.
            let mut ignored = [0; 4096];
            match nix::unistd::read(stdin.as_fd(), &mut ignored) {
                Ok(0) => return "end of standard input".to_owned(),
                Ok(_) | Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
                Err(error) => return format!("standard input failed: {error}"),
            }
        }
    }
}
