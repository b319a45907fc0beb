//! Instances, and where services are found.

use std::net::IpAddr;

use hornero_model::{Digest, Health, InstanceId, InstanceState, Place, ReleaseNumber, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where other services find a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InternalAddress {
    /// `SERVICE.internal`.
    pub name: String,
    /// What it resolves to.
    pub address: IpAddr,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStatus {
    /// Its id.
    pub id: InstanceId,
    /// Its release.
    pub release: ReleaseNumber,
    /// Its image.
    pub image: Option<Digest>,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Its address.
    pub address: Option<IpAddr>,
    /// The process id of its first process, where that is a process of control's host.
    pub pid: Option<u32>,
    /// The host that it runs on: `local` is control's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// When it was made.
    pub created: Timestamp,
    /// When it is due to be replaced for its age; absent where its service has no `max_age`, or it does not serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recycle_due: Option<Timestamp>,
    /// Why it is to be replaced by a new one of the same release, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recycling: Option<String>,
    /// Why it ended, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What the edge last found it to be; absent where control is too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Why its last check failed, where it is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_error: Option<String>,
}
