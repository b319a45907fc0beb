//! What is known of images, their names and pins: `image ls, inspect, verify, pin, unpin, untag`.

use hornero_bake::BakeRecord;
use hornero_model::{Digest, ImageConfig, InstanceId};
use schemars::JsonSchema;
use serde::Serialize;

/// What `image pin` and `image unpin` did.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PinReport {
    /// The image.
    pub image: Digest,
    /// Whether it is pinned now.
    pub pinned: bool,
    /// Whether it was otherwise before.
    pub changed: bool,
}

/// What `image untag` took away.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UntagReport<'a> {
    /// The name.
    pub name: &'a str,
    /// What it led to; null where it was damaged.
    pub image: Option<Digest>,
}

/// What `image ls` lists.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImageList<'a> {
    /// Every image, sorted by digest.
    pub images: Vec<ListedImage<'a>>,
    /// Images and layers that can't be read, sorted.
    pub damaged: &'a [Digest],
    /// Names whose files hold no digest any more, sorted.
    pub damaged_names: &'a [String],
}

/// An image of the store.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedImage<'a> {
    /// What it is.
    pub digest: Digest,
    /// Names that lead to it.
    pub names: Vec<&'a str>,
    /// How many layers it has.
    pub layers: usize,
    /// Bytes of its distinct contents.
    pub total_bytes: u64,
    /// Bytes of those that other images have as well.
    pub shared_bytes: u64,
}

/// What `image inspect` tells.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InspectedImage<'a> {
    /// What it is.
    pub digest: Digest,
    /// Names that lead to it.
    pub names: Vec<&'a str>,
    /// The version of what its digest is made from.
    pub format_epoch: u32,
    /// Its layers, from the bottom up.
    pub layers: &'a [Digest],
    /// What it says of the process that runs from it.
    pub config: &'a ImageConfig,
    /// What it is made on, the nearest first.
    pub parents: Vec<Digest>,
    /// How it came to be; null where nothing is recorded of it.
    pub bake: Option<&'a BakeRecord>,
    /// The last result of each of its tests that ran, by name.
    pub tests: Vec<LastTest<'a>>,
    /// Releases that are made of it.
    pub releases: Vec<ReleaseOfImage>,
    /// Instances that are made from it and not archived.
    pub instances: &'a [InstanceId],
    /// Kinds of what is kept beside it, such as signed statements.
    pub attachments: Vec<String>,
}

/// How a test of an image went last.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LastTest<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it passed.
    pub passed: bool,
}

/// A release that is made of an image.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReleaseOfImage {
    /// The release, as `SERVICE@NUMBER`.
    pub release: String,
    /// Whether it serves now.
    pub serves: bool,
}

/// What `image verify` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImageVerifyReport {
    /// The image.
    pub image: Digest,
    /// Whether every byte is as it was baked.
    pub intact: bool,
    /// Every damage, in words.
    pub damaged: Vec<String>,
}
