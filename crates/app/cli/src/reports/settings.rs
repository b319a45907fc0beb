//! What `settings` prints.

use hornero_model::Budget;
use schemars::JsonSchema;
use serde::Serialize;

use super::access::AccessSettings;

/// What holds for all services of a home.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SettingsReport {
    /// The file that says it.
    pub file: String,
    /// Whether there is one.
    pub present: bool,
    /// Servers that Hornero may make by itself, of all services together; null where the file says nothing: then it follows
    /// from the services' own budgets.
    pub budget: Option<Budget>,
    /// What logs of servers that are gone may take.
    pub logs: LogSettings,
    /// What bundles of servers that failed may take.
    pub bundles: BundleSettings,
    /// Who gets the ledger's heads; null for nobody.
    pub witness: Option<String>,
    /// Who may use the API, and where beside the home's own socket.
    pub api: AccessSettings,
    /// Who gets figures, logs and traces; null for nobody.
    pub otlp: Option<OtlpReport>,
    /// Whether the control process that runs took the file as it is now; null where none runs. What `hornero serve` was
    /// started with by options or variables holds before the file.
    pub in_force: Option<bool>,
}

/// What bundles of servers that failed may take.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BundleSettings {
    /// How many are made of one service in an hour.
    pub per_hour: u32,
    /// Bytes in all.
    pub in_all: u64,
    /// Days older than the newest that they may be.
    pub days: u64,
}

/// What logs of servers that are gone may take.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LogSettings {
    /// Bytes for each service.
    pub per_service: u64,
    /// Bytes in all.
    pub in_all: u64,
    /// Days older than the newest that they may be.
    pub days: u64,
}

/// A collector that speaks OTLP, and what it gets.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OtlpReport {
    /// Its URL.
    pub endpoint: String,
    /// The file with the token that is shown to it.
    pub token_file: Option<String>,
    /// Whether it gets figures.
    pub metrics: bool,
    /// Whether it gets what servers write.
    pub logs: bool,
    /// Whether it gets rollouts.
    pub traces: bool,
}
