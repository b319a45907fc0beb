//! Jobs and freezes as they are shown.

use hornero_api::message::{FreezeStatus, JobRunStatus, JobStatus, SkippedStatus};
use hornero_calendar::Schedule;
use hornero_model::Timestamp;
use hornero_rollout::{DeclaredJob, JobRun, SkippedTimes, World};

/// The jobs of a home, by name.
pub fn shown(world: &World, now: Timestamp) -> Vec<JobStatus> {
    world.jobs.values().map(|declared| job(declared, now)).collect()
}

fn job(declared: &DeclaredJob, now: Timestamp) -> JobStatus {
    let DeclaredJob { job, directory, since, last, skipped } = declared;
    let line = job.schedule.as_ref();
    let schedule = line.and_then(|line| Schedule::new(&line.line, &line.timezone).ok());
    JobStatus {
        name: job.name.clone(),
        directory: directory.clone(),
        image_name: job.server.image_name.clone(),
        image: job.server.image,
        schedule: line.map(|line| line.line.clone()),
        timezone: line.map(|line| line.timezone.clone()),
        next: schedule.and_then(|schedule| schedule.after(now.max(*since))),
        running: declared.running().map(|run| run.id.clone()),
        last: last.as_ref().map(run),
        skipped: skipped.as_ref().map(self::skipped),
    }
}

/// Times that were left out.
pub fn skipped(skipped: &SkippedTimes) -> SkippedStatus {
    let SkippedTimes { planned, missed, at, why } = skipped.clone();
    SkippedStatus { planned, missed, at, why }
}

fn run(run: &JobRun) -> JobRunStatus {
    let end = run.end.as_ref();
    JobRunStatus {
        run: run.id.clone(),
        planned: run.planned,
        attempt: run.attempt,
        missed: run.missed,
        started: run.started,
        ended: end.map(|(_, at)| *at),
        exit: end.map(|(end, _)| end.exit_code()),
        cause: end.map(|(end, _)| end.cause.to_string()),
        cut_off: end.and_then(|(end, _)| end.cut_off),
        duration_ms: end.map(|(end, _)| end.duration),
    }
}

/// The freezes of a home that have not ended, by directory and name.
pub fn freezes(world: &World, now: Timestamp) -> Vec<FreezeStatus> {
    let coming = world.freezes.values().filter(|declared| now < declared.freeze.until);
    coming
        .map(|declared| FreezeStatus {
            freeze: declared.freeze.clone(),
            directory: declared.directory.clone(),
            holds: declared.freeze.holds(now),
        })
        .collect()
}
