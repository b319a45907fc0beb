//! The words of a verdict, and what is compared.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a candidate does beside the release that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// At least one measure is better, and none beyond what is tolerated.
    Better,
    /// At least one measure is worse.
    Worse,
    /// No measure is beyond what is tolerated.
    Same,
    /// More requests are needed.
    Inconclusive,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Requests that failed, and answers with a status of 500 or more.
    Errors,
    /// The median of the latencies.
    MedianLatency,
    /// The 99th percentile of the latencies.
    TailLatency,
}
