//! How many servers a service has where that follows from its load.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Millis;

/// Between how many servers a service may have, and what says how many it wants. Where several measures are given the
/// one that wants the most decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// The fewest; 0 only with `to_zero`.
    pub minimum: u32,
    /// The most.
    pub maximum: u32,
    /// Requests (or TCP connections) in flight that one server shall have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// Requests a second that one server shall get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// The part of its processor limit that one server shall use, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    /// For how long fewer have to be enough before some leave.
    pub stabilise: Millis,
    /// When nothing runs at all; none where at least one server always does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_zero: Option<ToZero>,
}

/// When a service has no server, and what becomes of requests until it has one again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToZero {
    /// For how long there has to be no request.
    pub idle: Millis,
    /// How long each request may wait for a server.
    pub hold: Millis,
    /// How many may wait at the same time.
    pub hold_requests: u32,
}

impl Scale {
    /// The fewest servers that a release is rolled out with: one that is to be proven needs one.
    pub const fn least(&self) -> u32 {
        if self.minimum == 0 { 1 } else { self.minimum }
    }
}
