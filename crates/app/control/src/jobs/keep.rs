//! Looks when jobs come round, and begins what is due.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hornero_calendar::{FailedTry, JobState, JobStep, job_step};
use hornero_model::{Actor, CutOff, EventBody, JobName, JobTurn, Timestamp, error_chain};
use hornero_rollout::DeclaredJob;

use crate::{
    jobs::begin::{JobBegun, Jobs},
    timekeeper::{ComesRound, CronLines, LONGEST},
};

/// Between two looks while a run goes on or is to be tried again: its end is seen by looking.
const WATCHING: Duration = Duration::from_secs(1);

/// Looks after jobs.
pub struct JobTimes(pub Arc<Jobs>);

impl ComesRound for JobTimes {
    fn look(&mut self, lines: &mut CronLines, now: Timestamp) -> Option<Duration> {
        let declared = self.0.declared()?;
        Some(look(&self.0, &declared, lines, now))
    }
}

/// Does what is to be done now, and says how long to wait.
fn look(
    jobs: &Jobs,
    declared: &BTreeMap<JobName, DeclaredJob>,
    lines: &mut CronLines,
    now: Timestamp,
) -> Duration {
    let mut pause = LONGEST;
    for (name, job) in declared {
        let schedule = job.job.schedule.as_ref().and_then(|line| lines.of(line));
        let state = state(job);
        if state.running || state.failed.is_some_and(|failed| failed.attempt <= state.retries) {
            pause = pause.min(WATCHING);
        }
        match job_step(schedule, state, now) {
            JobStep::Wait { until } => {
                let left = until.map(|until| until.since(now).duration());
                pause = left.map_or(pause, |left| pause.min(left));
            }
            JobStep::Begin { planned, attempt, missed, late } => {
                let turn = JobTurn { job: name.clone(), planned: Some(planned), attempt, missed };
                pause = pause.min(begin(jobs, turn, late));
            }
            JobStep::Skip { planned, missed } => {
                let why = "the run before it still goes on";
                pause = pause.min(skip(jobs, name, planned, missed, why));
            }
        }
    }
    pause
}

/// What decides about a job, as the ledger has it.
fn state(declared: &DeclaredJob) -> JobState {
    let failed = declared.last.as_ref().and_then(|run| {
        let (end, ended) = run.end.as_ref()?;
        let is_cancelled = end.cut_off == Some(CutOff::Cancelled);
        let is_over = end.is_success() || is_cancelled;
        let planned = run.planned.filter(|_| !is_over)?;
        Some(FailedTry { planned, attempt: run.attempt, ended: *ended })
    });
    JobState {
        since: declared.since,
        running: declared.running().is_some(),
        failed,
        retries: declared.job.retries,
    }
}

/// Begins a run, and says how soon to look again.
fn begin(jobs: &Jobs, turn: JobTurn, late: bool) -> Duration {
    let JobTurn { job, planned, attempt, missed } = turn.clone();
    let planned = planned.unwrap_or_default();
    let mut why = match (attempt, late) {
        (1, false) => format!("job `{job}` came round at {planned}"),
        (1, true) => {
            format!("job `{job}` came round at {planned}, which was missed and is made up")
        }
        (again, _) => format!("job `{job}` failed and is tried again: try {again} for {planned}"),
    };
    if missed > 0 {
        why.push_str(&format!("; {missed} times before that were missed, and are not made up"));
    }
    match jobs.begin(Actor::hornero(why), turn) {
        JobBegun::Yes { run, .. } => {
            tracing::info!("job `{job}` is begun as `{}`", run.id);
            Duration::ZERO
        }
        JobBegun::TooMany(open) => {
            let why = format!("{open} runs are under way, as many as may be at once");
            skip(jobs, &job, planned, missed, &why)
        }
        // Seen by the next look.
        JobBegun::Unknown | JobBegun::Running(_) => Duration::ZERO,
        JobBegun::Not(why) => {
            tracing::warn!("job `{job}` is not begun: {why}");
            WATCHING
        }
    }
}

/// Records that a time is left out, and says how soon to look again.
fn skip(jobs: &Jobs, job: &JobName, planned: Timestamp, missed: u32, why: &str) -> Duration {
    tracing::warn!("job `{job}` is left out for {planned}: {why}");
    let body = EventBody::JobSkipped { job: job.clone(), planned, missed };
    match jobs.record(Actor::hornero(why), body) {
        Ok(()) => Duration::ZERO,
        Err(error) => {
            let why = error_chain(&error);
            tracing::warn!("that job `{job}` was left out is not recorded: {why}");
            WATCHING
        }
    }
}
