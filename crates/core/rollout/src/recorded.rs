//! What the ledger has of jobs, runs, schema steps, schedules, freezes, volumes and previews, and of releases that failed or were left.

use std::collections::BTreeMap;

use hornero_model::{
    Actor, CutOff, Digest, Directory, ExitCause, Freeze, GlassEnd, GlassSession, InstanceId, Job,
    LeaseToken, Millis, Preview, Rehearsal, RehearsalEnd, ReleaseNumber, Run, RunEnd, ScheduleEnd,
    ScheduleSpec, ServiceName, Timestamp, Volume,
};

use crate::RolloutFailure;

/// A freeze that is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredFreeze {
    /// What it is.
    pub freeze: Freeze,
    /// The directory that declares it.
    pub directory: Directory,
}

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

/// One-off work that has not ended, by what is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    /// What it is.
    pub run: Run,
    /// Who asked for it, and why.
    pub by: Actor,
    /// When it was begun.
    pub since: Timestamp,
}

/// How long a run of a rollout may take to be started and told the end of, beyond its own time.
const RUN_ALLOWANCE: Millis = Millis(120_000);

/// What is said of a schema step of which nobody knows how far it came.
pub(crate) const HALF_WAY: &str = "it was begun, and nobody knows how far it came";

impl OpenRun {
    /// When it is given up where nobody tells its end.
    pub(crate) fn due(&self) -> Timestamp {
        self.since.after(Millis(self.run.timeout.0.saturating_add(RUN_ALLOWANCE.0)))
    }

    /// What of the store it needs, and why that is kept.
    pub fn images(&self) -> impl Iterator<Item = (Digest, String)> + '_ {
        let images = std::iter::once(self.run.image).chain(self.run.configuration);
        images.map(|image| (image, format!("run `{}` is made from it", self.run.id)))
    }
}

/// What is known of a step that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownStep {
    /// The digest of all that its server was made from.
    pub content: Digest,
    /// Its command and arguments.
    pub command: Vec<String>,
    /// The run that carried it out, or does.
    pub run: InstanceId,
    /// When it was begun.
    pub begun: Timestamp,
    /// How far it came.
    pub progress: StepProgress,
}

/// How far a step came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepProgress {
    /// Its run was begun, and its end is not recorded.
    Running,
    /// Its command did its work, or somebody says that it counts as done.
    Done,
    /// Its command was not started, for this reason: nothing was done.
    NotBegun(String),
    /// Its command said itself that it failed.
    Failed(String),
    /// Its command was begun and did not come to an end of its own: whether it did its work nobody knows.
    HalfWay(String),
}

impl StepProgress {
    /// Why somebody has to decide before anything goes on; none where nobody has to.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Failed(why) | Self::HalfWay(why) => Some(why),
            Self::Running | Self::Done | Self::NotBegun(_) => None,
        }
    }

    /// Whether its command was begun, or may have been.
    pub const fn was_begun(&self) -> bool {
        !matches!(self, Self::NotBegun(_))
    }

    pub(crate) fn of(end: &RunEnd) -> Self {
        match (&end.cause, end.cut_off) {
            (_, Some(CutOff::Timeout)) => {
                Self::HalfWay(format!("was ended after {}", end.duration))
            }
            (_, Some(CutOff::Cancelled)) => Self::HalfWay("was cancelled".to_owned()),
            (ExitCause::NotStarted(why), None) => Self::NotBegun(why.clone()),
            (ExitCause::Code(0), None) => Self::Done,
            (ExitCause::Code(_), None) => Self::Failed(end.cause.to_string()),
            (
                ExitCause::Signal(_)
                | ExitCause::OutOfMemory
                | ExitCause::Unknown
                | ExitCause::HostRestarted,
                None,
            ) => Self::HalfWay(end.cause.to_string()),
        }
    }
}

/// A schedule that is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredSchedule {
    /// What it is.
    pub schedule: ScheduleSpec,
    /// The directory that declares it.
    pub directory: Directory,
    /// The time that was seen to last, or when its time was declared: what comes round after that is to be done.
    pub since: Timestamp,
    /// The last time that was begun.
    pub last: Option<ScheduleRun>,
    /// How the last time ended that is over.
    pub over: Option<ScheduleEnd>,
    /// The times that were left out last.
    pub skipped: Option<SkippedTimes>,
}

/// A time of a schedule that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRun {
    /// For when it was planned.
    pub planned: Timestamp,
    /// Times before the planned one that were missed and are not made up.
    pub missed: u32,
    /// When it was begun.
    pub started: Timestamp,
    /// How it ended, and when; none while it goes on.
    pub end: Option<(ScheduleEnd, Timestamp)>,
}

impl DeclaredSchedule {
    /// The time of it that goes on.
    pub fn running(&self) -> Option<&ScheduleRun> {
        self.last.as_ref().filter(|run| run.end.is_none())
    }
}

/// What the ledger says of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownVolume {
    /// How it was declared last; none where it never was.
    pub declared: Option<Volume>,
    /// The directory that declares it; none where none does any more.
    pub directory: Option<Directory>,
    /// When its data was made; none where it has none.
    pub made: Option<Timestamp>,
    /// Who has it.
    pub lease: Option<Lease>,
    /// The number of its last lease.
    pub last_lease: LeaseToken,
}

/// A lease that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its number.
    pub token: LeaseToken,
    /// The service.
    pub service: ServiceName,
    /// Its server.
    pub instance: InstanceId,
    /// Since when.
    pub since: Timestamp,
}

impl KnownVolume {
    /// Whether it may not be removed, by its last declaration.
    pub fn is_protected(&self) -> bool {
        self.declared.as_ref().is_some_and(|declared| declared.prevent_destroy)
    }
}

/// A preview that was declared and of which something is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPreview {
    /// What was asked for last.
    pub preview: Preview,
    /// Who asked for that, and why.
    pub by: Actor,
    /// When it was first declared.
    pub since: Timestamp,
    /// What its releases show: a release of the service, or none for what a directory declared.
    pub shows: BTreeMap<ReleaseNumber, Option<ReleaseNumber>>,
}

/// What is known of going back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// The last rehearsal.
    pub last: Option<RehearsalRun>,
    /// The last time that a release from before was seen to become healthy.
    pub proof: Option<Proof>,
    /// Why the last one of those that failed did, and when it ended.
    pub failed: Option<(String, Timestamp)>,
}

/// A rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RehearsalRun {
    /// Which.
    pub rehearsal: Rehearsal,
    /// Who asked for it, and why.
    pub by: Actor,
    /// When it was begun.
    pub started: Timestamp,
    /// How it ended, and when; none while it goes on.
    pub end: Option<(RehearsalEnd, Timestamp)>,
}

impl Rehearsed {
    /// Why a rehearsal failed, where nothing proved the contrary since; one that goes on proves nothing yet.
    pub fn failed_since(&self) -> Option<&str> {
        let (failure, at) = self.failed.as_ref()?;
        let is_over = self.proof.is_some_and(|proof| proof.at >= *at);
        (!is_over).then_some(failure)
    }
}

/// A release that failed, as it was the last time that it was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRelease {
    /// When.
    pub at: Timestamp,
    /// Who had asked for it, and why.
    pub by: Actor,
    /// How.
    pub failure: RolloutFailure,
}

/// That what serves fails as another release did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFailure {
    /// Since when.
    pub since: Timestamp,
    /// The release that serves.
    pub release: ReleaseNumber,
    /// The other one.
    pub failed: ReleaseNumber,
    /// How both failed.
    pub failure: String,
}

impl SharedFailure {
    /// What that says, for people.
    pub fn reason(&self, service: &ServiceName) -> String {
        let Self { release, failed, failure, .. } = self;
        format!(
            "`{service}@{release}` fails as `{service}@{failed}` did ({failure}), so the cause is likely state, \
             configuration or a dependency, and not the release"
        )
    }
}

/// The release whose terms a serving set leaves, until what takes its place is seen to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    /// The release.
    pub release: ReleaseNumber,
    /// Since when.
    pub since: Timestamp,
}

/// That a service could go back, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The release that it could go back to.
    pub release: ReleaseNumber,
    /// When that was seen.
    pub at: Timestamp,
    /// How long it took until a server of it was healthy, or until the rollback had switched.
    pub took: Millis,
}

/// A session, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSession {
    /// As it was begun.
    pub session: GlassSession,
    /// Who, and why.
    pub by: Actor,
    /// When it was begun.
    pub since: Timestamp,
    /// How it ended, and when; none while it goes on.
    pub end: Option<(GlassEnd, Timestamp)>,
}
