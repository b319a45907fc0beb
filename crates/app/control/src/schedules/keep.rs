//! Looks when schedules come round, and has done what is due.

use std::{sync::Arc, time::Duration};

use hornero_calendar::{LeftOut, RoundState, RoundStep, round_step};
use hornero_model::{Actor, EventBody, ScheduleEnd, ScheduleResult, Timestamp, error_chain};

use crate::{
    runs::NotRecorded,
    schedules::{
        carry::carry_out,
        register::{Known, ScheduleKey, Schedules},
        work::Work,
    },
    timekeeper::{ComesRound, CronLines, LONGEST},
};

/// How long to wait before the ledger is tried again after it took nothing.
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
                unseen(&self.0, &key, run.planned);
                pause = Duration::ZERO;
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
                    begin(&self.0, known, (planned, missed), late);
                    pause = Duration::ZERO;
                }
                RoundStep::Skip { planned, missed, why } => {
                    skip(&self.0, &key, (planned, missed), &left_out(&why));
                    pause = Duration::ZERO;
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

fn begin(
    schedules: &Arc<Schedules>,
    known: &Known,
    (planned, missed): (Timestamp, u32),
    late: bool,
) {
    let (directory, schedule) = known.key();
    let made_up = if late { ", which was missed and is made up" } else { "" };
    let before = match missed {
        0 => String::new(),
        times => format!("; {times} times before that were missed, and are not made up"),
    };
    let why = format!("schedule `{schedule}` came round at {planned}{made_up}{before}");
    let (key, work) = (known.key(), Work::of(&known.declared, planned, &known.services));
    let ending = schedules.opened(key.clone());
    tracing::info!("{why}");
    let body = EventBody::ScheduleBegun { schedule, directory, planned, missed };
    if let Err(error) = schedules.record(Actor::hornero(why), body) {
        tracing::warn!("schedule `{}` is not begun: {}", key.1, error_chain(&error));
        schedules.closed(&key);
        std::thread::sleep(RETRY);
        return;
    }
    let (carried, own) = (Arc::clone(schedules), key.clone());
    let thread = std::thread::Builder::new().name("schedule".to_owned());
    let spawned = thread.spawn(move || {
        let end = carry_out(&carried, &own, (work, planned), &ending);
        if end.result == ScheduleResult::Failed {
            tracing::error!("schedule `{}` of `{}` failed: {}", own.1, own.0, end.detail);
        }
        ended(&carried, &own, end);
        carried.closed(&own);
    });
    if let Err(error) = spawned {
        tracing::warn!("no thread for schedule `{}`: {error}", key.1);
        // Its end is recorded by the next look as one that nobody saw.
        schedules.closed(&key);
    }
}

/// Records how a time ended, however long the ledger takes nothing.
fn ended(schedules: &Schedules, key: &ScheduleKey, end: ScheduleEnd) {
    let (directory, schedule) = key.clone();
    let by = Actor::hornero(match end.detail.is_empty() {
        true => "it was done".to_owned(),
        false => end.detail.clone(),
    });
    let body = EventBody::ScheduleEnded { schedule, directory, end };
    loop {
        match schedules.record(by.clone(), body.clone()) {
            // The next control process says that nobody saw its end.
            Ok(()) | Err(NotRecorded::Ending) => return,
            Err(NotRecorded::Ledger(error)) => {
                let (name, why) = (&key.1, error_chain(&error));
                tracing::warn!("the end of schedule `{name}` is not recorded: {why}");
                std::thread::sleep(RETRY);
            }
        }
    }
}

/// Records that nobody saw how a time ended.
fn unseen(schedules: &Schedules, key: &ScheduleKey, planned: Timestamp) {
    let detail = "the control process ended while it was done; what it had begun by then is in the history of its services";
    let (result, detail) = (ScheduleResult::Unknown, detail.to_owned());
    tracing::warn!("schedule `{}` of `{}`: {detail}", key.1, key.0);
    let end = ScheduleEnd { planned, result, detail, exit: None };
    ended(schedules, key, end);
}

fn skip(schedules: &Schedules, key: &ScheduleKey, (planned, missed): (Timestamp, u32), why: &str) {
    let (directory, schedule) = key.clone();
    tracing::warn!("schedule `{schedule}` is left out for {planned}: {why}");
    let body = EventBody::ScheduleSkipped { schedule, directory, planned, missed };
    if let Err(error) = schedules.record(Actor::hornero(why), body) {
        let why = error_chain(&error);
        tracing::warn!("that schedule `{}` was left out is not recorded: {why}", key.1);
        std::thread::sleep(RETRY);
    }
}
