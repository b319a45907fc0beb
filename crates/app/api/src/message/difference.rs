//! What two images have differently.

use hornero_model::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What two images have differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageDifference {
    /// The older image.
    pub old: Digest,
    /// The newer one.
    pub new: Digest,
    /// Packages, by name.
    pub packages: Vec<PackageDifference>,
    /// Files, directories and links, by path.
    pub files: Vec<ImageFileChange>,
    /// Paths beyond those that are listed; all are where somebody asks the store itself.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_off: u64,
    /// Fields of the run configuration.
    pub config: Vec<ImageFieldChange>,
}

/// A package that only one image has, or both in different versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackageDifference {
    /// Its name.
    pub name: String,
    /// The version in the older image; null where it has none.
    pub old: Option<String>,
    /// The version in the newer image; null where it has none.
    pub new: Option<String>,
}

/// A path that two images have differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageFileChange {
    /// The path, absolute.
    pub path: String,
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// In what a changed one differs.
    pub what: Vec<String>,
    /// What the older image has; absent where it has nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<ImageFileState>,
    /// What the newer image has; absent where it has nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<ImageFileState>,
}

/// What one image has at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageFileState {
    /// What it is, such as `file` or `directory`.
    pub kind: String,
    /// The digest of a file's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// A file's size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Where a symlink leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// A device's numbers, as `MAJOR:MINOR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Permission bits in octal digits.
    pub mode: String,
    /// The number of its user.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// When it was changed, in seconds since the Unix epoch.
    pub mtime: u64,
}

/// A field of the configuration that two images have differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageFieldChange {
    /// Its name.
    pub field: String,
    /// What the older image has.
    pub old: Value,
    /// What the newer image has.
    pub new: Value,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}
