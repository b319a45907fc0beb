//! What the ledger says of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the verification of the ledger found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditReport {
    /// Whether every event is as it was written.
    pub intact: bool,
    /// How many events were read.
    pub events: u64,
    /// The first event that was touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<u64>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Heads that a witness gave, each of which the ledger was compared with; absent where none was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness_heads: Option<u64>,
}
