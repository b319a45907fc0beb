//! What is spoken on ports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is spoken on a port.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2.
    Http,
    /// Bytes.
    Tcp,
}

/// A version of HAProxy's PROXY protocol (`proxy-protocol.txt`), whose header tells a server who connected to the edge.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Bytes, which can also say that nobody is spoken for.
    V2,
}
