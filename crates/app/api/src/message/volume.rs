//! Volumes: how they stand, which a directory declares, and what people do with them.

use hornero_model::{
    Directory, InstanceId, LeaseToken, ServiceName, Timestamp, Volume, VolumeName,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Intent;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeStatus {
    /// Its name.
    pub name: VolumeName,
    /// The directory that declares it; absent where none does, or none does any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
    /// How much it can hold, with what its file system takes for itself; 0 where its data is missing.
    pub size_bytes: u64,
    /// What it takes from the host, without its snapshots.
    pub stored_bytes: u64,
    /// When it was made.
    pub created: Timestamp,
    /// What it was made from, for people.
    pub origin: String,
    /// Whether `volume rm` refuses it, by `prevent_destroy`.
    pub protected: bool,
    /// Whether its data is not where it should be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
    /// Whether somebody has it attached.
    pub attached: bool,
    /// Who has it; absent where nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<VolumeLease>,
    /// What a snapshot or a clone takes: `changes` where the file system of the home has reflinks, else `data`.
    pub copies: CopyCost,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<VolumeSnapshot>,
}

/// What a copy of a volume takes from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CopyCost {
    /// What is changed afterwards. A volume can be copied while it is attached.
    Changes,
    /// What was ever written. A volume can be copied while nobody has it attached.
    Data,
}

/// Who has a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeLease {
    /// The number of the lease.
    pub lease: LeaseToken,
    /// The service.
    pub service: ServiceName,
    /// Its server.
    pub instance: InstanceId,
    /// Since when.
    pub since: Timestamp,
}

/// A snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeSnapshot {
    /// Its number.
    pub snapshot: u64,
    /// When it was taken.
    pub created: Timestamp,
    /// Why.
    pub why: String,
    /// The size of the volume then.
    pub size_bytes: u64,
    /// What it takes from the host, also where it shares that.
    pub stored_bytes: u64,
    /// Until when it is kept; absent where until somebody removes the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_until: Option<Timestamp>,
}

/// Says which volumes a directory declares, and that it declares no others. Those that it declared before stay, with their
/// data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclareVolumesRequest {
    /// The directory.
    pub directory: Directory,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// What became of the volumes of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeclaredVolumesReport {
    /// What was changed, and what stays though it is no longer declared; each a line for people.
    pub changes: Vec<String>,
}

/// Asks for something to be done with a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeRequest {
    /// What.
    pub deed: VolumeDeed,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// What is to be done with a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VolumeDeed {
    /// Take a snapshot.
    Snapshot,
    /// Make another volume of it.
    Clone {
        /// The other one.
        to: VolumeName,
        /// Of which snapshot; of what it has now where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<u64>,
    },
    /// Put a snapshot in the place of what it has.
    Restore {
        /// Which.
        snapshot: u64,
    },
    /// Make it larger.
    Grow {
        /// How large.
        size_bytes: u64,
    },
    /// Remove it, with its snapshots.
    Remove,
    /// Make it of a directory of the host, which is copied.
    Adopt {
        /// The directory, absolute.
        path: String,
        /// How large it is to be.
        size_bytes: u64,
    },
}

/// What was done with a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeReport {
    /// What was done, for people.
    pub done: String,
    /// The volume, or what was made of it, as it is now; absent where it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeStatus>,
}
