//! What is to be done about a job: begun, tried again, or left out because the last run still goes on.

use hornero_model::{Millis, MissedTimes, Timestamp};

use crate::{RoundState, RoundStep, Schedule, round_step};

/// Before the first try after a failure; each further one waits twice as long.
const FIRST_RETRY: Millis = Millis(1_000);
/// The longest wait between two tries.
const LONGEST_RETRY: Millis = Millis(300_000);

/// What is known of a job.
#[derive(Debug, Clone, Copy)]
pub struct JobState {
    /// The time that was seen to last, or when it was declared.
    pub since: Timestamp,
    /// Whether a run of it goes on.
    pub running: bool,
    /// The last run for a planned time, where it failed and nobody ended it.
    pub failed: Option<FailedTry>,
    /// How often it is tried again.
    pub retries: u32,
}

/// A run that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedTry {
    /// For when it was planned.
    pub planned: Timestamp,
    /// Which try it was, from 1.
    pub attempt: u32,
    /// When it ended.
    pub ended: Timestamp,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStep {
    /// Nothing before this moment, where there is one.
    Wait {
        /// When to look again.
        until: Option<Timestamp>,
    },
    /// A run begins.
    Begin {
        /// For when it was planned.
        planned: Timestamp,
        /// Which try it is, from 1.
        attempt: u32,
        /// How many times before that were missed, and are not made up.
        missed: u32,
        /// Whether it is late itself: it is made up.
        late: bool,
    },
    /// Its time is left out: the last run still goes on, or is to be tried again.
    Skip {
        /// For when it was planned.
        planned: Timestamp,
        /// How many times before that were missed.
        missed: u32,
    },
}

/// What is to be done about a job at `now`; without a schedule only what failed is looked after.
pub fn job_step(schedule: Option<&Schedule>, state: JobState, now: Timestamp) -> JobStep {
    let again = state.failed.filter(|failed| failed.attempt <= state.retries && !state.running);
    let again_at = again.map(|failed| (failed.ended.after(pause(failed.attempt)), failed));
    let round = RoundState {
        since: state.since,
        busy: state.running || again.is_some(),
        missed: MissedTimes::CatchUp,
        freezes: &[],
    };
    let step = schedule.map(|schedule| round_step(schedule, round, now));
    match (step, again_at) {
        (Some(RoundStep::Skip { planned, missed, .. }), _) => JobStep::Skip { planned, missed },
        (Some(RoundStep::Begin { planned, missed, late }), _) => {
            JobStep::Begin { planned, attempt: 1, missed, late }
        }
        (_, Some((at, failed))) if at <= now => {
            let FailedTry { planned, attempt, .. } = failed;
            JobStep::Begin { planned, attempt: attempt + 1, missed: 0, late: false }
        }
        (Some(RoundStep::Wait { until }), again) => {
            let until = until.into_iter().chain(again.map(|(at, _)| at)).min();
            JobStep::Wait { until }
        }
        (None, again) => JobStep::Wait { until: again.map(|(at, _)| at) },
    }
}

/// How long to wait after a try failed.
fn pause(attempt: u32) -> Millis {
    let doubled = FIRST_RETRY.0.saturating_mul(1 << attempt.saturating_sub(1).min(30));
    Millis(doubled.min(LONGEST_RETRY.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{End, moment};

    fn at(text: &str) -> Timestamp {
        moment(text, "UTC", End::From).unwrap()
    }

    fn idle(since: &str) -> JobState {
        JobState { since: at(since), running: false, failed: None, retries: 0 }
    }

    #[track_caller]
    fn check(state: JobState, now: &str, expected: JobStep) {
        let schedule = Schedule::new("0 3 * * *", "UTC").unwrap();
        assert_eq!(job_step(Some(&schedule), state, at(now)), expected, "{state:?} at {now}");
    }

    #[test]
    fn a_job_begins_when_it_comes_round_and_waits_otherwise() {
        let planned = at("2026-12-01T03:00");
        let begin = JobStep::Begin { planned, attempt: 1, missed: 0, late: false };
        check(idle("2026-11-30T03:00"), "2026-12-01T03:00", begin);
        let wait = JobStep::Wait { until: Some(planned) };
        check(idle("2026-11-30T03:00"), "2026-12-01T02:59", wait);
        let tomorrow = JobStep::Wait { until: Some(at("2026-12-02T03:00")) };
        check(idle("2026-12-01T03:00"), "2026-12-01T03:00", tomorrow);
    }

    #[test]
    fn of_missed_times_the_last_is_made_up_and_no_other() {
        let planned = at("2026-12-01T03:00");
        let late = JobStep::Begin { planned, attempt: 1, missed: 2, late: true };
        check(idle("2026-11-28T03:00"), "2026-12-01T09:00", late);
        // Then it waits for the next.
        let wait = JobStep::Wait { until: Some(at("2026-12-02T03:00")) };
        check(idle("2026-12-01T03:00"), "2026-12-01T09:00", wait);
    }

    #[test]
    fn no_two_runs_of_a_job_overlap() {
        let running = JobState { running: true, ..idle("2026-11-30T03:00") };
        let planned = at("2026-12-01T03:00");
        check(running, "2026-12-01T03:00", JobStep::Skip { planned, missed: 0 });
        check(running, "2026-12-01T09:00", JobStep::Skip { planned, missed: 0 });
        let long = JobState { running: true, ..idle("2026-11-28T03:00") };
        check(long, "2026-12-01T09:00", JobStep::Skip { planned, missed: 2 });
        check(running, "2026-12-01T02:00", JobStep::Wait { until: Some(planned) });
    }

    #[test]
    fn what_failed_is_tried_again_as_often_as_it_may() {
        let planned = at("2026-12-01T03:00");
        let ended = at("2026-12-01T03:10");
        let failed = |attempt, retries| JobState {
            failed: Some(FailedTry { planned, attempt, ended }),
            retries,
            ..idle("2026-12-01T03:00")
        };
        let tomorrow = JobStep::Wait { until: Some(at("2026-12-02T03:00")) };
        check(failed(1, 0), "2026-12-01T04:00", tomorrow);
        check(
            failed(1, 2),
            "2026-12-01T03:10",
            JobStep::Wait { until: Some(ended.after(Millis(1_000))) },
        );
        let again = JobStep::Begin { planned, attempt: 2, missed: 0, late: false };
        check(failed(1, 2), "2026-12-01T03:10:01", again);
        check(
            failed(2, 2),
            "2026-12-01T03:10",
            JobStep::Wait { until: Some(ended.after(Millis(2_000))) },
        );
        check(failed(3, 2), "2026-12-01T04:00", tomorrow);
        // While one waits to be tried again, no other begins.
        let next = at("2026-12-02T03:00");
        check(failed(1, 2), "2026-12-02T03:00", JobStep::Skip { planned: next, missed: 0 });
        assert_eq!(pause(40), LONGEST_RETRY);
        // A job without a schedule is tried again as well.
        let state = failed(1, 1);
        let step = job_step(None, state, ended);
        assert_eq!(step, JobStep::Wait { until: Some(ended.after(Millis(1_000))) });
        assert_eq!(job_step(None, idle("2026-12-01T03:00"), ended), JobStep::Wait { until: None });
    }
}
