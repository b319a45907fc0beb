//! The seal of a bundle: what was kept of a server that failed, and who vouches for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Digest, InstanceId, ReleaseNumber, ServiceName, Timestamp};

/// What is signed of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BundleBody {
    /// The server.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// When it was sealed.
    pub sealed: Timestamp,
    /// SHA-256 of the archive as it lies in the bundle, compressed.
    pub digest: Digest,
    /// Bytes of that.
    pub bytes: u64,
    /// The likely cause, in one line.
    pub summary: String,
}

/// A bundle's body, signed with the key of its home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BundleSeal {
    /// What is signed.
    #[serde(flatten)]
    pub body: BundleBody,
    /// Ed25519 signature in hex.
    pub signature: String,
    /// The public key, 64 hex digits.
    pub key: String,
}
