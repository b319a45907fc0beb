//! What came of a bake, for those who asked for it.

use hornero_model::{Digest, ImageName};

/// An image that was baked.
#[derive(Debug, Clone, PartialEq)]
pub struct BakedImage {
    /// Its name.
    pub name: ImageName,
    /// Its identity.
    pub digest: Digest,
    /// The image it is made on; None for a Debian base.
    pub base: Option<Digest>,
    /// Whether nothing had to be done.
    pub cached: bool,
    /// How long it took.
    pub seconds: f64,
    /// Its steps in order.
    pub steps: Vec<BakedStep>,
}

/// A step of an image that was baked.
#[derive(Debug, Clone, PartialEq)]
pub struct BakedStep {
    /// What it was, for people.
    pub title: String,
    /// Whether its result came from the cache.
    pub cached: bool,
    /// Why it ran; empty where it did not.
    pub why: String,
    /// How long it took.
    pub seconds: f64,
}
