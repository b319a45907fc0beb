//! Who did something, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who did something, why, and from which state of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// The Unix user by socket credentials, or `hornero` for what Hornero decided by itself.
    pub who: String,
    /// The reason given, or the decision's own.
    pub why: String,
    /// The git commit of the directory, with `+dirty` when it had uncommitted changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl Actor {
    /// Hornero itself, acting for `why`.
    pub fn hornero(why: impl Into<String>) -> Self {
        Self { who: "hornero".to_owned(), why: why.into(), commit: None }
    }
}
