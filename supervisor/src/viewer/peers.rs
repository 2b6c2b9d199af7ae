//! The peers (or ports) of one direction: who has a dimension, and what each has moved.
//!
//! Whoever is shown stays shown while it is busy. Where more come than there is room, the busiest get the room. When there is none
//! left, one that has been silent for long gives its place. What somebody moved while it was not shown stays in `other`.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use shared::snapshot::{Flow, FlowKey, Traffic};

use super::address;
use super::candidates::Candidates;
use super::labels::Labels;
use super::retired::Retired;

/// Silence after which a peer may have to give its place. Longer than the pauses of common keep-alives and polls.
pub const SILENT_NS: u64 = 300_000_000_000;

/// One with a dimension.
#[derive(Debug)]
pub struct Peer {
    key: FlowKey,
    /// Its label by address: the id of its dimensions. Never changes.
    pub id: String,
    /// Its label by host name, where known; no other peer that is shown has it.
    pub name: Option<String>,
    /// The host name as it was found.
    host: Option<String>,
    /// What it moved while it was shown.
    pub total: Traffic,
    /// `total` when it was drawn last; when it came, if it never was.
    pub drawn: Traffic,
    active_ns: u64,
    /// The filters leave it out now.
    leaving: bool,
}

/// All of one direction.
#[derive(Debug)]
pub struct Peers {
    room: usize,
    shown: Vec<Peer>,
    places: HashMap<FlowKey, usize>,
    /// Labels by host name that are in use.
    names: HashSet<String>,
    candidates: Candidates,
    retired: Retired,
    /// What those without a dimension moved.
    pub other: Traffic,
    /// `other` when it was drawn last.
    pub other_drawn: Traffic,
}

impl Peers {
    /// Nobody yet; at most `room` are shown at once.
    pub fn new(room: usize) -> Self {
        Peers {
            room,
            shown: Vec::new(),
            places: HashMap::new(),
            names: HashSet::new(),
            candidates: Candidates::default(),
            retired: Retired::default(),
            other: Traffic::default(),
            other_drawn: Traffic::default(),
        }
    }

    /// Adds traffic of nobody that is known.
    pub fn add_to_other(&mut self, traffic: &Traffic) {
        self.other.add(traffic);
    }

    /// Adds the traffic of the epoch that ended at `now_ns`.
    pub fn add(&mut self, flows: &[&Flow], now_ns: u64, labels: &Labels) {
        self.dismiss_leaving(now_ns);
        let mut newcomers = Vec::new();
        for flow in flows {
            if !self.add_to_shown(flow, now_ns) {
                newcomers.push(*flow);
            }
        }
        if newcomers.is_empty() {
            return;
        }
        let weights = newcomers.iter().map(|flow| (flow.key, flow.traffic.bytes()));
        self.candidates.add(weights, now_ns);
        self.make_room(newcomers.len(), now_ns);
        if self.shown.len() < self.room {
            // The key only decides between equals, so that it is not chance that does.
            newcomers.sort_by_cached_key(|flow| {
                (Reverse((self.candidates.weight(&flow.key), flow.traffic.bytes())), flow.key)
            });
        }
        for flow in newcomers {
            if self.shown.len() < self.room && !self.is_shown(&flow.key) {
                self.show(flow.key, now_ns, labels);
            }
            if !self.add_to_shown(flow, now_ns) {
                self.other.add(&flow.traffic);
            }
        }
    }

    fn add_to_shown(&mut self, flow: &Flow, now_ns: u64) -> bool {
        let Some(peer) = self.places.get(&flow.key).and_then(|&place| self.shown.get_mut(place)) else {
            return false;
        };
        peer.total.add(&flow.traffic);
        peer.active_ns = now_ns;
        peer.leaving = false;
        true
    }

    /// Retires as many as are needed, longest silent first.
    fn make_room(&mut self, newcomers: usize, now_ns: u64) {
        let free = self.room - self.shown.len();
        let wanted = newcomers.saturating_sub(free).min(self.retired.room(now_ns));
        if wanted == 0 {
            return;
        }
        let is_silent = |peer: &&Peer| now_ns.saturating_sub(peer.active_ns) >= SILENT_NS && peer.is_drawn();
        let mut silent: Vec<(u64, FlowKey)> =
            self.shown.iter().filter(is_silent).map(|peer| (peer.active_ns, peer.key)).collect();
        silent.sort_unstable();
        silent.iter().take(wanted).for_each(|(_, key)| self.retire(key));
    }

    fn show(&mut self, key: FlowKey, now_ns: u64, labels: &Labels) {
        let total = self.retired.take(&key);
        self.candidates.remove(&key);
        self.places.insert(key, self.shown.len());
        self.shown.push(Peer {
            key,
            id: labels.of(&key),
            name: None,
            host: None,
            total,
            drawn: total,
            active_ns: now_ns,
            leaving: false,
        });
    }

    fn retire(&mut self, key: &FlowKey) {
        let Some(place) = self.places.remove(key) else {
            return;
        };
        let peer = self.shown.swap_remove(place);
        if let Some(moved) = self.shown.get(place) {
            self.places.insert(moved.key, place);
        }
        if let Some(name) = &peer.name {
            self.names.remove(name);
        }
        self.retired.put(peer.key, peer.total);
    }

    /// The filters leave this one out from now on: its dimension goes as soon as it is drawn to the end.
    pub fn leave(&mut self, key: &FlowKey) {
        if let Some(peer) = self.places.get(key).and_then(|&place| self.shown.get_mut(place)) {
            peer.leaving = true;
        }
    }

    /// The same for all of whom this is true.
    pub fn leave_where(&mut self, is_out: impl Fn(&FlowKey) -> bool) {
        self.shown.iter_mut().filter(|peer| is_out(&peer.key)).for_each(|peer| peer.leaving = true);
    }

    fn dismiss_leaving(&mut self, now_ns: u64) {
        let leaving: Vec<FlowKey> =
            self.shown.iter().filter(|peer| peer.leaving && peer.is_drawn()).map(|peer| peer.key).collect();
        for key in leaving {
            if self.retired.room(now_ns) > 0 {
                self.retire(&key);
            }
        }
    }

    /// Whether this one has a dimension.
    pub fn is_shown(&self, key: &FlowKey) -> bool {
        self.places.contains_key(key)
    }

    /// Those with a dimension.
    pub fn shown(&self) -> &[Peer] {
        &self.shown
    }

    /// Gives those that are shown the host names that `host_of` knows now.
    pub fn rename<'a>(&mut self, labels: &Labels, host_of: impl Fn(&FlowKey) -> Option<&'a str>) {
        for peer in &mut self.shown {
            let host = host_of(&peer.key);
            if peer.host.as_deref() == host {
                continue;
            }
            if let Some(name) = peer.name.take() {
                self.names.remove(&name);
            }
            peer.host = host.map(str::to_owned);
            let name = host.map(|host| labels.with_host(&peer.key, Some(host)));
            // Several addresses of one host: the first has the plain name, the others their address behind it.
            let with_address = name.as_ref().map(|name| format!("{name}@{}", address(&peer.key)));
            peer.name = name.into_iter().chain(with_address).find(|name| self.names.insert(name.clone()));
        }
    }

    /// Everything is drawn as it is now.
    pub fn drawn(&mut self, now_ns: u64) {
        self.retired.drawn(now_ns);
        self.shown.iter_mut().for_each(|peer| peer.drawn = peer.total);
        self.other_drawn = self.other;
    }
}

impl Peer {
    /// Whether the charts have all of it.
    fn is_drawn(&self) -> bool {
        self.total == self.drawn
    }
}
