//! How closely servers are compared with their images, and in what they differ.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Digest, InstanceId, ReleaseNumber};

/// How closely is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Metadata first; contents are read only where metadata does not tell.
    ///
    /// In a plain directory a file that was changed without changing its size, and whose modification
    /// time was put back, is seen by [`Depth::Full`] only: nothing but the content could tell. In the
    /// store such a file is seen, by its change time.
    #[default]
    Fast,
    /// Every content is read and hashed.
    Full,
}

/// An instance that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifiedInstance {
    /// Its id.
    pub id: InstanceId,
    /// Its release.
    pub release: ReleaseNumber,
    /// The image it should equal.
    pub image: Digest,
    /// Whether it does.
    pub ok: bool,
    /// How long the comparison took, in milliseconds.
    pub millis: u64,
    /// Every difference, sorted by path.
    pub findings: Vec<DriftFinding>,
    /// Differences beyond those listed.
    #[serde(default)]
    pub left_off: u64,
}

/// One difference between a server and its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftFinding {
    /// In what it differs: `mount`, `root`, `executable`, `library`, `deleted`, `process`, `object`, and of files
    /// `added`, `removed`, `kind`, `content`, `mode`, `owner`, `target`, `device`, `attributes`, `unreadable`.
    pub kind: String,
    /// Where, as inside the instance.
    pub path: String,
    /// What the image has; empty where it has nothing.
    pub expected: String,
    /// What is there; empty where nothing is.
    pub found: String,
    /// The process it was found at, in ids of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}
