//! What `secret` set, listed and removed.

use hornero_model::{ReleaseRef, SecretLabel, SecretVersion, ServiceName, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// A secret that `secret set` or `secret rotate` set.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SecretReport {
    /// Its name.
    pub name: SecretLabel,
    /// Its newest value.
    pub version: SecretVersion,
    /// Values that went because no release needs them.
    pub dropped: Vec<SecretVersion>,
    /// Services of which a release has an earlier value.
    pub services: Vec<ServiceName>,
}

/// A secret of `secret ls`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedSecret {
    /// Its name.
    pub name: SecretLabel,
    /// Its newest value.
    pub version: SecretVersion,
    /// When that was set.
    pub created: Timestamp,
    /// How many values are kept.
    pub versions: usize,
    /// Releases that are kept and have one of them.
    pub releases: Vec<ReleaseRef>,
}

/// What `secret rm` removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RemovedSecret {
    /// Its name.
    pub name: SecretLabel,
    /// How many values it had.
    pub versions: usize,
}
