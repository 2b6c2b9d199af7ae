//! A canary, which the launcher forks like a worker: does what `shared::canary` lists, when it is told to, and ends.
//!
//! Over its socket it says when it is ready, hears one byte that says go, and says when it is done. All by sendmsg(2) and recv(2) on a socket
//! that no counter counts, so that between the two snapshots there is nothing but the deeds. It needs no right, and has none.

mod network;
mod process;

use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result, bail};
use launcher::confine;
use network::Conversation;
use nix::sys::socket::{MsgFlags, recv, send};
use shared::canary::{FromCanary, Ports};
use shared::wire;

/// Most characters of a reason, so that it fits into a message.
const REASON_LENGTH: usize = 100;

/// Waits for the word, does the deeds of `module`, and returns.
pub fn run(module: &str, socket: &impl AsFd) -> Result<()> {
    let told = fly(module, socket);
    if let Err(error) = &told {
        let reason: String = format!("{error:#}").chars().take(REASON_LENGTH).collect();
        // If nobody hears it, the supervisor is gone.
        let _ = say(socket, &FromCanary::Cannot(reason));
    }
    told
}

fn fly(module: &str, socket: &impl AsFd) -> Result<()> {
    // The first thread makes the C library look for the number of CPUs, in files.
    std::thread::spawn(|| ()).join().ok();
    wait_until_alone();
    confine::drop_privileges()?;
    let conversations = match module {
        "process" => Vec::new(),
        "network_viewer" => network::prepare()?,
        _ => bail!("module `{module}` has no canary"),
    };
    let ports = Ports {
        ipv4: conversations.first().map_or(0, Conversation::port),
        ipv6: conversations.get(1).map_or(0, Conversation::port),
    };
    say(socket, &FromCanary::Ready { tgid: std::process::id(), ports })?;
    let mut word = [0];
    let heard = recv(socket.as_fd().as_raw_fd(), &mut word, MsgFlags::empty());
    if heard.context("cannot wait for the word")? == 0 {
        return Ok(()); // the supervisor is gone
    }
    match module {
        "process" => process::fly()?,
        _ => conversations.iter().try_for_each(Conversation::hold)?,
    }
    say(socket, &FromCanary::Done)
}

fn say(socket: &impl AsFd, message: &FromCanary) -> Result<()> {
    let bytes = wire::encode(message)?;
    send(socket.as_fd().as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL).context("nobody hears the canary")?;
    Ok(())
}

/// A thread that is joined may still be on its way out; its end must not be taken for a deed.
fn wait_until_alone() {
    for _ in 0..300 {
        if std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) <= 1 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
