//! Host names of peers: what is known, for how long, and whom to ask for.
//!
//! In: addresses that are active, answers of [`super::resolver`]. Out: names. Never waits: what is not known yet has no name.

use std::collections::HashMap;
use std::net::IpAddr;

use shared::wire::LogLevel;

use super::resolver::{Found, Resolver, Servers};
use crate::log;

const SECOND_NS: u64 = 1_000_000_000;

/// Addresses that are remembered: about 10 MB with long names. When all are in use, further peers keep their address.
const MOST: usize = 65_536;

/// How long a name holds, at least and at most, whatever its server says: a server must not make us ask, or rename a dimension, every
/// second, and should be heard once a day.
const NAME_HOLDS_NS: (u64, u64) = (300 * SECOND_NS, 86_400 * SECOND_NS);

/// The same for "there is no name".
const NO_NAME_HOLDS_NS: (u64, u64) = (600 * SECOND_NS, 3_600 * SECOND_NS);

/// Time until somebody is asked again who did not answer, or said that something is wrong.
const RETRY_NS: u64 = 60 * SECOND_NS;

/// An address that was not active for so long may be forgotten.
const IDLE_NS: u64 = 600 * SECOND_NS;

/// What is known of one address.
#[derive(Debug, Default)]
struct Known {
    name: Option<String>,
    ask_again_ns: u64,
    active_ns: u64,
}

/// The names of peers.
#[derive(Debug)]
pub struct Names {
    servers: Servers,
    /// Begins to work when it is asked for the first time; `None` before, and after it failed.
    resolver: Option<Resolver>,
    failed: bool,
    known: HashMap<IpAddr, Known>,
    forgot_ns: u64,
}

impl Names {
    /// Knows nothing yet.
    pub fn new(servers: Servers) -> Self {
        Names { servers, resolver: None, failed: false, known: HashMap::new(), forgot_ns: 0 }
    }

    /// The name of an address, as far as it is known.
    pub fn name(&self, address: IpAddr) -> Option<&str> {
        self.known.get(&address)?.name.as_deref()
    }

    /// Asks for the name of an address that is active, unless it is known or asked for already.
    pub fn ask(&mut self, address: IpAddr, now_ns: u64) {
        if let Some(known) = self.known.get_mut(&address) {
            known.active_ns = now_ns;
            if now_ns < known.ask_again_ns {
                return;
            }
        } else if self.known.len() >= MOST && !self.forget_idle(now_ns) {
            return;
        }
        // If all are busy, the next epoch asks again.
        if self.resolver().is_some_and(|resolver| resolver.ask(address)) {
            let known = self.known.entry(address).or_default();
            known.active_ns = now_ns;
            known.ask_again_ns = now_ns + RETRY_NS;
        }
    }

    /// Takes the answers that have come.
    pub fn take_answers(&mut self, now_ns: u64) {
        let Some(resolver) = &self.resolver else {
            return;
        };
        for (address, found) in resolver.answers() {
            // One that was forgotten in between is asked for again when it is active.
            let Some(known) = self.known.get_mut(&address) else {
                continue;
            };
            let holds = |(least, most): (u64, u64), seconds: u64| {
                now_ns.saturating_add(seconds.saturating_mul(SECOND_NS).clamp(least, most))
            };
            match found {
                Found::Name { name, holds_s } => {
                    known.name = Some(name);
                    known.ask_again_ns = holds(NAME_HOLDS_NS, holds_s);
                }
                Found::NoName { holds_s } => {
                    known.name = None;
                    known.ask_again_ns = holds(NO_NAME_HOLDS_NS, holds_s);
                }
                // A name that was good a moment ago is better than none.
                Found::Failed => known.ask_again_ns = now_ns.saturating_add(RETRY_NS),
            }
        }
    }

    fn resolver(&mut self) -> Option<&Resolver> {
        if self.resolver.is_none() && !self.failed {
            match Resolver::start(self.servers.clone()) {
                Ok(resolver) => self.resolver = Some(resolver),
                Err(error) => {
                    self.failed = true;
                    let text = format!("cannot resolve names, so peers are shown by address: {error}");
                    log::line(LogLevel::Warning, "network_viewer", text);
                }
            }
        }
        self.resolver.as_ref()
    }

    /// Makes room, once a minute at most. Returns whether there is some.
    fn forget_idle(&mut self, now_ns: u64) -> bool {
        if now_ns.saturating_sub(self.forgot_ns) >= RETRY_NS {
            self.forgot_ns = now_ns;
            self.known.retain(|_, known| now_ns.saturating_sub(known.active_ns) < IDLE_NS);
        }
        self.known.len() < MOST
    }
}
