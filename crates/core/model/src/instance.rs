//! The life of one instance.

use std::{fmt, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Place;

/// Where an instance is in its life.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Decided and recorded; nothing of it runs.
    Created,
    /// Its namespaces and command are being started.
    Starting,
    /// Its command runs; the health contract has not passed yet.
    Probing,
    /// Healthy, without traffic: before the switch, or kept warm after it.
    Ready,
    /// Healthy and gets traffic.
    Serving,
    /// Gets no new requests; those in flight end.
    Draining,
    /// Its processes have ended on request.
    Stopped,
    /// It ended by itself, or broke its health contract.
    Failed,
    /// Only its logs and record are left.
    Archived,
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Probing => "probing",
            Self::Ready => "ready",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Archived => "archived",
        })
    }
}

/// What an engine calls something that runs; nobody but that engine can tell more by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceHandle(String);

impl InstanceHandle {
    /// A handle of that text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the engine that made it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where to find an instance that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Its address on Hornero's network.
    pub address: IpAddr,
    /// The host that it runs on.
    pub place: Place,
    /// What its engine calls it.
    pub handle: InstanceHandle,
}

/// Who a command runs as, in ids of the image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// One file of a host, whatever names lead to it. While anything holds it, no other file has its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileIdentity {
    /// The device number of its file system.
    pub device: u64,
    /// Its inode number there.
    pub inode: u64,
}

/// Why the first process of an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// The kernel killed it, or a process of it, for want of memory within its limit.
    OutOfMemory,
    /// Its command could not be started; the text says which step failed and why.
    NotStarted(String),
    /// Its shim was lost, and with it the exit status.
    Unknown,
    /// It ended with its host, which was started again.
    HostRestarted,
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::OutOfMemory => f.write_str("killed: out of memory within its limit"),
            Self::NotStarted(why) => write!(f, "did not start: {why}"),
            Self::Unknown => f.write_str("ended with its shim; cause unknown"),
            Self::HostRestarted => f.write_str("ended with its host, which was started again"),
        }
    }
}
