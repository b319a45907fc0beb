//! An operation as clients follow it, and how it ended.

use hornero_model::{Digest, InstanceId, Receipt, ReleaseNumber, RolloutId, ServiceName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One line of the streamed answer to `apply`, `rollback`, `down`, `recycle`, `cancel` and `steer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OperationLine {
    /// The request was taken; it goes on whatever becomes of the client.
    Accepted {
        /// The operation's number, for reading its lines again.
        operation: u64,
    },
    /// Something happened.
    Progress {
        /// The service it concerns.
        service: Option<ServiceName>,
        /// The rollout it belongs to.
        rollout: Option<RolloutId>,
        /// The phase, such as `starting` or `draining`.
        phase: String,
        /// A sentence for people.
        message: String,
        /// The instance that it is about, where it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<InstanceId>,
        /// How long after the request was taken, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<f64>,
        /// With the phase `serving`: the services as they serve now. All servers and new requests are on what was asked for;
        /// what is left is to watch and drain, whether or not anybody follows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        serves: Option<Vec<ServiceOutcome>>,
    },
    /// It is over; the last line.
    Finished {
        /// How it ended.
        outcome: OperationOutcome,
    },
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Outcome")]
pub struct OperationOutcome {
    /// In one word.
    pub result: OutcomeKind,
    /// The services it concerned, as they are now.
    pub services: Vec<ServiceOutcome>,
    /// What went wrong, where something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<OperationFailure>,
}

/// How an operation ended, in one word; each has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// Done and read back.
    Done,
    /// Failed; what served before serves still.
    Failed,
    /// A guard or the watchdog refused it.
    Refused,
    /// The new release failed after the switch; the old one serves again.
    RolledBack,
    /// No such object.
    NotFound,
}

impl OutcomeKind {
    /// The exit code of the command line for it.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Refused => 3,
            Self::RolledBack => 4,
            Self::NotFound => 5,
        }
    }
}

/// A service after an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceOutcome {
    /// Its name.
    pub name: ServiceName,
    /// The release that serves now; none when it was taken down.
    pub release: Option<ReleaseNumber>,
    /// Its image.
    pub image: Option<Digest>,
    /// The rollout that brought it there; none where nothing had to change.
    pub rollout: Option<RolloutId>,
    /// The receipt of the switch; none where nothing had to change.
    pub receipt: Option<Receipt>,
    /// Whether the servers that ran serve on under another release, which would make the same ones: nothing was switched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adjusted: bool,
    /// Instances that were replaced by new ones of the same release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recycled: Vec<InstanceId>,
}

/// What went wrong in an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Failure")]
pub struct OperationFailure {
    /// The service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// What failed and why.
    pub reason: String,
    /// The instance that failed, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The last lines of its log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
