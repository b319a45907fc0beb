//! Jobs as the ledger tells them: what is declared, what was seen to last, and what came of it.

use hornero_model::{Directory, Job, JobName, Run, RunEnd, Timestamp};

use crate::{DeclaredJob, JobRun, SkippedTimes, World};

pub(crate) fn declared(world: &mut World, job: &Job, directory: &Directory, at: Timestamp) {
    let before = world.jobs.remove(&job.name);
    let as_before = before.as_ref().filter(|before| before.job.schedule == job.schedule);
    let since = as_before.map_or(at, |before| before.since);
    let (last, skipped) = before.map_or((None, None), |before| (before.last, before.skipped));
    let (job, directory) = (job.clone(), directory.clone());
    let declared = DeclaredJob { job, directory, since, last, skipped };
    world.jobs.insert(declared.job.name.clone(), declared);
}

/// What is gone already may be removed again: whoever declares and whoever begins jobs decide beside each other.
pub(crate) fn removed(world: &mut World, job: &JobName) {
    world.jobs.remove(job);
}

/// A run was begun; one of a job that is gone meanwhile is a run like any other.
pub(crate) fn begun(world: &mut World, run: &Run, at: Timestamp) {
    let Some(turn) = &run.job else { return };
    let Some(declared) = world.jobs.get_mut(&turn.job) else { return };
    if let Some(planned) = turn.planned {
        declared.since = declared.since.max(planned);
    }
    declared.last = Some(JobRun {
        id: run.id.clone(),
        planned: turn.planned,
        attempt: turn.attempt,
        missed: turn.missed,
        started: at,
        end: None,
    });
}

pub(crate) fn ended(world: &mut World, end: &RunEnd, at: Timestamp) {
    let last = world.jobs.values_mut().filter_map(|declared| declared.last.as_mut());
    for run in last.filter(|run| run.id == end.id) {
        run.end = Some((end.clone(), at));
    }
}

pub(crate) fn skipped(world: &mut World, job: &JobName, times: SkippedTimes) {
    let Some(declared) = world.jobs.get_mut(job) else { return };
    declared.since = declared.since.max(times.planned);
    declared.skipped = Some(times);
}
