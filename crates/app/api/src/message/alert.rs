//! Alerts, and how it stands with those who hear of them.

use hornero_model::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Alerts, and who hears of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertsReport {
    /// Those that hold, the newest first, and the last ones that were resolved.
    pub alerts: Vec<AlertStatus>,
    /// Who hears of them.
    pub destinations: Vec<AlertDestination>,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertStatus {
    /// The rule, such as `crash_loop`.
    pub rule: String,
    /// Of what: a service, or `home`.
    pub object: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// `pending`, `firing` or `resolved`.
    pub state: String,
    /// What was seen.
    pub summary: String,
    /// What to do about it.
    pub remedy: String,
    /// Since when it holds.
    pub since: Timestamp,
    /// When it fired; absent while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired: Option<Timestamp>,
    /// When it was resolved; absent while it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Timestamp>,
}

/// Who hears of alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertDestination {
    /// `alertmanager`, `webhook`, `command` or `rollouts`.
    pub kind: String,
    /// How many wait to be taken.
    pub waiting: u64,
    /// How many were given up since control started.
    pub dropped: u64,
    /// When the last was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Timestamp>,
    /// Why the last try failed; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}
