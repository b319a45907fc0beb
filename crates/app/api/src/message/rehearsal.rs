//! Rehearsals of rollbacks: asking for one, and how it went.

use hornero_model::{InstanceId, ReleaseNumber, ServiceName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Intent;

/// Asks for a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RehearseRequest {
    /// The service.
    pub service: ServiceName,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// A rehearsal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RehearsalStatus {
    /// Which; that of its server, too.
    pub id: InstanceId,
    /// The service.
    pub service: ServiceName,
    /// The release that its server is made from.
    pub release: ReleaseNumber,
    /// When it was begun.
    pub started: Timestamp,
    /// When it ended; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// From the start of its server until it was healthy; absent where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Why it proves nothing; absent where it does, or has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Whether it failed and nothing proved the contrary since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counts: bool,
}

/// That a service could go back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofStatus {
    /// How long ago that was seen.
    pub age_seconds: u64,
    /// How long it took until a server of the release from before was healthy, or until a rollback had switched.
    pub seconds: f64,
}
