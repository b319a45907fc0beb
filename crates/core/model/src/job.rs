//! Jobs: one-off work that comes round on a schedule.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{JobName, Millis, ServiceSpec, Timestamp};

/// A job as it was declared; complete in itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Its name.
    pub name: JobName,
    /// Its server, as that of a service without ports and ways in; it has the job's name.
    pub server: ServiceSpec,
    /// The command and its arguments; the image's own where it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// When it comes round; only when somebody asks where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<CronLine>,
    /// How long one try may take.
    pub deadline: Millis,
    /// How often it is tried again after it failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A line of cron in a time zone; that both can be read was seen when it was declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CronLine {
    /// Minute, hour, day of the month, month, day of the week.
    pub line: String,
    /// The time zone's name in the IANA database.
    pub timezone: String,
}

/// That a run is one of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobTurn {
    /// The job.
    pub job: JobName,
    /// For when it was planned; absent where somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Timestamp>,
    /// Which try it is, from 1.
    pub attempt: u32,
    /// Times before the planned one that came round while nobody could see to them, and are not made up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u32,
}
