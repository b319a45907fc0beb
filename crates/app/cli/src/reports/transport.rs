//! What came in and went out: `image export, import, push, pull`.

use std::path::Path;

use hornero_model::{Digest, ImageName};
use schemars::JsonSchema;
use serde::Serialize;

/// What `image export` wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExportReport<'a> {
    /// The image.
    pub image: Digest,
    /// The format, as `--format` has it.
    pub format: String,
    /// The file, or for `oci` the directory.
    pub out: &'a Path,
    /// Bytes that were written.
    pub bytes: u64,
    /// What was added or left out, in words.
    pub notes: &'a [String],
    /// What the layers are, as `--layers` has it; absent but for `oci`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<String>,
}

/// What `image import` took in.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImportReport<'a> {
    /// The image.
    pub image: Digest,
    /// Its name here.
    pub name: &'a ImageName,
    /// How many layers it has.
    pub layers: usize,
    /// Whether another program made it; an image of Hornero's keeps its digest.
    pub foreign: bool,
}

/// What `image push` moved.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PushReport {
    /// The image.
    pub image: Digest,
    /// Where it is.
    pub reference: String,
    /// The digest of its manifest there.
    pub manifest: Digest,
    /// Bytes that went out.
    pub bytes_moved: u64,
    /// Bytes of all that it consists of there.
    pub bytes_total: u64,
    /// Blobs that went out.
    pub blobs_moved: usize,
    /// Blobs that the registry had.
    pub blobs_present: usize,
}

/// What `image pull` moved.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PullReport<'a> {
    /// The image.
    pub image: Digest,
    /// Its name here.
    pub name: &'a ImageName,
    /// The digest of the manifest it came by.
    pub manifest: Option<Digest>,
    /// Bytes that came in.
    pub bytes_moved: u64,
    /// Contents that came in.
    pub contents_moved: u64,
    /// Contents of new layers that were here.
    pub contents_present: u64,
    /// Layers that came in.
    pub layers_moved: usize,
    /// Whether another program made it: its identity is new, and it travels by whole layers.
    pub foreign: bool,
}
