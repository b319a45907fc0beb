//! What an engine is asked for, and what it tells of instances.

use std::{collections::BTreeMap, net::IpAddr};

use hornero_model::{
    Digest, ExitCause, InstanceHandle, InstanceId, LeasedMount, Place, ReleaseNumber, Resources,
    Scratch, SecretLabel, SecretVersion, ServiceName, StopSignal, Timestamp, User,
};
use serde::{Deserialize, Serialize};

/// Everything an engine needs to make one instance; complete in itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceSpec {
    /// Its id, unique for ever within a home.
    pub id: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// Its image; where the engine gets it from is its own matter.
    pub image: Digest,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The whole environment of the command; `PATH`, `HOME` and `HOSTNAME` are added where they are missing.
    pub env: BTreeMap<String, String>,
    /// Who the command runs as, resolved against the image.
    pub user: User,
    /// Working directory; empty means `/`.
    pub workdir: String,
    /// Writable directories besides `/tmp`.
    pub scratch: Vec<Scratch>,
    /// Limits.
    pub resources: Resources,
    /// Whether it may open connections to outside Hornero's network.
    pub egress: bool,
    /// Its host name.
    pub hostname: String,
    /// Lines added to `/etc/hosts`.
    pub hosts: Vec<HostEntry>,
    /// The signal that asks the command to end; none means SIGTERM.
    pub stop_signal: Option<StopSignal>,
    /// Files laid over its root, read-only for the command, sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<InstanceFile>,
    /// Volumes that it writes to, and the leases under which it has them, sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<LeasedMount>,
}

/// A file laid over the root of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceFile {
    /// Absolute, normalised path inside.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner, in ids of the image.
    pub uid: u32,
    /// Group, in ids of the image.
    pub gid: u32,
    /// What it holds.
    pub content: FileContent,
}

/// What a file of an instance holds; where the engine gets it from is its own matter, as with images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileContent {
    /// The bytes with this digest.
    Stored(Digest),
    /// A value of a secret; it is never anywhere but in the instance's memory once it was put there.
    Secret {
        /// Which secret.
        name: SecretLabel,
        /// Which of its values.
        version: SecretVersion,
    },
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// Its name.
    pub name: String,
}

/// An instance that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// What the engine calls it.
    pub handle: InstanceHandle,
    /// Where it runs.
    pub place: Place,
    /// Its address on Hornero's network; none without one.
    pub address: Option<IpAddr>,
}

/// An instance as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// Its image.
    pub image: Digest,
    /// When its start was asked for.
    pub created: Timestamp,
    /// Whether it runs.
    pub status: InstanceStatus,
}

/// Whether an instance runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceStatus {
    /// Its shim is starting the command.
    Starting,
    /// Its command runs.
    Running(Started),
    /// It has ended.
    Exited {
        /// Why.
        cause: ExitCause,
        /// When it was noticed.
        at: Timestamp,
    },
}

/// The end of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The instance.
    pub id: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// Why it ended.
    pub cause: ExitCause,
    /// When it was noticed.
    pub at: Timestamp,
}
