//! What a worker sends: frames of any length up to a bound, and descriptors, over a socket that keeps packets apart.
//!
//! Not over ipc-channel in this direction: its receiver trusts the sender. It allocates what the sender says (an abort), and computes
//! with lengths that may be too short (undefined behaviour; 0.23.1, `platform/unix/mod.rs`, `recv`). A worker reads the kernel's memory and
//! may be compromised; nothing that it sends may do more than end it.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};

use crate::MAX_DESCRIPTORS;
use crate::descriptors::{self, PER_PACKET};

/// Bytes of a frame in one packet: well below the smallest usual socket buffer.
const PIECE: usize = 32 << 10;

/// First byte of a packet: a piece of a frame, and there is more of it.
const MORE: u8 = 0;
/// The last piece of a frame.
const LAST: u8 = 1;
/// Descriptors.
const DESCRIPTORS: u8 = 2;

/// One thing that a worker sent.
#[derive(Debug)]
pub enum Received {
    /// A whole frame.
    Frame(Vec<u8>),
    /// Descriptors to keep.
    Descriptors(Vec<OwnedFd>),
}

/// The worker's end.
#[derive(Debug)]
pub struct Sender(OwnedFd);

impl Sender {
    /// Sends over `socket`, one end of a pair that `client` made.
    pub fn new(socket: OwnedFd) -> Self {
        Sender(socket)
    }

    /// Sends one frame. Fails when the supervisor is gone.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let mut pieces = frame.chunks(PIECE).peekable();
        while let Some(piece) = pieces.next() {
            let kind = if pieces.peek().is_some() { MORE } else { LAST };
            descriptors::send(self.0.as_fd(), &[IoSlice::new(&[kind]), IoSlice::new(piece)], &[])
                .context("cannot reach the supervisor any more")?;
        }
        Ok(())
    }

    /// Sends descriptors, to be kept by the supervisor.
    pub fn send_descriptors(&self, held: &[BorrowedFd<'_>]) -> Result<()> {
        for some in held.chunks(PER_PACKET) {
            descriptors::send(self.0.as_fd(), &[IoSlice::new(&[DESCRIPTORS])], some)
                .context("cannot hand over the descriptors")?;
        }
        Ok(())
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The supervisor's end.
#[derive(Debug)]
pub struct Receiver {
    socket: OwnedFd,
    max_frame: usize,
    descriptors: usize,
}

impl Receiver {
    /// Receives over `socket` frames of at most `max_frame` bytes.
    pub fn new(socket: OwnedFd, max_frame: usize) -> Self {
        Receiver { socket, max_frame, descriptors: 0 }
    }

    /// Waits for the next thing; `None` when the worker is gone.
    ///
    /// Fails on what no worker of ours sends: longer frames, more descriptors, other packets. Memory grows only with what has arrived.
    pub fn receive(&mut self) -> Result<Option<Received>> {
        let mut frame = Vec::new();
        let mut packet = vec![0; 1 + PIECE];
        loop {
            let got = descriptors::receive(self.socket.as_fd(), &mut packet)
                .context("cannot receive from the worker")?;
            if got.cut {
                bail!("a packet that is too long");
            }
            let Some((&kind, piece)) = packet[..got.length].split_first() else {
                // Also an empty packet, which no worker of ours sends.
                return Ok(None);
            };
            match kind {
                DESCRIPTORS if frame.is_empty() && piece.is_empty() => {
                    self.descriptors += got.descriptors.len();
                    if self.descriptors > MAX_DESCRIPTORS {
                        bail!("more than {MAX_DESCRIPTORS} descriptors");
                    }
                    return Ok(Some(Received::Descriptors(got.descriptors)));
                }
                _ if !got.descriptors.is_empty() => bail!("descriptors where none belong"),
                MORE | LAST if frame.len() + piece.len() <= self.max_frame && !piece.is_empty() => {
                    frame.extend_from_slice(piece);
                    if kind == LAST {
                        return Ok(Some(Received::Frame(frame)));
                    }
                }
                MORE | LAST => bail!("a frame that is empty or longer than {} bytes", self.max_frame),
                kind => bail!("a packet of kind {kind}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn ends(max_frame: usize) -> (Sender, Receiver) {
        let (ours, theirs) = descriptors::pair().unwrap();
        (Sender::new(theirs), Receiver::new(ours, max_frame))
    }

    fn raw(sender: &Sender, bytes: &[u8]) {
        descriptors::send(sender.as_fd(), &[IoSlice::new(bytes)], &[]).unwrap();
    }

    #[test]
    fn frames_of_every_length_and_descriptors_arrive() {
        let (sender, mut receiver) = ends(1 << 20);
        let sending = std::thread::spawn(move || {
            for length in [1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE] {
                sender.send(&vec![7; length]).unwrap();
            }
            let file = std::fs::File::open("/dev/null").unwrap();
            sender.send_descriptors(&vec![file.as_fd(); PER_PACKET + 3]).unwrap();
        });
        for length in [1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE] {
            let Some(Received::Frame(frame)) = receiver.receive().unwrap() else { panic!("no frame") };
            assert_eq!(frame, vec![7; length]);
        }
        for count in [PER_PACKET, 3] {
            let Some(Received::Descriptors(held)) = receiver.receive().unwrap() else {
                panic!("no descriptors")
            };
            assert_eq!(held.len(), count);
        }
        sending.join().unwrap();
        assert!(receiver.receive().unwrap().is_none());
    }

    #[test]
    fn what_no_worker_sends_is_an_error() {
        for bytes in [&[3, 1][..], &[LAST], &[MORE], &[DESCRIPTORS, 1], &vec![LAST; PIECE + 2]] {
            let (sender, mut receiver) = ends(1 << 20);
            raw(&sender, bytes);
            assert!(receiver.receive().is_err(), "{} bytes of {}", bytes.len(), bytes[0]);
        }
        let (sender, mut receiver) = ends(PIECE);
        raw(&sender, &vec![MORE; PIECE + 1]);
        raw(&sender, &[LAST, 1]);
        assert!(receiver.receive().is_err(), "a frame that is too long");
    }
}
