//! What is found, as it is told.

use hornero_model::{InstanceId, ServiceName, WrittenFile};
use schemars::JsonSchema;
use serde::Serialize;

/// A place of a service that holds data, or will, and has no volume over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StateFinding {
    /// The service.
    pub service: ServiceName,
    /// How it was found.
    pub kind: StateFindingKind,
    /// Where, as inside a server.
    pub path: String,
    /// What the place is at present.
    pub place: StatePlace,
    /// What holds the data.
    pub holder: String,
    /// What is lost when a server is replaced.
    pub lost: String,
    /// What servers that run have written there; null where they wrote nothing, or none was looked at.
    pub written: Option<WrittenState>,
    /// What to declare, so that nothing is lost.
    pub remedy: StateRemedy,
}

/// How data was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateFindingKind {
    /// A package that holds data is in the image.
    Package,
    /// The imported image says that it should be a volume.
    ImageVolume,
    /// A directory for data of the image, that belongs to another user than root, is scratch.
    DataDirectory,
    /// The environment names a database in a file.
    DatabaseFile,
    /// A server that runs has written it.
    Written,
}

/// What a place without a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatePlace {
    /// Memory that goes with its server.
    Scratch,
    /// Part of the root, which is read-only.
    ReadOnly,
}

/// What servers have written to a place that goes with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WrittenState {
    /// The servers.
    pub instances: Vec<InstanceId>,
    /// Files, of all of them.
    pub files: u64,
    /// Their size together, in bytes.
    pub bytes: u64,
    /// By how many bytes they grew between two looks.
    pub grown_bytes: u64,
    /// The largest ones, the largest first.
    pub largest: Vec<WrittenFile>,
    /// The one that was written to last.
    pub newest: WrittenFile,
    /// Paths that are open for writing, 10 at most.
    pub open: Vec<String>,
}

/// What to declare of a place that was found, to be pasted into `hornero.hcl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StateRemedy {
    /// The block of a volume.
    pub volume: String,
    /// Lines of the service, by which it has that volume.
    pub service: String,
    /// What else has to be changed then.
    pub also: Vec<String>,
    /// The line of the service that says that the place holds no data.
    pub not_state: String,
}
