//! What running a command once came to, in a server of its own or in one that serves.

use hornero_model::{
    CutOff, Digest, GlassEndReason, GlassId, InstanceId, JobName, Millis, ReleaseNumber,
    ServiceName, Timestamp,
};
use schemars::JsonSchema;
use serde::Serialize;

/// What a run of a command came to: `run`, `job run`, `cancel RUN`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunReport {
    /// The run, which is its server too.
    pub run: InstanceId,
    /// The service that it was made from; absent where it was an image alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The job that it was a run of; absent where it was of none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobName>,
    /// The release of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// The image.
    pub image: Digest,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// When it was begun.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: Millis,
    /// The exit code that `run` ends with.
    pub exit: u8,
    /// The signal that ended the command, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why Hornero ended it, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<CutOff>,
    /// Why there is no exit code of the command, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a session in a server came to: `break-glass`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GlassReport {
    /// The session.
    pub session: GlassId,
    /// The server.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Why it ended.
    pub reason: GlassEndReason,
    /// The exit code that `break-glass` ends with.
    pub exit: u8,
    /// The last link of its recording, as the ledger has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<Digest>,
    /// More about its end, where there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What was recorded of a session: `break-glass replay`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReplayReport {
    /// The session.
    pub session: GlassId,
    /// What it was, for people.
    pub title: String,
    /// The last link of its recording; the ledger has it once it has ended.
    pub last: Digest,
    /// What happened, in order.
    pub moments: Vec<ReplayedMoment>,
}

/// What happened in a session.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReplayedMoment {
    /// Seconds since it was begun.
    pub at: f64,
    /// `o` for what was written, `i` for what was typed, `r` for another size of the terminal, `m` for a remark.
    pub code: String,
    /// What.
    pub data: String,
}
