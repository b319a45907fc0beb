//! Jobs as the ledger tells them: what is declared, what was seen to last, and what came of it.

use hornero_model::{Digest, Directory, InstanceId, Job, JobName, Run, RunEnd, Timestamp};

use crate::World;

/// A job that is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredJob {
    /// What it is.
    pub job: Job,
    /// The directory that declares it.
    pub directory: Directory,
    /// The time that was seen to last, or when its schedule was declared: what comes round after that is to be done.
    pub since: Timestamp,
    /// Its last run.
    pub last: Option<JobRun>,
    /// The times that were left out last.
    pub skipped: Option<SkippedTimes>,
}

/// A run of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRun {
    /// Which.
    pub id: InstanceId,
    /// For when it was planned; none where somebody asked for it.
    pub planned: Option<Timestamp>,
    /// Which try it was, from 1.
    pub attempt: u32,
    /// Times before the planned one that were missed and are not made up.
    pub missed: u32,
    /// When it was begun.
    pub started: Timestamp,
    /// How it ended, and when; none while it goes on.
    pub end: Option<(RunEnd, Timestamp)>,
}

/// Times for which nothing was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedTimes {
    /// The last of them.
    pub planned: Timestamp,
    /// How many were left out before that one.
    pub missed: u32,
    /// When that was recorded.
    pub at: Timestamp,
    /// Why, for people.
    pub why: String,
}

impl DeclaredJob {
    /// The run of it that goes on.
    pub fn running(&self) -> Option<&JobRun> {
        self.last.as_ref().filter(|run| run.end.is_none())
    }

    /// What of the store it needs, and why that is kept.
    pub fn images(&self) -> impl Iterator<Item = (Digest, String)> + '_ {
        let server = &self.job.server;
        let images = std::iter::once(server.image).chain(server.configuration);
        images.map(|image| (image, format!("job `{}` is made from it", self.job.name)))
    }
}

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
