//! What `state-lint` found.

use hornero_model::ServiceName;
use hornero_state_lint::StateFinding;
use schemars::JsonSchema;
use serde::Serialize;

/// What servers hold that would be lost with them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StateLintReport {
    /// The services that were looked at, by name.
    pub services: Vec<LintedService>,
    /// Places that hold data, or will, and have no volume: by service and path. Empty where nothing would be lost.
    pub findings: Vec<StateFinding>,
    /// What could not be looked at, and why.
    pub missed: Vec<String>,
}

/// A service that was looked at.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LintedService {
    /// Its name.
    pub name: ServiceName,
    /// Whether its image was looked into: one that is not baked yet is known by its declaration alone.
    pub baked: bool,
    /// How many running servers of it were looked at.
    pub instances: usize,
}
