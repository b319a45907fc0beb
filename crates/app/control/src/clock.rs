//! The time that decisions are made by: the host's clock, but for its jumps while something is timed by it.
//!
//! Deadlines of rollouts stand in the ledger as times of day, so that they outlive control. A host's clock that is set
//! meanwhile, by hours or by years, would let all of them pass at once, or none for years. So while anything is timed,
//! time goes on as the monotone clock does, from where it was; once nothing is, the host's clock is followed again.

use std::time::{Duration, Instant};

use hornero_model::Timestamp;

/// Differences that are followed at once: a clock that is adjusted slowly drifts by less between two looks.
const FOLLOWED_MS: u64 = 2_000;

/// A clock that does not jump while something is timed by it.
#[derive(Debug)]
pub struct SteadyClock {
    time: Timestamp,
    at: Instant,
    jumped: bool,
}

impl SteadyClock {
    /// A clock that shows `wall` at the moment `at`, or `last`, the time of the newest event, where that is later.
    pub fn new(wall: Timestamp, last: Timestamp, at: Instant) -> Self {
        Self { time: wall.max(last), at, jumped: false }
    }

    /// The time at the moment `at`, when the host's clock shows `wall`; `settled` says that nothing is timed by it.
    pub fn read(&mut self, wall: Timestamp, at: Instant, settled: bool) -> Timestamp {
        let passed = at.saturating_duration_since(self.at);
        let steady = Timestamp(self.time.0.saturating_add(millis(passed)));
        let off = steady.0.abs_diff(wall.0);
        let follows = settled || off <= FOLLOWED_MS;
        if !follows && !self.jumped {
            tracing::warn!(
                "the host's clock was set: it is off by {} s; what is under way goes on by the time that passed",
                off / 1_000
            );
        }
        self.jumped = !follows;
        self.time = if follows { wall } else { steady };
        self.at = at;
        self.time
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_700_000_000_000);
    const YEAR_MS: u64 = 365 * 24 * 3_600_000;

    fn later(by_ms: u64) -> Timestamp {
        Timestamp(START.0 + by_ms)
    }

    #[test]
    fn jumps_while_something_is_timed_change_no_duration() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        for wall in [START.0 + 5 * YEAR_MS, START.0 - 5 * YEAR_MS, START.0 - 3_600_000, 0] {
            let mut clock = SteadyClock::new(START, Timestamp(0), began);
            assert_eq!(clock.read(later(10_000), at(10), false), later(10_000));
            let jumped = |seconds: u64| Timestamp(wall + seconds * 1_000);
            assert_eq!(clock.read(jumped(11), at(11), false), later(11_000));
            assert_eq!(clock.read(jumped(60), at(60), false), later(60_000));
            // Nothing is timed any more.
            assert_eq!(clock.read(jumped(61), at(61), true), jumped(61));
            assert_eq!(clock.read(jumped(62), at(62), false), jumped(62));
        }
    }

    #[test]
    fn a_clock_that_is_adjusted_slowly_is_followed() {
        let began = Instant::now();
        let mut clock = SteadyClock::new(START, Timestamp(0), began);
        for second in 1..1_000 {
            let wall = later(second * 1_010);
            assert_eq!(clock.read(wall, began + Duration::from_secs(second), false), wall);
        }
    }

    #[test]
    fn a_clock_set_back_while_control_was_gone_goes_on_from_the_last_event() {
        let began = Instant::now();
        let mut clock = SteadyClock::new(START, later(YEAR_MS), began);
        let at = began + Duration::from_secs(5);
        assert_eq!(clock.read(later(5_000), at, false), later(YEAR_MS + 5_000));
        assert_eq!(clock.read(later(6_000), at, true), later(6_000));
    }
}
