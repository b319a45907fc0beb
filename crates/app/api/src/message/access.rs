//! Who asks, and how browsers get in.

use hornero_model::{Role, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionReport {
    /// As the ledger says it.
    pub user: String,
    /// What they may.
    pub role: Role,
    /// Until when, where it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Asks for a link by which a browser logs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// What the browser may, at most what whoever asks may; it may look where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The port of 127.0.0.1 to listen at where the settings declare no `listen`; a free one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// A link by which a browser logs in, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoginReport {
    /// The link. Whoever opens it first has the role.
    pub url: String,
    /// What the browser may.
    pub role: Role,
    /// Until when the link has to be opened.
    pub until: Timestamp,
}

/// A place where the API is reached beside the home's socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiStatus {
    /// The address and port, or the path of the socket.
    pub listen: String,
    /// Whether it speaks TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// Why it is not reached there now; it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}
