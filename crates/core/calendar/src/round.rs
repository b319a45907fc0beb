//! What is to be done when something comes round: begun, or left out and why. Jobs and schedules go by it.

use hornero_model::{Freeze, FreezeName, MissedTimes, Timestamp};

use crate::{Schedule, Turn, turn};

/// What is known of something that comes round.
#[derive(Debug, Clone, Copy)]
pub struct RoundState<'f> {
    /// The time that was seen to last, or when it was declared.
    pub since: Timestamp,
    /// Whether what was begun for a time before still goes on.
    pub busy: bool,
    /// What becomes of times that were missed.
    pub missed: MissedTimes,
    /// What holds it back.
    pub freezes: &'f [Freeze],
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoundStep {
    /// Nothing before this moment, where there is one.
    Wait {
        /// When it comes round next.
        until: Option<Timestamp>,
    },
    /// It begins.
    Begin {
        /// For when it was planned.
        planned: Timestamp,
        /// How many times before that were missed, and are not made up.
        missed: u32,
        /// Whether it is late itself: it is made up.
        late: bool,
    },
    /// Its time is left out.
    Skip {
        /// For when it was planned.
        planned: Timestamp,
        /// How many times before that were missed.
        missed: u32,
        /// Why.
        why: LeftOut,
    },
}

/// Why a time is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// What was begun before still goes on.
    Busy,
    /// It came round while nobody could see to it.
    Missed,
    /// A freeze held then, or holds now.
    Frozen {
        /// Which.
        freeze: FreezeName,
        /// Until when.
        until: Timestamp,
    },
}

/// What is to be done about something at `now`. A freeze comes before everything else: what it held back is not made up
/// once it has ended.
pub fn round_step(schedule: &Schedule, state: RoundState<'_>, now: Timestamp) -> RoundStep {
    let (planned, missed, late) = match turn(schedule, state.since, now) {
        Turn::Wait { next } => return RoundStep::Wait { until: next },
        Turn::Due { planned, missed } => (planned, missed, false),
        // The last of those that were missed is counted by itself.
        Turn::Missed { planned, missed } => (planned, missed.saturating_sub(1), true),
    };
    let holds = |freeze: &&Freeze| freeze.holds(planned) || freeze.holds(now);
    let frozen = state
        .freezes
        .iter()
        .find(holds)
        .map(|freeze| LeftOut::Frozen { freeze: freeze.name.clone(), until: freeze.until });
    let left_out = match (frozen, state.busy, state.missed) {
        (Some(frozen), _, _) => Some(frozen),
        (None, true, _) => Some(LeftOut::Busy),
        (None, false, MissedTimes::Skip) if late => Some(LeftOut::Missed),
        (None, false, MissedTimes::Skip | MissedTimes::CatchUp) => None,
    };
    match left_out {
        Some(why) => RoundStep::Skip { planned, missed, why },
        None => RoundStep::Begin { planned, missed, late },
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

    fn idle(since: &str) -> RoundState<'static> {
        let (since, missed) = (at(since), MissedTimes::Skip);
        RoundState { since, busy: false, missed, freezes: &[] }
    }

    #[track_caller]
    fn check(line: &str, state: RoundState<'_>, now: &str, expected: RoundStep) {
        let schedule = Schedule::new(line, ZONE).unwrap();
        assert_eq!(round_step(&schedule, state, at(now)), expected, "{state:?} at {now}");
    }

    const NIGHTLY: &str = "30 2 * * 1-5";

    fn begin(planned: &str, missed: u32, late: bool) -> RoundStep {
        RoundStep::Begin { planned: at(planned), missed, late }
    }

    fn skip(planned: &str, missed: u32, why: LeftOut) -> RoundStep {
        RoundStep::Skip { planned: at(planned), missed, why }
    }

    #[test]
    fn it_begins_when_it_comes_round_in_its_time_zone() {
        // A Friday, then the Monday after it.
        let state = idle("2026-12-04T02:30");
        check(NIGHTLY, state, "2026-12-07T02:30", begin("2026-12-07T02:30", 0, false));
        let until = Some(at("2026-12-07T02:30"));
        check(NIGHTLY, state, "2026-12-06T12:00", RoundStep::Wait { until });
        let utc = moment("2026-12-07T01:30", "UTC", End::From).unwrap();
        assert_eq!(until, Some(utc), "Berlin is an hour ahead in winter");
    }

    #[test]
    fn a_night_whose_clocks_are_changed_has_it_once() {
        // Half past two is left out on the 29th of March 2026, and there twice on the 25th of October.
        let daily = "30 2 * * *";
        check(
            daily,
            idle("2026-03-28T02:30"),
            "2026-03-29T03:00",
            begin("2026-03-29T03:00", 0, false),
        );
        let schedule = Schedule::new(daily, ZONE).unwrap();
        let first = schedule.after(at("2026-10-24T12:00")).unwrap();
        let hour = hornero_model::Millis(3_600_000);
        let state = RoundState { since: first, ..idle("2026-10-24T02:30") };
        let again = round_step(&schedule, state, first.after(hour));
        let until = Some(at("2026-10-26T02:30"));
        assert_eq!(again, RoundStep::Wait { until }, "the second half past two is none of it");
    }

    #[test]
    fn what_was_missed_is_left_out_or_made_up_as_declared() {
        let (since, now) = ("2026-12-01T02:30", "2026-12-04T09:00");
        check(NIGHTLY, idle(since), now, skip("2026-12-04T02:30", 2, LeftOut::Missed));
        let catch_up = RoundState { missed: MissedTimes::CatchUp, ..idle(since) };
        check(NIGHTLY, catch_up, now, begin("2026-12-04T02:30", 2, true));
        // Two minutes late is on time, whatever is declared.
        check(
            NIGHTLY,
            idle("2026-12-03T02:30"),
            "2026-12-04T02:32",
            begin("2026-12-04T02:30", 0, false),
        );
    }

    #[test]
    fn a_freeze_holds_back_and_nothing_of_it_is_made_up() {
        let name = FreezeName::new("holidays").unwrap();
        let (from, until) = (at("2026-12-20T00:00"), at("2027-01-02T00:00"));
        let freezes = [Freeze { name: name.clone(), from, until, home: false }];
        let catch_up = MissedTimes::CatchUp;
        let state = |since| RoundState { freezes: &freezes, missed: catch_up, ..idle(since) };
        let frozen = || LeftOut::Frozen { freeze: name.clone(), until };
        let held = skip("2026-12-21T02:30", 0, frozen());
        check(NIGHTLY, state("2026-12-18T02:30"), "2026-12-21T02:30", held);
        // Control was away and comes back when it holds no more: what came round in it stays left out.
        let after = skip("2027-01-01T02:30", 9, frozen());
        check(NIGHTLY, state("2026-12-18T02:30"), "2027-01-02T09:00", after);
        // What was planned just before it began is late, and would run into it.
        let freezes =
            [Freeze { name: name.clone(), from: at("2026-12-18T02:31"), until, home: false }];
        let state = RoundState { freezes: &freezes, ..idle("2026-12-17T02:30") };
        let held = skip("2026-12-18T02:30", 0, LeftOut::Frozen { freeze: name.clone(), until });
        check(NIGHTLY, state, "2026-12-18T02:31", held);
        check(NIGHTLY, state, "2026-12-18T02:30", begin("2026-12-18T02:30", 0, false));
        check(
            NIGHTLY,
            RoundState { since: until, ..state },
            "2027-01-04T02:30",
            begin("2027-01-04T02:30", 0, false),
        );
    }

    #[test]
    fn nothing_begins_while_the_time_before_goes_on() {
        let busy =
            RoundState { busy: true, missed: MissedTimes::CatchUp, ..idle("2026-12-01T02:30") };
        check(NIGHTLY, busy, "2026-12-02T02:30", skip("2026-12-02T02:30", 0, LeftOut::Busy));
        check(NIGHTLY, busy, "2026-12-04T09:00", skip("2026-12-04T02:30", 2, LeftOut::Busy));
    }
}
