//! The worker's end of the channel to its supervisor: frames of `shared::wire` over ipc-channel.

use anyhow::{Context, Result};
use ipc_channel::ipc::{self, IpcBytesReceiver, IpcSender};
use serde::{Deserialize, Serialize};
use shared::wire::{self, LogLevel, ToSupervisor, ToWorker};

/// The first thing that goes over the rendezvous that the supervisor named: one channel for each direction.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Orders, from the supervisor.
    pub to_worker: ipc::IpcBytesSender,
    /// Messages, to the supervisor.
    pub from_worker: IpcBytesReceiver,
}

/// Both directions of the channel.
#[derive(Debug)]
pub struct Channel {
    orders: IpcBytesReceiver,
    messages: ipc::IpcBytesSender,
}

impl Channel {
    /// Meets the supervisor at the rendezvous called `name`.
    pub fn connect(name: &str) -> Result<Self> {
        let (to_worker, orders) = ipc::bytes_channel().context("cannot make a channel for orders")?;
        let (messages, from_worker) = ipc::bytes_channel().context("cannot make a channel for messages")?;
        let rendezvous = IpcSender::connect(name.to_owned()).context("cannot reach the supervisor")?;
        rendezvous.send(Hello { to_worker, from_worker }).context("cannot greet the supervisor")?;
        Ok(Channel { orders, messages })
    }

    /// The next order; `None` when the supervisor is gone. Fails on a frame that is no order.
    pub fn next_order(&self) -> Result<Option<ToWorker>> {
        match self.orders.recv() {
            Ok(frame) => wire::decode(&frame).map(Some).context("an order that cannot be understood"),
            Err(_) => Ok(None),
        }
    }

    /// Sends one message.
    pub fn send(&self, message: &ToSupervisor) -> Result<()> {
        self.messages.send(&wire::encode(message)?).context("cannot reach the supervisor any more")
    }

    /// Sends a line for the log.
    pub fn log(&self, level: LogLevel, text: String) -> Result<()> {
        self.send(&ToSupervisor::Log { level, text })
    }
}
