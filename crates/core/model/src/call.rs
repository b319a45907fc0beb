//! Calls between the home's own servers, as an edge counts them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{PoolName, Timestamp};

/// Calls of one server to one pool of a service, by the name that the service has inside Hornero's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenCall {
    /// The address of the server that called.
    pub from: IpAddr,
    /// What it called.
    pub pool: PoolName,
    /// Which of the edge's threads counted them: each counts for itself.
    #[serde(default)]
    pub lane: u32,
    /// Requests, or TCP connections, since `since`.
    pub requests: u64,
    /// The first of them. Counting that begins anew, as after a long silence, has another one.
    pub since: Timestamp,
    /// The last of them.
    pub last: Timestamp,
}

/// All calls that an edge knows of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeCalls {
    /// The edge's process id.
    pub pid: u32,
    /// The calls.
    pub calls: Vec<SeenCall>,
    /// Those that there was no room to count.
    #[serde(default)]
    pub uncounted: u64,
}
