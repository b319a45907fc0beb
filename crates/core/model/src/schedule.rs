//! Schedules: what Hornero does by itself when a time comes round.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CronLine, ScheduleName, ServiceName, Timestamp};

/// A schedule as it was declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Its name; unique within its directory.
    pub name: ScheduleName,
    /// What is done.
    #[serde(rename = "do")]
    pub action: ScheduleAction,
    /// When it comes round.
    pub when: CronLine,
    /// The services it is done to; all of its directory where it names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// What becomes of times that came round while nobody could see to them.
    #[serde(default)]
    pub missed: MissedTimes,
}

/// What a schedule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleAction {
    /// The newest packages, and what runs them is rolled out.
    Patch,
    /// Servers are replaced by new ones of the same release, service by service; one that fails keeps no other from it.
    Recycle,
    /// The same in the order of `depends_on`, up to the first service that fails.
    Redeploy,
    /// The release from before is started beside what serves, to see that it could go back.
    RehearseRollback,
}

/// What becomes of times that were missed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissedTimes {
    /// They are left out.
    #[default]
    Skip,
    /// The last of them is made up.
    CatchUp,
}

/// How one time of a schedule ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleEnd {
    /// For when it was planned.
    pub planned: Timestamp,
    /// Whether it was done.
    pub result: ScheduleResult,
    /// Why it was not, for people; empty where it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The exit code of the command that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
}

/// Whether what was to be done was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleResult {
    /// It was.
    Done,
    /// It was not.
    Failed,
    /// Nobody saw its end: the control process ended before. It is not done again before its next time.
    Unknown,
}

impl ScheduleAction {
    /// Every one, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Patch, Self::Recycle, Self::Redeploy, Self::RehearseRollback];

    /// The word as `hornero.hcl` and JSON have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Patch => "patch",
            Self::Recycle => "recycle",
            Self::Redeploy => "redeploy",
            Self::RehearseRollback => "rehearse_rollback",
        }
    }
}

impl std::fmt::Display for ScheduleAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl MissedTimes {
    /// The word as `hornero.hcl` and JSON have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::CatchUp => "catch_up",
        }
    }
}

impl ScheduleResult {
    /// The word as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}
