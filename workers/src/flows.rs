//! The table of flows: traffic by peer and by port, in the kernel until it is merged.
//!
//! In: the maps `flow_slots`, `flows` and `unknown_flows` of `probe-objects/common/flows.h`. Out: [`Flow`]s of the quiet epoch, each key once.

use std::collections::HashMap;
use std::io;

use shared::snapshot::{Direction, Flow, FlowKey, Protocol, Traffic};

use crate::bpf::MapHandle;
use crate::hash::Hash;
use crate::mapping::MappedRows;

/// Bytes of `struct flow_key`: address, port, direction, protocol, lane.
pub const FLOW_KEY: usize = 24;

/// Bytes of `struct flow`.
pub const FLOW: usize = 48;

/// Bytes of `struct flow_slot`: the owner, the key, the flow.
pub const FLOW_SLOT: usize = 8 + FLOW_KEY + FLOW;

/// Slots of a CPU in one epoch.
const SLOTS_PER_LANE: usize = 256;

/// Slots of a CPU.
pub const SLOTS_PER_CPU: usize = 2 * SLOTS_PER_LANE;

/// Rows of `unknown_flows` for each CPU: two epochs, directions, protocols.
pub const UNKNOWN_PER_CPU: usize = 8;

/// The maps of flows.
#[derive(Debug)]
pub struct Flows {
    /// Where flows are claimed, on kernels that can.
    slots: Option<MappedRows>,
    /// The map that they are in.
    slots_map: Option<MapHandle>,
    known: Hash,
    unknown: MapHandle,
    cpus: usize,
    /// Slots that were read last: freed when they are merged.
    claimed: Vec<usize>,
    /// Keys of what was read last: removed when it is merged.
    keys: Vec<u8>,
    /// Rows of `unknown_flows` that were read last and held something.
    rows: Vec<u32>,
}

impl Flows {
    /// `slots`: where there are any, to be mapped; `known`: the hash; `unknown`: the array beside it; `cpus`: possible CPUs.
    pub fn new(slots: Option<MapHandle>, known: Hash, unknown: MapHandle, cpus: usize) -> io::Result<Self> {
        let mapped = slots
            .as_ref()
            .map(|map| MappedRows::new(map.fd(), cpus * SLOTS_PER_CPU, FLOW_SLOT))
            .transpose()?;
        Ok(Flows {
            slots: mapped,
            slots_map: slots,
            known,
            unknown,
            cpus,
            claimed: Vec::new(),
            keys: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// Does once what reading and removing ask of the kernel, and changes nothing.
    pub fn try_once(&self) -> io::Result<()> {
        self.unknown.lookup(&0_u32.to_ne_bytes(), &mut [0; FLOW])?;
        self.known.try_once()
    }

    /// Traffic of the epoch, which must be quiet, and how many transfers found no room in the table.
    pub fn read(&mut self, epoch: u64) -> io::Result<(Vec<Flow>, u64)> {
        let mut sums: HashMap<FlowKey, Traffic> = HashMap::new();
        let mut without_room = 0;
        let parity = (epoch & 1) as u8;
        self.keys.clear();
        self.rows.clear();
        self.claimed.clear();
        self.read_slots(parity, &mut sums);
        let keys = &mut self.keys;
        self.known.read(
            |key| key[20] & 1 == parity,
            |key, value| {
                add(sums.entry(key_of(key)).or_default(), value);
                keys.extend_from_slice(key);
            },
        )?;
        let mut value = [0; FLOW];
        for cpu in 0..self.cpus {
            for n in 0..4 {
                let row = ((cpu * 2 + usize::from(parity)) * 4 + n) as u32;
                self.unknown.lookup(&row.to_ne_bytes(), &mut value)?;
                if value.iter().all(|&byte| byte == 0) {
                    continue;
                }
                let (direction, protocol) = kind(n as u8 >> 1, n as u8 & 1);
                let key = FlowKey { direction, protocol, port: 0, address: [0; 16] };
                add(sums.entry(key).or_default(), &value);
                without_room += word(&value, 5);
                self.rows.push(row);
            }
        }
        Ok((sums.into_iter().map(|(key, traffic)| Flow { key, traffic }).collect(), without_room))
    }

    fn read_slots(&mut self, parity: u8, sums: &mut HashMap<FlowKey, Traffic>) {
        let Some(slots) = &self.slots else { return };
        let mut slot = [0; FLOW_SLOT];
        for cpu in 0..self.cpus {
            let first = (cpu * 2 + usize::from(parity)) * SLOTS_PER_LANE;
            for index in (first..first + SLOTS_PER_LANE).filter(|&index| slots.is_claimed(index)) {
                slots.read(index, &mut slot);
                let (key, flow) = slot[8..].split_at(FLOW_KEY);
                add(sums.entry(key_of(key)).or_default(), flow);
                self.claimed.push(index);
            }
        }
    }

    /// The slots, where there are any, the hash, and the array beside it.
    pub fn maps(&self) -> (Option<&MapHandle>, &MapHandle, &MapHandle) {
        (self.slots_map.as_ref(), self.known.map(), &self.unknown)
    }

    /// Removes everything of an epoch that is merged, when it is not known what is removed already.
    pub fn clear_all(&mut self, epoch: u64) -> io::Result<()> {
        self.read(epoch)?;
        self.clear()
    }

    /// Removes what was read last: it is merged.
    pub fn clear(&mut self) -> io::Result<()> {
        for index in self.claimed.drain(..) {
            self.slots.iter().for_each(|slots| slots.clear(index));
        }
        self.known.delete(&std::mem::take(&mut self.keys))?;
        for row in self.rows.drain(..) {
            self.unknown.update(&row.to_ne_bytes(), &[0; FLOW])?;
        }
        Ok(())
    }
}

fn kind(direction: u8, protocol: u8) -> (Direction, Protocol) {
    let direction = if direction == 0 { Direction::Inbound } else { Direction::Outbound };
    (direction, if protocol == 0 { Protocol::Tcp } else { Protocol::Udp })
}

/// `key`: a `struct flow_key`.
fn key_of(key: &[u8]) -> FlowKey {
    let mut address = [0; 16];
    address.copy_from_slice(&key[..16]);
    let (direction, protocol) = kind(key[18], key[19]);
    FlowKey { direction, protocol, port: u16::from_ne_bytes([key[16], key[17]]), address }
}

fn add(sum: &mut Traffic, value: &[u8]) {
    sum.sent_bytes += word(value, 0);
    sum.received_bytes += word(value, 1);
    sum.sent_packets += word(value, 2);
    sum.received_packets += word(value, 3);
    sum.retransmits += word(value, 4);
}

fn word(value: &[u8], n: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&value[n * 8..n * 8 + 8]);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_its_traffic_are_read_as_the_c_side_lays_them_out() {
        let mut key = [0_u8; FLOW_KEY];
        key[10..16].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        key[16..18].copy_from_slice(&53_u16.to_ne_bytes());
        (key[18], key[19], key[20]) = (1, 1, 7);
        let read = key_of(&key);
        assert_eq!((read.direction, read.protocol, read.port), (Direction::Outbound, Protocol::Udp, 53));
        assert_eq!(
            std::net::Ipv6Addr::from(read.address).to_canonical().to_string(),
            "10.0.0.1",
            "addresses are in network order"
        );
        let mut value = [0_u8; FLOW];
        for (n, bytes) in value.chunks_mut(8).enumerate() {
            bytes.copy_from_slice(&(n as u64 + 1).to_ne_bytes());
        }
        let mut sum = Traffic::default();
        add(&mut sum, &value);
        add(&mut sum, &value);
        let twice = Traffic {
            sent_bytes: 2,
            received_bytes: 4,
            sent_packets: 6,
            received_packets: 8,
            retransmits: 10,
        };
        assert_eq!(sum, twice);
    }
}
