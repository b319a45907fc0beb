//! What operations came to: `up`, `down`, `rollback`, `cancel` and their like.

use hornero_api::message::{PreviewStatus, ServiceOutcome};
use hornero_model::{InstanceId, Receipt, ReleaseNumber, ServiceName};
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
}

impl OperationReport {
    /// What an operation came to that was recorded.
    pub const fn of(services: Vec<ServiceOutcome>) -> Self {
        Self { services, ended: None }
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
