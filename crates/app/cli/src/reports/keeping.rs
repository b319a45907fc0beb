//! What the store takes, keeps, lets go and mends: `image du, gc, why-kept, fsck`.

use std::path::PathBuf;

use hornero_model::Digest;
use schemars::JsonSchema;
use serde::Serialize;

/// What `image du` counted. Contents are counted once each, whichever images have them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StoreUseReport<'a> {
    /// Every image, sorted by digest.
    pub images: Vec<ImageUseReport<'a>>,
    /// How many distinct contents all images have.
    pub objects: u64,
    /// Bytes of distinct contents of all images.
    pub total_bytes: u64,
    /// Bytes of those that two or more images have.
    pub shared_bytes: u64,
    /// Bytes of those that one image alone has.
    pub unique_bytes: u64,
    /// Bytes that all images would take if each had its own copy of its contents.
    pub separate_bytes: u64,
    /// Bytes that sharing saves.
    pub saved_bytes: u64,
    /// Bytes of contents that no image has: garbage, and what is being baked.
    pub unused_bytes: u64,
    /// Bytes of descriptions of layers.
    pub layer_bytes: u64,
    /// Bytes of metadata images and their indexes.
    pub metadata_bytes: u64,
    /// Bytes of what is kept beside images and layers.
    pub attachment_bytes: u64,
    /// Bytes of remembered values.
    pub cache_bytes: u64,
    /// Bytes of all files together.
    pub disk_bytes: u64,
    /// Images and layers that can't be read and so count as nothing, sorted.
    pub damaged: &'a [Digest],
    /// Names whose files hold no digest any more, sorted.
    pub damaged_names: &'a [String],
}

/// What one image takes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImageUseReport<'a> {
    /// What it is.
    pub digest: Digest,
    /// Names that lead to it.
    pub names: Vec<&'a str>,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Bytes of its distinct contents.
    pub total_bytes: u64,
    /// Bytes of those that other images have as well.
    pub shared_bytes: u64,
    /// Bytes that would be freed if only this image went.
    pub unique_bytes: u64,
    /// How many distinct contents it has.
    pub files: u64,
}

/// What `image gc` deleted, or with `--dry-run` would.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CollectionReport<'a> {
    /// Whether nothing was deleted and this only says what would be.
    pub dry_run: bool,
    /// Images that go, sorted by digest.
    pub deleted: Vec<CollectedImage<'a>>,
    /// Images that stay, sorted by digest.
    pub kept: Vec<KeptImageReport<'a>>,
    /// Bytes of the store that go.
    pub freed_bytes: u64,
    /// Files of the store that go.
    pub deleted_files: u64,
    /// Those of them that are contents of files of images.
    pub deleted_objects: u64,
    /// Bytes of distinct contents that kept images have.
    pub kept_bytes: u64,
    /// Images that are to be kept but are not in the store.
    pub missing: Vec<MissingImage<'a>>,
    /// Kept images and layers that can't be read, and missing ones; while there are any, nothing that they may need goes.
    pub damaged: &'a [Digest],
    /// How the ceiling worked out; absent without `--ceiling`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<CeilingOutcome>,
    /// Bytes of logs of servers that are gone that were deleted; 0 with `--dry-run`.
    pub freed_log_bytes: u64,
}

/// An image that goes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CollectedImage<'a> {
    /// What it is.
    pub digest: Digest,
    /// Names it is known by.
    pub names: Vec<&'a str>,
    /// Why it goes.
    pub why: WhyCollected,
    /// Rules that would keep it if it were not for the ceiling.
    pub reasons: &'a [String],
}

/// Why an image goes.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhyCollected {
    /// Nothing keeps it.
    Unneeded,
    /// Only rules keep it, and what is kept would be over the ceiling.
    Ceiling,
}

/// An image that stays.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KeptImageReport<'a> {
    /// What it is.
    pub digest: Digest,
    /// Names it is known by.
    pub names: Vec<&'a str>,
    /// Every reason, the firmest first.
    pub reasons: Vec<&'a str>,
}

/// An image that is to be kept but is not there.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MissingImage<'a> {
    /// What it is.
    pub digest: Digest,
    /// Why it is to be kept.
    pub reason: &'a str,
}

/// How a ceiling worked out.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CeilingOutcome {
    /// What kept images may take together, in bytes.
    pub limit_bytes: u64,
    /// What images take that no ceiling may drop, in bytes.
    pub always_bytes: u64,
    /// Whether what is kept stays below.
    pub met: bool,
}

/// What `image why-kept` tells.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WhyKeptReport<'a> {
    /// The image.
    pub image: Digest,
    /// Whether anything keeps it.
    pub kept: bool,
    /// Every reason, the firmest first.
    pub reasons: Vec<KeepReason<'a>>,
}

/// One reason to keep an image.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KeepReason<'a> {
    /// In words.
    pub reason: &'a str,
    /// How firmly.
    pub kept: Firmness,
}

/// How firmly an image is kept.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Firmness {
    /// Whatever a ceiling says.
    Always,
    /// By a keep-rule, which a ceiling may overrule.
    Rule,
}

impl Firmness {
    /// The word for it, as in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Rule => "rule",
        }
    }
}

/// What `image fsck` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FsckReport<'a> {
    /// Whether nothing was damaged.
    pub intact: bool,
    /// Every damage.
    pub findings: Vec<&'a FsckFinding>,
}

/// A damage of the store, or of a directory's names.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum FsckFinding {
    /// In the store.
    Stored {
        /// What is damaged: `object`, `layer`, `image`, `reference` or `attachment`.
        kind: &'static str,
        /// Its digest; of an attachment, of what it is about; of a reference, of its name.
        digest: Digest,
        /// In which way, in words.
        damage: String,
        /// Images that use it.
        uses: Vec<DamagedUse>,
        /// What became of it.
        result: FsckResult,
        /// Why it is still damaged, or what to run; empty where it was mended.
        detail: String,
    },
    /// The file with a directory's name of an image.
    Name {
        /// Always `name`.
        kind: &'static str,
        /// The file.
        file: PathBuf,
        /// Always `damaged`.
        result: FsckResult,
    },
}

/// An image that uses what is damaged.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DamagedUse {
    /// The image; for a reference, the digest of its name; for an attachment, what it is about.
    pub image: Digest,
    /// One path where an object is used; the name of a reference, the kind of an attachment; null for the whole image.
    pub path: Option<String>,
}

/// What became of a damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FsckResult {
    /// It is mended.
    Mended,
    /// It is still there.
    Damaged,
    /// Nothing uses what is damaged; `image gc` deletes it.
    Unused,
}
