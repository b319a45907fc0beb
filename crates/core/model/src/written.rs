//! What a server has written to memory that goes with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{InstanceId, ReleaseNumber, Timestamp};

/// The files that an instance has in its scratch and in `/tmp`: all of them were written since its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WrittenInstance {
    /// Its id.
    pub id: InstanceId,
    /// Its release.
    pub release: ReleaseNumber,
    /// Its files, by path.
    pub files: Vec<WrittenFile>,
    /// Why not all of them are there; absent where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
}

/// A file that an instance has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WrittenFile {
    /// Its path inside the instance.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last written to.
    pub modified: Timestamp,
    /// Whether a process of the instance has it open for writing.
    pub open: bool,
    /// What it is, where its first bytes say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<WrittenFormat>,
}

/// Files that are databases, by their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WrittenFormat {
    /// A database of SQLite (its documentation, "Database File Format", section 1.3).
    Sqlite,
    /// A snapshot of Redis, as its append-only directory begins with, too.
    Redis,
}

impl WrittenFormat {
    /// What it is, for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite database",
            Self::Redis => "Redis snapshot",
        }
    }
}
