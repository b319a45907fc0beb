//! Calls between services.

use hornero_model::{ServiceName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Calls of one service to another by its name inside Hornero's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallStatus {
    /// The service that called.
    pub from: ServiceName,
    /// The service that it called.
    pub to: ServiceName,
    /// Requests, or TCP connections, as far as this control process knows.
    pub requests: u64,
    /// The last of them, to about five seconds.
    pub last: Timestamp,
    /// Whether `depends_on` of the caller names the other.
    pub declared: bool,
}
