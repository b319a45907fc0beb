//! Looks when schedules come round, and has done what is due.

use std::{sync::Arc, time::Duration};

use hornero_calendar::{LeftOut, RoundState, RoundStep, round_step};
use hornero_model::{Actor, EventBody, ScheduleEnd, ScheduleResult, Timestamp, error_chain};

use crate::{
    schedules::{
        carry::carry_out,
        register::{Known, ScheduleKey, Schedules},
        work::Work,
    },
    timekeeper::{ComesRound, CronLines, LONGEST},
};

/// How soon to look again where the ledger took nothing.
const RETRY: Duration = Duration::from_secs(1);

/// Looks after schedules.
pub struct ScheduleTimes(pub Arc<Schedules>);

impl ComesRound for ScheduleTimes {
    fn look(&mut self, lines: &mut CronLines, now: Timestamp) -> Option<Duration> {
        // Looked at before the ledger is: what ends in between was open.
        let open = self.0.open();
        let declared = self.0.declared()?;
        let mut pause = LONGEST;
        for known in &declared {
            let key = known.key();
            let is_open = open.contains(&key);
            if let (Some(run), false) = (known.declared.running(), is_open) {
                // The control process that did it ended before it did, and took its command with it.
                pause = pause.min(unseen(&self.0, &key, run.planned));
                continue;
            }
            let Some(schedule) = lines.of(&known.declared.schedule.when) else { continue };
            let state = RoundState {
                since: known.declared.since,
                busy: is_open,
                missed: known.declared.schedule.missed,
                freezes: &known.freezes,
            };
            match round_step(schedule, state, now) {
                RoundStep::Wait { until } => {
                    let left = until.map(|until| until.since(now).duration());
                    pause = left.map_or(pause, |left| pause.min(left));
                }
                RoundStep::Begin { planned, missed, late } => {
                    pause = pause.min(begin(&self.0, known, (planned, missed), late));
                }
                RoundStep::Skip { planned, missed, why } => {
                    pause = pause.min(skip(&self.0, &key, (planned, missed), &left_out(&why)));
                }
            }
        }
        Some(pause)
    }
}

/// Why a time is left out, for people.
fn left_out(why: &LeftOut) -> String {
    match why {
        LeftOut::Busy => "what was begun before it still goes on".to_owned(),
        LeftOut::Missed => "it was missed, and `missed` says `skip`".to_owned(),
        LeftOut::Frozen { freeze, until } => format!("freeze `{freeze}` holds until {until}"),
    }
}

/// Begins what is due, and says how soon to look again.
fn begin(
    schedules: &Arc<Schedules>,
    known: &Known,
    (planned, missed): (Timestamp, u32),
    late: bool,
) -> Duration {
    let (directory, schedule) = known.key();
    let made_up = if late { ", which was missed and is made up" } else { "" };
    let before = match missed {
        0 => String::new(),
        times => format!("; {times} times before that were missed, and are not made up"),
    };
    let why = format!("schedule `{schedule}` came round at {planned}{made_up}{before}");
    let (key, work) = (known.key(), Work::of(&known.declared, planned, &known.services));
    let Some(going) = schedules.begin(key.clone()) else { return RETRY };
    tracing::info!("{why}");
    let body = EventBody::ScheduleBegun { schedule, directory, planned, missed };
    if let Err(error) = schedules.recorder().record(Actor::hornero(why), body) {
        tracing::warn!("schedule `{}` is not begun: {}", key.1, error_chain(&error));
        return RETRY;
    }
    let (carried, own) = (Arc::clone(schedules), key.clone());
    let thread = std::thread::Builder::new().name("schedule".to_owned());
    let spawned = thread.spawn(move || {
        let end = carry_out(&carried, &own, (work, planned), &going);
        if end.result == ScheduleResult::Failed {
            tracing::error!("schedule `{}` of `{}` failed: {}", own.1, own.0, end.detail);
        }
        let (by, body) = ended(&own, end);
        // Where this control process ends first, the next one says that nobody saw its end.
        carried.recorder().record_end(&by, &body, &format!("schedule `{}`", own.1));
        drop(going);
        carried.changed();
    });
    if let Err(error) = spawned {
        // Its end is recorded by the next look as one that nobody saw.
        tracing::warn!("no thread for schedule `{}`: {error}", key.1);
    }
    Duration::ZERO
}

/// What the ledger is told of how a time ended.
fn ended(key: &ScheduleKey, end: ScheduleEnd) -> (Actor, EventBody) {
    let (directory, schedule) = key.clone();
    let by = Actor::hornero(match end.detail.is_empty() {
        true => "it was done".to_owned(),
        false => end.detail.clone(),
    });
    (by, EventBody::ScheduleEnded { schedule, directory, end })
}

/// Records that nobody saw how a time ended, and says how soon to look again.
fn unseen(schedules: &Schedules, key: &ScheduleKey, planned: Timestamp) -> Duration {
    let detail = "the control process ended while it was done; what it had begun by then is in the history of its services";
    let (result, detail) = (ScheduleResult::Unknown, detail.to_owned());
    tracing::warn!("schedule `{}` of `{}`: {detail}", key.1, key.0);
    let (by, body) = ended(key, ScheduleEnd { planned, result, detail, exit: None });
    once(schedules, by, body, &format!("the end of schedule `{}`", key.1))
}

/// Records that a time is left out, and says how soon to look again.
fn skip(
    schedules: &Schedules,
    key: &ScheduleKey,
    (planned, missed): (Timestamp, u32),
    why: &str,
) -> Duration {
    let (directory, schedule) = key.clone();
    tracing::warn!("schedule `{schedule}` is left out for {planned}: {why}");
    let body = EventBody::ScheduleSkipped { schedule, directory, planned, missed };
    once(schedules, Actor::hornero(why), body, &format!("that schedule `{}` was left out", key.1))
}

/// Records something; what the ledger does not take is found by the next look, so that nothing else that comes round waits.
fn once(schedules: &Schedules, by: Actor, body: EventBody, what: &str) -> Duration {
    match schedules.recorder().record(by, body) {
        Ok(()) => Duration::ZERO,
        Err(error) => {
            tracing::warn!("{what} is not recorded: {}", error_chain(&error));
            RETRY
        }
    }
}
