//! What the edge counts of each release.

use hornero_model::{ReleaseCounters, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the edge has counted by now. The difference of two of them is what came in between, to about a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficReport {
    /// When this was asked for.
    pub at: Timestamp,
    /// The process that counts; null while no edge answers. Another one may have begun anew.
    pub edge: Option<u32>,
    /// Every release in every pool of the table in force, by the releases' own numbers.
    pub releases: Vec<ReleaseCounters>,
}
