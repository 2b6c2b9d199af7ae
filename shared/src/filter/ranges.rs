//! A set of numbers made of ranges, for look-ups in logarithmic time.

/// Ranges in ascending order that do not overlap; both ends belong to a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSet<T> {
    ranges: Vec<(T, T)>,
}

impl<T: Copy + Ord> RangeSet<T> {
    /// Unites `ranges`, which may overlap and have any order. No range's first number is above its last one.
    pub fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        let mut united: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match united.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => united.push((first, last)),
            }
        }
        Self { ranges: united }
    }

    /// True when one of the ranges contains `number`.
    pub fn contains(&self, number: T) -> bool {
        let behind = self.ranges.partition_point(|range| range.0 <= number);
        behind > 0 && number <= self.ranges[behind - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_or_hold_one_another_become_one() {
        let set = RangeSet::new(vec![(30, 40), (5, 9), (1, 100), (90, 120), (200, 200), (201, 202)]);
        assert_eq!(set.ranges, [(1, 120), (200, 200), (201, 202)]);
    }

    #[test]
    fn both_ends_belong_to_a_range() {
        let set = RangeSet::new(vec![(0, 0), (10, 20), (u32::MAX - 1, u32::MAX)]);
        for inside in [0, 10, 20, u32::MAX - 1, u32::MAX] {
            assert!(set.contains(inside), "{inside}");
        }
        for outside in [1, 9, 21, u32::MAX - 2] {
            assert!(!set.contains(outside), "{outside}");
        }
        assert!(!RangeSet::new(Vec::new()).contains(0_u128));
    }
}
