//! When epochs and intervals end: at whole seconds and whole intervals of the wall clock, as agents align their samples. Pure: both clocks
//! are given.
//!
//! The wall clock may be set at any time, by an hour or by a millisecond; what has been asked for once is not asked for again because of it.

use std::time::{Duration, Instant};

/// Time between two epochs.
pub const COLLECTING: Duration = Duration::from_secs(1);

/// The seconds of a wall clock, one after the other.
#[derive(Debug)]
pub struct Boundaries {
    /// Seconds of an interval.
    interval_s: u64,
    last: Option<Boundary>,
    /// Number of the interval, since 1970, in which the last one was drawn.
    drawn: Option<u64>,
}

/// An end of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary {
    /// When.
    pub at: Instant,
    /// An interval ends, too.
    pub ends_interval: bool,
}

impl Boundaries {
    /// Of intervals of `interval`, in whole seconds and one at least.
    pub fn new(interval: Duration) -> Self {
        Boundaries { interval_s: interval.as_secs().max(1), last: None, drawn: None }
    }

    /// The next one after `now`, when the wall clock says `since_epoch`; read together.
    ///
    /// Half a second to one and a half after the one before, where nothing is late: the wall clock may say once more what it said then, if it was
    /// set back a little, or runs slower than the other clock. An interval ends in each second that begins one, and in the first of any other.
    pub fn next(&mut self, since_epoch: Duration, now: Instant) -> Boundary {
        let mut second = since_epoch.as_secs() + 1;
        let mut at = now + (Duration::from_secs(second) - since_epoch);
        if self.last.is_some_and(|last| at < last.at + COLLECTING / 2) {
            second += 1;
            at += COLLECTING;
        }
        let interval = second / self.interval_s;
        let drawn = *self.drawn.get_or_insert((second - 1) / self.interval_s);
        let ends_interval = second.is_multiple_of(self.interval_s) || interval != drawn;
        if ends_interval {
            self.drawn = Some(interval);
        }
        let boundary = Boundary { at, ends_interval };
        self.last = Some(boundary);
        boundary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    /// Two clocks that start at a whole minute, plus some time.
    struct Clocks {
        start: Instant,
        passed_ms: i64,
        wall_ahead_ms: i64,
    }

    impl Clocks {
        fn new() -> Self {
            Clocks { start: Instant::now(), passed_ms: 300, wall_ahead_ms: 0 }
        }

        /// The next boundary, at which the clocks are then: milliseconds since the start, and whether an interval ends.
        fn pass(&mut self, boundaries: &mut Boundaries) -> (i64, bool) {
            let wall_ms = 1_700_000_040_000 + self.passed_ms + self.wall_ahead_ms;
            let now = self.start + Duration::from_millis(self.passed_ms.cast_unsigned());
            let next = boundaries.next(Duration::from_millis(wall_ms.cast_unsigned()), now);
            self.passed_ms = (next.at - self.start).as_millis() as i64;
            (self.passed_ms, next.ends_interval)
        }
    }

    #[test]
    fn each_second_once_and_each_interval() {
        let (mut clocks, mut boundaries) = (Clocks::new(), Boundaries::new(Duration::from_secs(5)));
        let passed: Vec<(i64, bool)> = (0..11).map(|_| clocks.pass(&mut boundaries)).collect();
        let wanted: Vec<(i64, bool)> = (1..12).map(|second| (second * 1000, second % 5 == 0)).collect();
        assert_eq!(passed, wanted);
    }

    /// The wall clock says less than a moment ago, or its second begins later than that of the other clock.
    #[test]
    fn a_second_that_comes_again_is_not_taken_twice() {
        for back_ms in [1, 20, 499] {
            let (mut clocks, mut boundaries) = (Clocks::new(), Boundaries::new(Duration::from_secs(1)));
            assert_eq!(clocks.pass(&mut boundaries), (1000, true));
            clocks.wall_ahead_ms = -back_ms;
            assert_eq!(clocks.pass(&mut boundaries), (2000 + back_ms, true), "{back_ms} ms back");
            assert_eq!(clocks.pass(&mut boundaries), (3000 + back_ms, true), "{back_ms} ms back");
        }
    }

    #[test]
    fn no_step_of_the_wall_clock_stalls_or_floods() {
        for interval_s in [1, 5] {
            for step_ms in [
                HOUR,
                -HOUR,
                HOUR + 700,
                -HOUR - 700,
                300,
                -300,
                501,
                -501,
                999,
                7_000,
                -7_000,
                86_400 * 365_000,
            ] {
                for at in 1..12 {
                    let (mut clocks, mut boundaries) =
                        (Clocks::new(), Boundaries::new(Duration::from_secs(interval_s)));
                    let (mut last, mut drawn) = (0, 0);
                    for number in 0..24 {
                        if number == at {
                            clocks.wall_ahead_ms = step_ms;
                        }
                        let (passed, ends) = clocks.pass(&mut boundaries);
                        let case =
                            format!("{step_ms} ms at {at}, interval {interval_s}, {last} ms → {passed} ms");
                        assert!((500..=1500).contains(&(passed - last)) || number == 0, "{case}");
                        if ends {
                            let most = 1000 * interval_s.cast_signed() + 1500;
                            assert!(passed - drawn <= most, "{case}, drawn at {drawn}");
                            drawn = passed;
                        }
                        last = passed;
                    }
                }
            }
        }
    }

    /// What comes late is behind: the next second is the next one of the clock.
    #[test]
    fn late_by_seconds() {
        let (mut clocks, mut boundaries) = (Clocks::new(), Boundaries::new(Duration::from_secs(2)));
        assert_eq!(clocks.pass(&mut boundaries), (1000, false));
        clocks.passed_ms = 4700;
        // That of 2 and of 4 was missed.
        assert_eq!(clocks.pass(&mut boundaries), (5000, true));
        assert_eq!(clocks.pass(&mut boundaries), (6000, true));
        assert_eq!(clocks.pass(&mut boundaries), (7000, false));
    }
}
