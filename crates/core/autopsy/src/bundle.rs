//! What a bundle holds.

use std::collections::BTreeMap;

use hornero_engine_port::{
    evidence::{MissedPart, ObservedProcess, ObservedSocket, ScratchFile},
    log::LogStream,
};
use hornero_model::{
    Digest, ExitCause, GroupFigures, Health, InstanceId, ReleaseCounters, ReleaseNumber,
    ServiceName, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::compare::ComparedServers;

/// The version of what a bundle holds.
pub const SCHEMA: u32 = 1;

/// `manifest.json`: of what a bundle is, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleManifest {
    /// [`SCHEMA`] of who wrote it.
    pub schema: u32,
    /// The server.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// Its image; none where its release was not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// When it was made; none where it was gone already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When this was gathered.
    pub gathered: Timestamp,
    /// How long that took, in milliseconds.
    pub took_ms: u64,
    /// What happened to it, as the ledger has it.
    pub why: String,
    /// How it ended; none where it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitCause>,
    /// Whether it stood still while it was looked at.
    pub frozen: bool,
    /// The ports that it should listen on.
    pub ports: Vec<u16>,
    /// The version of Hornero.
    pub program: String,
    /// The host's kernel.
    pub kernel: String,
    /// What else there is, by name.
    pub parts: Vec<KeptPart>,
    /// What could not be kept, and why.
    pub missed: Vec<MissedPart>,
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPart {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it holds.
    pub digest: Digest,
}

/// A line that the server wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleLine {
    /// When.
    pub time: Timestamp,
    /// Where to.
    pub stream: LogStream,
    /// Its text.
    pub text: String,
}

/// What an edge found a server to be, from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenHealth {
    /// Since when.
    pub at: Timestamp,
    /// How it was.
    pub health: Health,
    /// What the check said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Everything that a bundle holds, but for the files of scratch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleContents {
    /// Of what it is.
    pub manifest: BundleManifest,
    /// `processes.json`.
    pub processes: Vec<ObservedProcess>,
    /// `sockets.json`.
    pub sockets: Vec<ObservedSocket>,
    /// `group.json`.
    pub group: GroupFigures,
    /// `scratch.json`.
    pub scratch: Vec<ScratchFile>,
    /// `kernel.json`.
    pub kernel: Vec<String>,
    /// `log.json`, the newest last.
    pub log: Vec<BundleLine>,
    /// `health.json`, the newest last.
    pub health: Vec<SeenHealth>,
    /// `edge.json`: what the edge counted of the release.
    pub edge: Vec<ReleaseCounters>,
    /// `compared.json`.
    pub compared: ComparedServers,
    /// Small files of scratch, by path.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl BundleContents {
    /// One that has nothing yet but what it is of.
    pub fn new(manifest: BundleManifest) -> Self {
        Self {
            manifest,
            processes: Vec::new(),
            sockets: Vec::new(),
            group: GroupFigures::default(),
            scratch: Vec::new(),
            kernel: Vec::new(),
            log: Vec::new(),
            health: Vec::new(),
            edge: Vec::new(),
            compared: ComparedServers::default(),
            files: BTreeMap::new(),
        }
    }

    /// Says that something is missing.
    pub fn miss(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.manifest.missed.push(MissedPart { what: what.into(), why: why.into() });
    }
}
