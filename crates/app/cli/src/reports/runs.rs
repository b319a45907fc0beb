//! What running a command once came to.

use hornero_model::{
    CutOff, Digest, InstanceId, JobName, Millis, ReleaseNumber, ServiceName, Timestamp,
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
