//! The worker's end of the channel to its supervisor: frames of `shared::wire`.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};
use ipc_channel::IpcError;
use ipc_channel::ipc::IpcBytesReceiver;
use launcher::packets::Sender;
use shared::wire::{self, LogLevel, ToSupervisor, ToWorker};

/// Both directions of the channel.
#[derive(Debug)]
pub struct Channel {
    orders: IpcBytesReceiver,
    messages: Sender,
}

impl Channel {
    /// The two directions that the launcher gave.
    pub fn new(orders: IpcBytesReceiver, messages: Sender) -> Self {
        Channel { orders, messages }
    }

    /// The next order; `None` when the supervisor is gone. Fails on a frame that is no order.
    pub fn next_order(&self) -> Result<Option<ToWorker>> {
        loop {
            match self.orders.recv() {
                Ok(frame) => {
                    return wire::decode(&frame).map(Some).context("an order that cannot be understood");
                }
                Err(IpcError::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(None),
            }
        }
    }

    /// Sends one message.
    pub fn send(&self, message: &ToSupervisor) -> Result<()> {
        self.messages.send(&wire::encode(message)?)
    }

    /// Sends descriptors for the supervisor to keep.
    pub fn hand_over(&self, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        self.messages.send_descriptors(descriptors)
    }

    /// Sends a line for the log.
    pub fn log(&self, level: LogLevel, text: String) -> Result<()> {
        self.send(&ToSupervisor::Log { level, text })
    }
}
