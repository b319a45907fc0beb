//! What making images came to: `build`, `lock`, `patch`, `reproduce`, `image rebase`.

use hornero_api::message::{ServiceOutcome, TestResult};
use hornero_bake::{PackageChange, PatchedImage, RebaseRefusal, Reproduction};
use hornero_model::{Digest, ImageName};
use schemars::JsonSchema;
use serde::Serialize;

/// What `build` baked.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BuildReport {
    /// The images, what others are made from first.
    pub images: Vec<BuiltImage>,
}

/// An image that was baked, or was cached.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BuiltImage {
    /// Its name.
    pub name: ImageName,
    /// What it is.
    pub digest: Digest,
    /// Whether nothing had to be done.
    pub cached: bool,
    /// How long it took.
    pub seconds: f64,
    /// Its steps; with `--explain` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<BuiltStep>>,
}

/// A step of an image.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BuiltStep {
    /// What it does.
    pub title: String,
    /// Whether it was cached.
    pub cached: bool,
    /// Why it ran; empty where it did not.
    pub why: String,
    /// How long it took.
    pub seconds: f64,
}

/// What `lock` wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LockReport<'a> {
    /// Images that have packages of their own, by name.
    pub images: Vec<LockedCount<'a>>,
    /// Packages that changed, by image and name.
    pub changes: &'a [PackageChange],
}

/// How much of an image is locked.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LockedCount<'a> {
    /// The image.
    pub name: &'a ImageName,
    /// How many packages it has of its own.
    pub packages: usize,
}

/// What `patch` changed, or with `--dry-run` would.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PatchOutcome<'a> {
    /// Packages that changed, by image and name; none where everything was up to date.
    pub changes: &'a [PackageChange],
    /// The images, what others are made on first; none with `--dry-run`.
    pub images: &'a [PatchedImage],
    /// Tests that ran of images that changed; none with `--deploy`, where the rollout runs them.
    pub tests: Vec<TestedImage<'a>>,
    /// The services as they are now; with `--deploy` only, and absent where the tests failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<ServiceOutcome>>,
}

/// How the tests of an image went.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TestedImage<'a> {
    /// The image's name.
    pub image: &'a str,
    /// Each test, in the image's order.
    pub tests: &'a [TestResult],
    /// The last lines that the tested server wrote, where a test failed.
    pub log_tail: &'a [String],
}

/// Why an image may not be on a base; beside the error.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RefusedBase<'a> {
    /// The image; absent where images were to be baked on the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<&'a Digest>,
    /// The base; absent where images were to be baked on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<&'a Digest>,
    /// Every reason.
    pub refusals: &'a [RebaseRefusal],
}

/// What `reproduce` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReproductionReport<'a> {
    /// What came of it.
    #[serde(flatten)]
    pub again: &'a Reproduction,
    /// Whether the same inputs gave the same bytes.
    pub same: bool,
}

/// What `build --twice` found where images differ; beside the error.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TwiceReport<'a> {
    /// Every image that differs.
    pub twice: Vec<ReproductionReport<'a>>,
}
