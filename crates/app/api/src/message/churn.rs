//! How many servers were made and removed, why, and beside which limits.

use hornero_model::{ChurnScope, ChurnWindow, ServiceName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `churn` counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChurnReport {
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// The services, by name.
    pub services: Vec<ServiceChurn>,
    /// What was made in the whole home beside its limits, now.
    pub home: Vec<ChurnUse>,
}

/// What was made and removed of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceChurn {
    /// The service.
    pub name: ServiceName,
    /// Servers that were made.
    pub made: u32,
    /// Servers that are gone.
    pub removed: u32,
    /// Those of them that failed.
    pub failed: u32,
    /// Servers that are there.
    pub running: u32,
    /// Seconds that servers were there, added up.
    pub seconds: f64,
    /// Their memory limits by the hours that they were there, in GiB.
    pub memory_gib_hours: f64,
    /// How many were made because of whom and why, most first; what is left of many has neither.
    pub causes: Vec<ChurnCause>,
    /// By the hour; hours in which nothing happened are left out.
    pub hours: Vec<ChurnHour>,
    /// What was made beside its limits, now.
    pub budget: Vec<ChurnUse>,
}

/// Servers that were made for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChurnCause {
    /// Who asked; `hornero` where nobody did.
    pub who: String,
    /// Why.
    pub why: String,
    /// How many.
    pub made: u32,
}

/// What happened within an hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChurnHour {
    /// Its beginning.
    pub from: Timestamp,
    /// Servers that were made.
    pub made: u32,
    /// Servers that were gone.
    pub removed: u32,
}

/// What was made beside one limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChurnUse {
    /// Whose servers count.
    pub scope: ChurnScope,
    /// The time that they are counted in.
    pub window: ChurnWindow,
    /// How many were made in it.
    pub made: u32,
    /// How many may be.
    pub limit: u32,
}
