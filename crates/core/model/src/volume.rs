//! Volumes: data that outlives servers, and the leases by which one of them at a time has it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Timestamp, VolumeName};

/// The number of a lease of a volume; each is higher than every one before it. Who attaches a volume names it: a lower one
/// than the highest that was seen attaches nothing.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct LeaseToken(pub u64);

impl LeaseToken {
    /// That of the next lease.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A volume as a directory declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its name.
    pub name: VolumeName,
    /// How much it can hold, with what its file system takes for itself.
    pub size_bytes: u64,
    /// Whether nothing but a changed declaration lets it be removed.
    pub prevent_destroy: bool,
}

/// What was done with the data of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "did", rename_all = "snake_case")]
pub enum VolumeChange {
    /// It was made, empty.
    Made {
        /// How large.
        size_bytes: u64,
    },
    /// It was made of a directory of the host.
    Adopted {
        /// The directory.
        path: String,
        /// How large.
        size_bytes: u64,
    },
    /// It was made of another one.
    Cloned {
        /// The other one.
        from: VolumeName,
        /// Its snapshot; absent where it was what it had at the time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<u64>,
    },
    /// A snapshot of it was taken.
    Snapshot {
        /// The snapshot.
        snapshot: u64,
    },
    /// A snapshot took the place of what it had.
    Restored {
        /// The snapshot.
        snapshot: u64,
        /// The snapshot that has what it had before.
        kept: u64,
    },
    /// A snapshot of it was removed, because the time was over for which it was to be kept.
    Expired {
        /// The snapshot.
        snapshot: u64,
    },
    /// It was made larger.
    Grown {
        /// How large.
        size_bytes: u64,
    },
    /// It was removed, with its snapshots.
    Removed,
}

/// Where a server has a volume, and the lease under which it does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeasedMount {
    /// Absolute, normalised path in the instance.
    pub path: String,
    /// The volume.
    pub volume: VolumeName,
    /// The lease.
    pub lease: LeaseToken,
}

/// Where a server has a volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MountedVolume {
    /// Absolute, normalised path in the instance.
    pub path: String,
    /// The volume.
    pub volume: VolumeName,
}

/// A snapshot of a volume, such as `orders@3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TakenSnapshot {
    /// The volume.
    pub volume: VolumeName,
    /// Its number.
    pub snapshot: u64,
}

impl fmt::Display for TakenSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.volume, self.snapshot)
    }
}

/// What a snapshot is taken for. Asked for twice with one tag, it is taken once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPurpose {
    /// What tells it from every other one.
    pub tag: String,
    /// Why, for people.
    pub why: String,
    /// Until when it is kept.
    pub keep_until: Timestamp,
}
