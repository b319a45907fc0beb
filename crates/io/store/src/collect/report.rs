//! What collecting is asked for and what it answers.

use std::time::Duration;

use hornero_model::Digest;

use crate::cache::{CACHE_KEPT_BYTES, CACHE_KEPT_DAYS};

/// How firmly something keeps an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// A keep-rule of the user's; a ceiling may take it, the least recent first.
    ByRule {
        /// Larger is more recent; milliseconds since 1970 or a release's number, one kind of both in one call.
        recency: u64,
    },
    /// It runs, is in flight, is what a rollback needs, is pinned, or a name leads to it: nothing deletes it.
    Always,
}

/// An image that is to be kept, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The image.
    pub image: Digest,
    /// Why, in words for people, such as "release site@17 is within `keep_releases`".
    pub reason: String,
    /// How firmly.
    pub protection: Protection,
}

/// How to collect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectOptions {
    /// Only says what would be deleted.
    pub dry_run: bool,
    /// What the contents of all kept images together may take; images kept by rule are dropped for it.
    pub ceiling_bytes: Option<u64>,
    /// How long to wait for bakes and imports to end; for ever when absent, not at all when zero.
    pub patience: Option<Duration>,
    /// What remembered values may take; the least lately used go first.
    pub cache_bytes: u64,
    /// Remembered values that were not used for so long go.
    pub cache_age: Duration,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            ceiling_bytes: None,
            patience: Some(Duration::from_secs(600)),
            cache_bytes: CACHE_KEPT_BYTES,
            cache_age: Duration::from_secs(CACHE_KEPT_DAYS * 24 * 3600),
        }
    }
}

/// What collecting is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectProgress {
    /// Bakes or imports are at work; it goes on when they end. Told about once a second.
    Waiting {
        /// For how long by now.
        waited: Duration,
    },
    /// The store is locked; what is needed is being found out.
    Marking {
        /// Images in the store.
        images: usize,
    },
    /// Just before one more file is deleted; not told in a dry run. Comes from several threads.
    Deleting {
        /// `image`, `layer`, `object`, `metadata`, `attachment` or `cache`.
        kind: &'static str,
        /// Files of this kind that were deleted before.
        before: u64,
    },
}

/// Told what collecting is about to do, possibly from several threads at once.
pub type CollectTeller<'a> = &'a (dyn Fn(CollectProgress) + Sync);

/// Files and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Number of files.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { files: self.files + other.files, bytes: self.bytes + other.bytes }
    }
}

/// What was, or in a dry run would be, deleted of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deleted {
    /// Image manifests.
    pub images: Tally,
    /// Layers that no kept image has.
    pub layers: Tally,
    /// Contents that no kept layer has.
    pub objects: Tally,
    /// Metadata images of other trees than those of kept images.
    pub metadata: Tally,
    /// Attachments of what is gone.
    pub attachments: Tally,
    /// Remembered values that are stale or name what is gone.
    pub cache: Tally,
}

impl Deleted {
    /// All kinds together.
    pub fn total(&self) -> Tally {
        self.images + self.layers + self.objects + self.metadata + self.attachments + self.cache
    }
}

/// Why an image was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unneeded {
    /// No name, pin, release or rule keeps it.
    NothingKeepsIt,
    /// Only these rules kept it, and the ceiling did not leave room for it.
    Ceiling {
        /// The reasons of the rules.
        reasons: Vec<String>,
    },
}

/// An image that was, or in a dry run would be, deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedImage {
    /// Its digest.
    pub digest: Digest,
    /// Why.
    pub why: Unneeded,
}

/// Why an image is kept: one of possibly several reasons.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// How firmly.
    pub protection: Protection,
    /// In words for people.
    pub text: String,
}

/// An image that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptImage {
    /// Its digest.
    pub digest: Digest,
    /// Every reason, the firmest first.
    pub reasons: Vec<Reason>,
}

/// How a ceiling worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CeilingReport {
    /// What was allowed.
    pub limit_bytes: u64,
    /// What images take that no ceiling may drop.
    pub always_bytes: u64,
    /// Whether what is kept stays below; otherwise the images that are always kept alone are too large.
    pub met: bool,
}

/// What collecting did, or in a dry run would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CollectReport {
    /// Images that went, sorted by digest.
    pub deleted_images: Vec<DeletedImage>,
    /// Images that stay, sorted by digest.
    pub kept_images: Vec<KeptImage>,
    /// Files and bytes that went.
    pub deleted: Deleted,
    /// Distinct contents that kept images have.
    pub kept_objects: Tally,
    /// Whether the ceiling was met, if there was one.
    pub ceiling: Option<CeilingReport>,
    /// Images that are to be kept but are not in the store.
    pub missing: Vec<Root>,
    /// Kept images and layers that can't be read, and missing ones that are always to be kept. While there are any,
    /// nothing but manifests of other images and remembered values is deleted: they might need it once they are healed.
    pub damaged: Vec<Digest>,
}
