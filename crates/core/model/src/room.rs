//! Room for servers: what memory there is for more of them, and that a rollout had too little of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What memory an engine has for more instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// What programs can still get at this moment, in bytes, by what all that runs does use.
    pub available_bytes: u64,
    /// What all instances of the home may take together, in bytes; none where they have no limit of their own.
    pub limit_bytes: Option<u64>,
}

/// That a rollout goes batch by batch because there was no room for a whole set beside the one that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batched {
    /// How many servers there was room for, which is how many a batch has.
    pub at_once: u32,
    /// Why, for people.
    pub reason: String,
}
