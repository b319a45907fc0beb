//! What running servers have written to memory that goes with them.

use hornero_model::{ServiceName, WrittenInstance};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What running servers have written, by service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WrittenReport {
    /// Services of which something runs, by name.
    pub services: Vec<WrittenService>,
}

/// A service of which something runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WrittenService {
    /// Its name.
    pub name: ServiceName,
    /// Its running instances; one that ended meanwhile is left out.
    pub instances: Vec<WrittenInstance>,
}
