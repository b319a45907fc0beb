//! What operations came to: `up`, `down`, `rollback`, `cancel` and their like.

use hornero_api::message::{PreviewStatus, ServiceOutcome};
use hornero_model::{InstanceId, Receipt, ReleaseNumber, RolloutId, ServiceName};
use schemars::JsonSchema;
use serde::Serialize;

/// What an operation came to: `up`, `down`, `recycle`, `cancel`, `rollout pause` and its like.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OperationReport {
    /// The services that it came to, as they are now.
    pub services: Vec<ServiceOutcome>,
    /// Instances that `down --force` ended without the ledger; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Vec<InstanceId>>,
    /// With `up --no-wait`: what goes on without the command; absent where nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<GoingOn>,
    /// With `up --timings`: where the time went, in the order in which it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Vec<Timing>>,
}

/// What goes on in control without the command that asked for it: the new servers are watched, and the old ones drain.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GoingOn {
    /// The operation.
    pub operation: u64,
    /// The rollout that is not over; its receipt has the same number.
    pub rollout: RolloutId,
    /// The command that waits for its end and shows the receipt: exit code 4 where the new release was taken back.
    pub see: String,
}

/// A stretch of a command's time.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Timing {
    /// What was done, such as `bake`, `start` or `watching`; the last one is `total`.
    pub step: String,
    /// What it was done to, where it was one thing: an image, a service or an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The step that it is a part of; absent where it is one of the steps that make up the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// When it began, in milliseconds from the beginning of the command.
    pub began_ms: f64,
    /// How long it took, in milliseconds.
    pub ms: f64,
}

impl OperationReport {
    /// What an operation came to that was recorded.
    pub const fn of(services: Vec<ServiceOutcome>) -> Self {
        Self { services, ended: None, goes_on: None, timings: None }
    }
}

/// What `up --preview` came to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PreviewReport {
    /// The previews of that name, by service.
    pub previews: Vec<PreviewStatus>,
}

/// What `rollback` came to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RollbackReport<'a> {
    /// The receipt of the switch.
    Switched(&'a Receipt),
    /// Nothing had to be switched.
    Unchanged {
        /// The service.
        service: &'a ServiceName,
        /// The release that serves; null where none does.
        to: Option<ReleaseNumber>,
    },
}
