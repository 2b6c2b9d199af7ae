//! The rule of who is shown, written down without regard to speed or memory; and random traffic.

use std::cmp::Reverse;

use shared::snapshot::{Direction, Flow, FlowKey, Protocol, Traffic};

use super::{SECOND_NS, flow, key};

/// Somebody who ever moved something.
#[derive(Clone)]
struct Somebody {
    key: FlowKey,
    shown: bool,
    active_ns: u64,
    is_drawn: bool,
    weight: u64,
}

/// One direction.
pub struct Side {
    room: usize,
    all: Vec<Somebody>,
    halved_ns: u64,
    pub passed: Traffic,
    pub other: Traffic,
}

/// The whole viewer with the filters `ips = 10.0.0.0/8`, `ports = !99`.
pub struct Model {
    pub outbound: Side,
    pub inbound: Side,
    pub filtered: Traffic,
}

impl Model {
    pub fn new(maximum: usize) -> Self {
        let side = || Side {
            room: (maximum / 2).saturating_sub(1),
            all: Vec::new(),
            halved_ns: 0,
            passed: Traffic::default(),
            other: Traffic::default(),
        };
        Model { outbound: side(), inbound: side(), filtered: Traffic::default() }
    }

    pub fn add(&mut self, epoch: &[Flow], now_ns: u64) {
        let (mut outbound, mut inbound) = (Vec::new(), Vec::new());
        for flow in epoch {
            let (side, passing) = match flow.key.direction {
                Direction::Outbound => (&mut self.outbound, &mut outbound),
                Direction::Inbound => (&mut self.inbound, &mut inbound),
            };
            let is_of_10 = flow.key.direction == Direction::Inbound || flow.key.address[12] == 10;
            if flow.key.port == 0 {
                side.other.add(&flow.traffic);
            } else if flow.key.port == 99 || !is_of_10 {
                self.filtered.add(&flow.traffic);
                continue;
            } else {
                passing.push((flow.key, flow.traffic));
            }
            side.passed.add(&flow.traffic);
        }
        self.outbound.add(outbound, now_ns);
        self.inbound.add(inbound, now_ns);
    }

    pub fn drawn(&mut self) {
        for side in [&mut self.outbound, &mut self.inbound] {
            side.all.iter_mut().for_each(|one| one.is_drawn = true);
        }
    }
}

impl Side {
    pub fn shown(&self) -> impl Iterator<Item = FlowKey> {
        self.all.iter().filter(|one| one.shown).map(|one| one.key)
    }

    fn find(&mut self, key: FlowKey) -> &mut Somebody {
        let place = self.all.iter().position(|one| one.key == key).unwrap_or_else(|| {
            self.all.push(Somebody { key, shown: false, active_ns: 0, is_drawn: true, weight: 0 });
            self.all.len() - 1
        });
        &mut self.all[place]
    }

    fn add(&mut self, mut flows: Vec<(FlowKey, Traffic)>, now_ns: u64) {
        let is_new = |side: &mut Side, key| !side.find(key).shown;
        flows.sort_by_key(|(key, _)| *key);
        let newcomers: Vec<_> = flows.iter().filter(|(key, _)| is_new(self, *key)).copied().collect();
        for (key, _) in flows.iter().filter(|flow| !newcomers.contains(flow)) {
            let one = self.find(*key);
            (one.active_ns, one.is_drawn) = (now_ns, false);
        }
        if newcomers.is_empty() {
            return;
        }
        while now_ns - self.halved_ns >= 60 * SECOND_NS {
            self.halved_ns += 60 * SECOND_NS;
            self.all.iter_mut().for_each(|one| one.weight /= 2);
        }
        newcomers.iter().for_each(|(key, traffic)| self.find(*key).weight += traffic.bytes().max(1));
        while self.room - self.shown().count() < newcomers.len() {
            let is_silent =
                |one: &&mut Somebody| one.shown && one.is_drawn && now_ns - one.active_ns >= 300 * SECOND_NS;
            let longest = self.all.iter_mut().filter(is_silent).min_by_key(|one| (one.active_ns, one.key));
            let Some(longest) = longest else {
                break;
            };
            longest.shown = false;
        }
        let mut ranked: Vec<_> = newcomers
            .iter()
            .map(|(key, traffic)| (Reverse((self.find(*key).weight, traffic.bytes())), *key, *traffic))
            .collect();
        ranked.sort_by_key(|(rank, key, _)| (*rank, *key));
        for (_, key, traffic) in ranked {
            if self.shown().count() < self.room {
                let one = self.find(key);
                (one.shown, one.active_ns, one.is_drawn, one.weight) = (true, now_ns, false, 0);
            } else {
                self.other.add(&traffic);
            }
        }
    }
}

/// xorshift64: the same numbers in each run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Traffic of some of `peers`, each once: known and unknown, in both directions, with and without the filters' leave.
    pub fn epoch(&mut self, peers: u64) -> Vec<Flow> {
        let mut flows: Vec<Flow> = Vec::new();
        for _ in 0..self.below(2 * peers) {
            let number = self.below(peers) as u32;
            let mut key = key(number);
            match self.below(10) {
                0 => key = FlowKey { port: 0, address: [0; 16], ..key },
                1 => key.port = 99,
                2 => key.address[12] = 11,
                3 => key.protocol = Protocol::Udp,
                4..=6 => {
                    let port = [0, 99, 1 + number as u16][self.below(3) as usize];
                    key = FlowKey { direction: Direction::Inbound, port, address: [0; 16], ..key };
                }
                _ => {}
            }
            let bytes = self.below(100_000) >> self.below(17);
            if flows.iter().all(|known| known.key != key) {
                flows.push(flow(key, bytes));
            }
        }
        flows
    }
}
