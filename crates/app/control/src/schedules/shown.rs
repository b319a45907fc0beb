//! Schedules as they are shown.

use std::path::Path;

use hornero_api::message::{ScheduleRunStatus, ScheduleStatus};
use hornero_calendar::Schedule;
use hornero_model::Timestamp;
use hornero_rollout::{DeclaredSchedule, ScheduleRun, World};

use crate::{jobs, schedules::log};

/// The schedules of a home, by directory and name.
pub fn shown(world: &World, home: &Path, now: Timestamp) -> Vec<ScheduleStatus> {
    world.schedules.values().map(|declared| schedule(declared, home, now)).collect()
}

fn schedule(declared: &DeclaredSchedule, home: &Path, now: Timestamp) -> ScheduleStatus {
    let DeclaredSchedule { schedule, directory, since, last, skipped, .. } = declared;
    let read = Schedule::new(&schedule.when.line, &schedule.when.timezone).ok();
    let path = log::path(home, directory, &schedule.name);
    ScheduleStatus {
        name: schedule.name.clone(),
        directory: directory.clone(),
        action: schedule.action,
        when: schedule.when.line.clone(),
        timezone: schedule.when.timezone.clone(),
        services: schedule.services.clone(),
        missed: schedule.missed,
        next: read.and_then(|read| read.after(now.max(*since))),
        running: declared.running().map(|run| run.started),
        last: last.as_ref().map(run),
        skipped: skipped.as_ref().map(jobs::skipped),
        log: last.as_ref().map(|_| path.display().to_string()),
    }
}

fn run(run: &ScheduleRun) -> ScheduleRunStatus {
    let end = run.end.as_ref();
    ScheduleRunStatus {
        planned: run.planned,
        missed: run.missed,
        started: run.started,
        ended: end.map(|(_, at)| *at),
        result: end.map(|(end, _)| end.result),
        detail: end.map(|(end, _)| end.detail.clone()).filter(|detail| !detail.is_empty()),
        exit: end.and_then(|(end, _)| end.exit),
    }
}
