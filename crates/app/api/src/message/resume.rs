//! Why nothing makes or removes servers by itself, and letting it go on.

use hornero_model::{ChurnBreach, ReleaseNumber, ServiceName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Intent;

/// Lets go on what a limit of churn stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    /// The service; everything in the home that was stopped when absent.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// What was let go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResumeReport {
    /// What had stopped something, each counting anew from now on; empty where nothing had.
    pub resumed: Vec<ServiceStop>,
}

/// Why nothing makes or removes servers by itself until somebody resumes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStop {
    /// The service; absent where it is the whole home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Since when.
    pub since: Timestamp,
    /// Why, for people.
    pub reason: String,
    /// The limit of churn that was reached, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breach: Option<ChurnBreach>,
    /// The release that failed as the one that serves does, where that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<ReleaseNumber>,
}
