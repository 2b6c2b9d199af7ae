//! How busy peers in `other` have been lately, in bounded memory.
//!
//! A Misra-Gries summary (Agarwal and others, "Mergeable Summaries", 2012): when there are too many, all lose as much as the first of
//! those that are left out had. So counts are too low, never too high, by at most 1/[`MOST`] of all that was added, and somebody
//! who came once is not taken for busy.

use std::collections::HashMap;

use shared::snapshot::FlowKey;

/// Peers that are remembered: many times those that have a dimension by default; about 200 kB.
const MOST: usize = 4096;

/// What was long ago counts half as much after every such time.
const HALVING_NS: u64 = 60_000_000_000;

/// Bytes of lately by peer.
#[derive(Debug, Default)]
pub struct Candidates {
    weights: HashMap<FlowKey, u64>,
    halved_ns: u64,
}

impl Candidates {
    /// Adds what each of `peers` moved in the epoch that ended at `now_ns`; one that moved no bytes counts a little, too.
    pub fn add(&mut self, peers: impl Iterator<Item = (FlowKey, u64)>, now_ns: u64) {
        let halvings = now_ns.saturating_sub(self.halved_ns) / HALVING_NS;
        if halvings > 0 {
            self.halved_ns += halvings * HALVING_NS;
            self.weights.retain(|_, weight| {
                *weight >>= halvings.min(63);
                *weight != 0
            });
        }
        for (key, bytes) in peers {
            let weight = self.weights.entry(key).or_default();
            *weight = weight.saturating_add(bytes.max(1));
        }
        self.shorten();
    }

    fn shorten(&mut self) {
        if self.weights.len() <= MOST {
            return;
        }
        let mut weights: Vec<u64> = self.weights.values().copied().collect();
        let (_, first_out, _) = weights.select_nth_unstable_by(MOST, |a, b| b.cmp(a));
        let less = *first_out;
        self.weights.retain(|_, weight| {
            *weight = weight.saturating_sub(less);
            *weight != 0
        });
        // What is far more than anybody needs is given back.
        self.weights.shrink_to(2 * MOST);
    }

    /// At least so many bytes lately; 0 for one that is not remembered.
    pub fn weight(&self, key: &FlowKey) -> u64 {
        self.weights.get(key).copied().unwrap_or(0)
    }

    /// Forgets one that is in `other` no more.
    pub fn remove(&mut self, key: &FlowKey) {
        self.weights.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::key;
    use super::*;

    #[test]
    fn the_busy_are_found_among_many_that_come_once() {
        let mut candidates = Candidates::default();
        let mut stranger = 1000;
        for second in 0..50_u64 {
            let strangers = stranger..stranger + 10_000;
            stranger += 10_000;
            let epoch = strangers.map(|number| (key(number), 1000)).chain((0..10).map(|n| (key(n), 20_000)));
            candidates.add(epoch, second);
            assert!(candidates.weights.len() <= MOST);
        }
        for busy in 0..10 {
            assert!(candidates.weight(&key(busy)) > 50 * 15_000, "{busy}");
            assert!(candidates.weight(&key(busy)) <= 50 * 20_000, "{busy}");
        }
        assert!(candidates.weight(&key(stranger - 1)) <= 1000);
    }

    #[test]
    fn the_past_fades() {
        let mut candidates = Candidates::default();
        candidates.add([(key(1), 1000)].into_iter(), HALVING_NS);
        candidates.add([(key(2), 0)].into_iter(), 2 * HALVING_NS);
        assert_eq!((candidates.weight(&key(1)), candidates.weight(&key(2))), (500, 1));
        candidates.add(std::iter::empty(), 3 * HALVING_NS);
        assert_eq!((candidates.weight(&key(1)), candidates.weight(&key(2))), (250, 0));
        candidates.remove(&key(1));
        assert_eq!(candidates.weight(&key(1)), 0);
    }
}
