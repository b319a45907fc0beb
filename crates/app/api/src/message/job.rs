//! Jobs: declaring them, asking for a run of one, and how they stand.

use hornero_model::{
    CutOff, Digest, Directory, Freeze, ImageName, InstanceId, Job, JobName, Millis, ScheduleSpec,
    Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{plan::PlanChange, request::Intent};

/// Says which jobs, freezes and schedules a directory declares, and that it declares no others: those it declared before are removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclareJobsRequest {
    /// The directory.
    pub directory: Directory,
    /// Its jobs.
    pub jobs: Vec<Job>,
    /// Its freezes; those that it declared before are removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
    /// Its schedules; those that it declared before are removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<ScheduleSpec>,
    /// Jobs of other directories that it takes over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adopt: Vec<JobName>,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// What became of the jobs of a directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeclaredJobsReport {
    /// What was changed; empty where they were as they are declared.
    pub changes: Vec<PlanChange>,
}

/// Asks for a run of a job now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunJobRequest {
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobStatus {
    /// Its name.
    pub name: JobName,
    /// The directory that declares it.
    pub directory: Directory,
    /// The name of its image.
    pub image_name: ImageName,
    /// Its image.
    pub image: Digest,
    /// Its line of cron; absent where it runs only when somebody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time zone of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// When it comes round next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// The run of it that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<InstanceId>,
    /// Its last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<JobRunStatus>,
    /// The times that were left out last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkippedStatus>,
}

/// A run of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobRunStatus {
    /// The run, which is its server too.
    pub run: InstanceId,
    /// For when it was planned; absent where somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Timestamp>,
    /// Which try it was, from 1.
    pub attempt: u32,
    /// Times before the planned one that were missed and are not made up.
    #[serde(default)]
    pub missed: u32,
    /// When it was begun.
    pub started: Timestamp,
    /// When it ended; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Its exit code, as `hornero run` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
    /// How it ended, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why Hornero ended it, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<CutOff>,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<Millis>,
}

/// Times that were left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkippedStatus {
    /// The last of them.
    pub planned: Timestamp,
    /// How many before that one.
    pub missed: u32,
    /// When that was recorded.
    pub at: Timestamp,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}
