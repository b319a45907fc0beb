//! How freezes stand.

use hornero_model::{Directory, Freeze};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A freeze that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FreezeStatus {
    /// What it is.
    pub freeze: Freeze,
    /// The directory that declares it.
    pub directory: Directory,
    /// Whether it holds now.
    pub holds: bool,
}
