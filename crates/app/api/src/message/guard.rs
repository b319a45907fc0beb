//! What data guards say.

use hornero_model::{GuardAnswer, GuardName, ServiceName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the data guards of a service say at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardsReport {
    /// The service.
    pub service: ServiceName,
    /// Its guards, by name.
    pub declared: Vec<GuardName>,
    /// What each says of each server that serves; none where nothing serves, so that nothing can be taken away.
    pub answers: Vec<GuardAnswer>,
}
