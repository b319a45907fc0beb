//! Servers that are kept for somebody to look at.

use hornero_model::{InstanceId, Millis, ReleaseNumber, ServiceName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Intent;

/// Takes a server out of traffic and keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuarantineRequest {
    /// The server.
    pub instance: InstanceId,
    /// For how long.
    pub keep: Millis,
    /// Who and why.
    pub intent: Intent,
}

/// Lets a server go that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// Who and why.
    pub intent: Intent,
}

/// A server that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuarantineStatus {
    /// Which.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// How far it is.
    pub state: QuarantineState,
    /// Since when that was asked for.
    pub since: Timestamp,
    /// When it is removed.
    pub until: Timestamp,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub why: String,
    /// The process id of its first process, where that is a process of control's host.
    pub pid: Option<u32>,
}

/// How far a server is on its way into quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuarantineState {
    /// It serves until another one does.
    Replacing,
    /// Its requests end.
    Draining,
    /// It gets no requests and stands still.
    Frozen,
    /// It gets no requests and runs on: its host can't make it stand still.
    Running,
    /// It gets no requests; whether it stands still is not known, since no control process runs.
    Kept,
    /// It ended meanwhile, or its time is up: it is being removed.
    Ending,
}
