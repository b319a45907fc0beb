//! Checks: what makes a server count as healthy or a test as passed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Millis;

/// A GET over HTTP/1.1 whose answer must have one status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// TCP port inside the instance.
    pub port: u16,
    /// Request target, beginning with `/`.
    pub path: String,
    /// Expected status; none means any of 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Text that the first 64 KiB of the body must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// A TCP connection that must be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    /// TCP port inside the instance.
    pub port: u16,
}

/// One way to ask a server whether it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// By HTTP.
    Http(HttpCheck),
    /// By TCP.
    Tcp(TcpCheck),
}

/// What every instance of a service must pass before and while it gets traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthContract {
    /// What is asked.
    pub check: Check,
    /// Time between two checks of a healthy instance. A new one is asked more often until it first answers.
    pub interval: Millis,
    /// How long one check may take.
    pub timeout: Millis,
    /// Consecutive failures after which an instance gets no more traffic.
    pub unhealthy_after: u32,
    /// Consecutive passes after which an instance that is not healthy gets traffic.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub healthy_after: u32,
    /// How long an instance may take from its start to its first passed check.
    pub start_timeout: Millis,
}

const fn once() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_once(count: &u32) -> bool {
    *count == 1
}
