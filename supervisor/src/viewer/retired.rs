//! Totals of peers that have given their dimension to others, so that they can go on where they were.

use std::collections::{HashMap, VecDeque};

use shared::snapshot::{FlowKey, Traffic};

/// Most that are remembered: about 10 MB. While there is no room, no dimension is given to another.
const MOST: usize = 65_536;

/// A total is forgotten two hours after its dimension was announced as obsolete. The agent has forgotten the dimension by then
/// (`cleanup obsolete charts after secs`, one hour by default), so that it may begin at zero again.
pub const FORGOTTEN_AFTER_NS: u64 = 7_200_000_000_000;

/// What the retired had moved.
#[derive(Debug, Default)]
pub struct Retired {
    /// Total, and number of the retirement.
    totals: HashMap<FlowKey, (Traffic, u64)>,
    /// The retirements since the last drawing, by number.
    fresh: Vec<(u64, FlowKey)>,
    /// Those before, with the time of the drawing; oldest first. Who has come back in between is there, too.
    drawn: VecDeque<(u64, u64, FlowKey)>,
    next_number: u64,
}

impl Retired {
    /// How many more can be remembered.
    pub fn room(&mut self, now_ns: u64) -> usize {
        while let Some(&(drawn_ns, number, key)) = self.drawn.front() {
            if now_ns.saturating_sub(drawn_ns) < FORGOTTEN_AFTER_NS {
                break;
            }
            self.drawn.pop_front();
            // The total may be of a later retirement.
            if self.totals.get(&key).is_some_and(|(_, of)| *of == number) {
                self.totals.remove(&key);
            }
        }
        MOST - (self.drawn.len() + self.fresh.len()).min(MOST)
    }

    /// Remembers the total of one that has no dimension any more.
    pub fn put(&mut self, key: FlowKey, total: Traffic) {
        self.totals.insert(key, (total, self.next_number));
        self.fresh.push((self.next_number, key));
        self.next_number += 1;
    }

    /// What one had when it was retired; zero for one that never was, or long ago.
    pub fn take(&mut self, key: &FlowKey) -> Traffic {
        self.totals.remove(key).map(|(total, _)| total).unwrap_or_default()
    }

    /// The agent knows of all retirements now.
    pub fn drawn(&mut self, now_ns: u64) {
        self.drawn.extend(self.fresh.drain(..).map(|(number, key)| (now_ns, number, key)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::key;
    use super::*;

    fn total(bytes: u64) -> Traffic {
        Traffic { sent_bytes: bytes, ..Traffic::default() }
    }

    #[test]
    fn memory_is_bounded_and_comes_back_with_time() {
        let mut retired = Retired::default();
        for number in 0..MOST as u32 {
            assert!(retired.room(u64::from(number)) > 0);
            retired.put(key(number), total(u64::from(number)));
            retired.drawn(u64::from(number));
        }
        assert_eq!(retired.room(FORGOTTEN_AFTER_NS - 1), 0);
        assert_eq!(retired.room(FORGOTTEN_AFTER_NS + 9), 10);
        assert_eq!(retired.take(&key(9)), total(0), "forgotten");
        assert_eq!(retired.take(&key(10)), total(10));
        assert_eq!(retired.take(&key(10)), total(0), "taken once");
    }

    #[test]
    fn a_later_retirement_is_remembered_from_its_own_drawing() {
        let mut retired = Retired::default();
        retired.put(key(1), total(1));
        retired.drawn(0);
        assert_eq!(retired.take(&key(1)), total(1));
        retired.put(key(1), total(2));
        assert_eq!(retired.room(10 * FORGOTTEN_AFTER_NS), MOST - 1, "the agent does not know yet");
        assert_eq!(retired.take(&key(1)), total(2));
    }
}
