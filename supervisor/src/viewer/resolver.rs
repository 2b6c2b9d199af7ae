//! Asks the name service for names, in a thread of its own.
//!
//! In: addresses, through a short queue that is never waited for. Out: answers, in a queue that is looked at when it suits. Strangers
//! write the answers: the thread has no capability, like the whole supervisor (`sandbox.rs`), and what it passes on is one name of bounded
//! length; [`shared::peer::clean`] makes a label of it.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{RData, Record};
use tokio::sync::{Semaphore, mpsc as questions};

use super::system_names::SystemNames;

/// Questions that wait. More are asked for again in the next epoch.
const WAITING: usize = 1024;

/// Questions that are under way.
const AT_ONCE: usize = 64;

/// Longest time that one question may take, whatever resolv.conf says: a place is not blocked for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Records of one answer that are looked at; an honest one has one or two.
const RECORDS: usize = 64;

/// Longest name that is passed on, in bytes; one of 255 bytes may be written with four for each.
const LONGEST: usize = 1024;

/// Whom to ask.
#[derive(Debug, Clone)]
pub enum Servers {
    /// Those of /etc/resolv.conf, and /etc/hosts before them.
    OfTheSystem,
    /// These.
    #[cfg_attr(not(test), allow(dead_code, reason = "tests ask a server of their own"))]
    These(Box<ResolverConfig>),
}

/// What was found out about an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It has a name.
    Name {
        /// As the server wrote it, in lower case, without the last dot.
        name: String,
        /// Seconds for which the server says so.
        holds_s: u64,
    },
    /// It has none.
    NoName {
        /// Seconds for which the server says so; 0 if it does not.
        holds_s: u64,
    },
    /// Nobody answered, or not with sense.
    Failed,
}

/// The thread, seen from outside. It ends when this is dropped.
#[derive(Debug)]
pub struct Resolver {
    questions: questions::Sender<IpAddr>,
    answers: Receiver<(IpAddr, Found)>,
}

impl Resolver {
    /// Starts the thread. Fails when there can be no thread or no event queue.
    pub fn start(servers: Servers) -> io::Result<Self> {
        let (questions, waiting) = questions::channel(WAITING);
        let (done, answers) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            runtime.block_on(serve(waiting, done, SystemNames::new(servers)));
        })?;
        Ok(Resolver { questions, answers })
    }

    /// Asks for the name of `address`. Returns false when too much is asked already, or the thread has ended.
    pub fn ask(&self, address: IpAddr) -> bool {
        self.questions.try_send(address).is_ok()
    }

    /// What has been answered since the last look.
    pub fn answers(&self) -> impl Iterator<Item = (IpAddr, Found)> {
        self.answers.try_iter()
    }
}

async fn serve(
    mut waiting: questions::Receiver<IpAddr>,
    done: Sender<(IpAddr, Found)>,
    mut names: SystemNames,
) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(address) = waiting.recv().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (resolver, done) = (names.resolver(), done.clone());
        tokio::spawn(async move {
            let found = match resolver {
                Some(resolver) => look_up(&resolver, address).await,
                None => Found::Failed,
            };
            // Nobody listens any more when the plugin ends.
            let _ = done.send((address, found));
            drop(place);
        });
    }
}

async fn look_up(resolver: &TokioResolver, address: IpAddr) -> Found {
    let Ok(answer) = tokio::time::timeout(PATIENCE, resolver.reverse_lookup(address)).await else {
        return Found::Failed;
    };
    match answer {
        Ok(lookup) => {
            let holds_s = lookup.valid_until().saturating_duration_since(Instant::now()).as_secs();
            match choose(names_in(lookup.answers())) {
                Some(name) => Found::Name { name, holds_s },
                None => Found::NoName { holds_s },
            }
        }
        Err(error) if error.is_nx_domain() || error.is_no_records_found() => {
            Found::NoName { holds_s: negative_ttl_s(&error) }
        }
        Err(_) => Found::Failed,
    }
}

/// Seconds for which the server says that there is no name.
fn negative_ttl_s(error: &NetError) -> u64 {
    error.clone().into_soa().map_or(0, |soa| u64::from(soa.ttl.min(soa.data.minimum)))
}

/// The names in an answer, as they were written.
fn names_in(answers: &[Record]) -> impl Iterator<Item = String> {
    let names = answers.iter().filter_map(|record| match &record.data {
        RData::PTR(pointer) => Some(pointer.0.to_ascii()),
        _ => None,
    });
    names.take(RECORDS)
}

/// One of the names: always the same, however the server orders them. A name that reads like an address could pass for another peer.
fn choose(names: impl Iterator<Item = String>) -> Option<String> {
    let plain = |name: String| name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase();
    let is_name =
        |name: &String| !name.is_empty() && name.len() <= LONGEST && name.parse::<IpAddr>().is_err();
    names.map(plain).filter(is_name).min()
}

#[cfg(test)]
pub mod dns_server;
#[cfg(test)]
mod tests;
