//! How schedules stand.

use hornero_model::{
    Directory, MissedTimes, ScheduleAction, ScheduleName, ScheduleResult, ServiceName, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::SkippedStatus;

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleStatus {
    /// Its name.
    pub name: ScheduleName,
    /// The directory that declares it.
    pub directory: Directory,
    /// What it does.
    #[serde(rename = "do")]
    pub action: ScheduleAction,
    /// Its line of cron.
    pub when: String,
    /// The time zone of that.
    pub timezone: String,
    /// The services it is done to; all of its directory where it names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// What becomes of times that were missed.
    pub missed: MissedTimes,
    /// When it comes round next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Since when it is being done, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Timestamp>,
    /// The last time that was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<ScheduleRunStatus>,
    /// The times that were left out last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkippedStatus>,
    /// The file with what was written the last time it was done, by its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// A time of a schedule that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleRunStatus {
    /// For when it was planned.
    pub planned: Timestamp,
    /// Times before the planned one that were missed and are not made up.
    #[serde(default)]
    pub missed: u32,
    /// When it was begun.
    pub started: Timestamp,
    /// When it ended; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ScheduleResult>,
    /// Why it was not done, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The exit code of the command that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
}
