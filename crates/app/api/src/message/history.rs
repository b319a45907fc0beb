//! A service's releases.

use std::net::SocketAddr;

use hornero_model::{CanaryStep, Digest, Intervention, ReleaseNumber, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A release in a service's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// Its number.
    pub release: ReleaseNumber,
    /// Its image.
    pub image: Digest,
    /// The base its image was made on; absent for one made on nothing, and in old releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
    /// Whether it passed its tests and once served healthy.
    pub proven: bool,
    /// Whether it serves now.
    pub serving: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub who: String,
    /// Why.
    pub why: String,
    /// From which commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When the host was started again while this release served; it was brought up again then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_started: Vec<Timestamp>,
    /// When a way into the service was down or not as it should be while this release served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listener_faults: Vec<ListenerFaultEntry>,
    /// What became of its steps as a canary, the last time that it was one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canary: Vec<CanaryStep>,
    /// What people did to its last rollout in which they did anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<Intervention>,
    /// How it failed when it was last tried; absent where it did not. It is not tried again without a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<ReleaseFailure>,
}

/// How a release failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseFailure {
    /// When.
    pub at: Timestamp,
    /// Who had asked for it.
    pub who: String,
    /// Why.
    pub why: String,
    /// How it failed.
    pub reason: String,
}

/// A time during which the edge could not serve a listener, or not as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerFaultEntry {
    /// Where it listens, or should.
    pub listen: SocketAddr,
    /// Why.
    pub reason: String,
    /// Whether it served all the same, as with the certificate from before.
    pub serves: bool,
    /// Since when.
    pub from: Timestamp,
    /// Until when; absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
