//! Whose turn it is: what of a schedule is due, and what was missed.

use hornero_model::{Millis, Timestamp};

use crate::Schedule;

/// How late a run may begin and still be on time: an upgrade of control or a restart of the host takes less.
pub const ON_TIME: Millis = Millis(120_000);
/// Missed runs that are counted, beyond which it does not matter: one a minute for more than half a day.
pub const MISSED_COUNTED: u32 = 1_000;

/// What is to be done about a schedule at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing before the next time, where there is one.
    Wait {
        /// When it comes round.
        next: Option<Timestamp>,
    },
    /// It has come round.
    Due {
        /// For when it was planned.
        planned: Timestamp,
        /// How many times before that were missed, of those up to [`MISSED_COUNTED`].
        missed: u32,
    },
    /// It came round while nobody could see to it.
    Missed {
        /// For when the last time was planned.
        planned: Timestamp,
        /// How many there were, that one included, of those up to [`MISSED_COUNTED`].
        missed: u32,
    },
}

/// What is to be done at `now` about a schedule that was seen to last for the time `since`, or declared then.
pub fn turn(schedule: &Schedule, since: Timestamp, now: Timestamp) -> Turn {
    let Some(planned) = schedule.last(now).filter(|planned| *planned > since) else {
        // Where the clock was set back, what was seen to is not seen to again.
        return Turn::Wait { next: schedule.after(now.max(since)) };
    };
    let mut missed = 0;
    let mut before = schedule.after(since);
    while let Some(moment) = before.filter(|moment| *moment < planned && missed < MISSED_COUNTED) {
        missed += 1;
        before = schedule.after(moment);
    }
    match now.since(planned) <= ON_TIME {
        true => Turn::Due { planned, missed },
        false => Turn::Missed { planned, missed: (missed + 1).min(MISSED_COUNTED) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{End, moment};

    const ZONE: &str = "Europe/Berlin";

    fn at(text: &str) -> Timestamp {
        moment(text, ZONE, End::From).unwrap()
    }

    #[track_caller]
    fn check(since: &str, now: &str, expected: Turn) {
        let schedule = Schedule::new("30 2 * * *", ZONE).unwrap();
        assert_eq!(turn(&schedule, at(since), at(now)), expected, "since {since}, at {now}");
    }

    #[test]
    fn a_time_is_seen_to_once() {
        let planned = at("2026-12-01T02:30");
        let next = Some(planned);
        check("2026-11-30T02:30", "2026-12-01T02:29:59", Turn::Wait { next });
        check("2026-11-30T02:30", "2026-12-01T02:30", Turn::Due { planned, missed: 0 });
        check("2026-11-30T02:30", "2026-12-01T02:32", Turn::Due { planned, missed: 0 });
        let next = Some(at("2026-12-02T02:30"));
        check("2026-12-01T02:30", "2026-12-01T02:30", Turn::Wait { next });
        check("2026-12-01T02:30", "2026-12-01T02:31", Turn::Wait { next });
    }

    #[test]
    fn what_came_round_unseen_is_missed() {
        let planned = at("2026-12-01T02:30");
        check("2026-11-30T02:30", "2026-12-01T02:32:01", Turn::Missed { planned, missed: 1 });
        check("2026-11-28T02:30", "2026-12-01T09:00", Turn::Missed { planned, missed: 3 });
        check("2026-11-28T02:30", "2026-12-01T02:30", Turn::Due { planned, missed: 2 });
    }

    #[test]
    fn a_clock_that_is_set_back_repeats_nothing() {
        let next = Some(at("2026-12-02T02:30"));
        check("2026-12-01T02:30", "2026-11-30T02:00", Turn::Wait { next });
        check("2026-12-01T02:30", "2026-11-30T02:30", Turn::Wait { next });
    }

    #[test]
    fn a_clock_that_is_set_years_ahead_counts_to_a_bound() {
        let schedule = Schedule::new("* * * * *", "UTC").unwrap();
        let seen = turn(&schedule, Timestamp(0), Timestamp(1_700_000_030_000));
        let planned = Timestamp(1_699_999_980_000);
        assert_eq!(seen, Turn::Due { planned, missed: MISSED_COUNTED });
    }

    #[test]
    fn one_that_was_just_declared_waits_for_its_next_time() {
        let next = Some(at("2026-12-01T02:30"));
        check("2026-11-30T12:00", "2026-11-30T12:00", Turn::Wait { next });
    }
}
