//! What `autopsy` and `bundle` print.

use hornero_autopsy::LikelyCause;
use hornero_model::{
    Digest, ExitCause, GroupFigures, InstanceId, ReleaseNumber, ServiceName, Timestamp,
};
use schemars::JsonSchema;
use serde::Serialize;

/// What a bundle says.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AutopsyReport<'a> {
    /// The server.
    pub instance: &'a InstanceId,
    /// Its service.
    pub service: &'a ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// The kind of the likely cause.
    pub cause: LikelyCause,
    /// The likely cause in one line.
    pub summary: String,
    /// How it ended; null where it ran when it was looked at.
    pub exit: Option<&'a ExitCause>,
    /// What happened to it, as the ledger has it.
    pub why: &'a str,
    /// What speaks for the cause, and what tells the server from others.
    pub evidence: Vec<String>,
    /// What its control group had counted.
    pub figures: &'a GroupFigures,
    /// What could not be kept, and why.
    pub missed: Vec<String>,
    /// The last lines that it wrote.
    pub last_lines: Vec<&'a str>,
    /// Its image.
    pub image: Option<&'a Digest>,
    /// The file that was read.
    pub bundle: String,
    /// The digest that was sealed, which the ledger of its home has.
    pub digest: &'a Digest,
    /// When.
    pub sealed: Timestamp,
    /// Whether the seal is a signature of the key that it names; false means that somebody touched it.
    pub intact: bool,
    /// The key, 64 hex digits.
    pub key: &'a str,
    /// Whether that is the key of the home that was named.
    pub of_this_home: bool,
}

/// A bundle in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedBundle {
    /// The server.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// When it was sealed.
    pub sealed: Timestamp,
    /// The likely cause in one line.
    pub summary: String,
    /// Bytes of its file.
    pub bytes: u64,
    /// The digest that was sealed.
    pub digest: Digest,
    /// Its file.
    pub path: String,
}

/// A bundle that was written elsewhere.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExportedBundle {
    /// The server.
    pub instance: InstanceId,
    /// The file.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// The digest that was sealed.
    pub digest: Digest,
}
