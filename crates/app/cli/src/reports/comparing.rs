//! What comparing a directory with an image found, and what is wrong with a `hornero.hcl`.

use std::path::Path;

use hornero_model::{Digest, DriftFinding};
use hornero_spec::SpecError;
use hornero_verify::Checked;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::ErrorReport;

/// What `verify --tree` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TreeReport<'a> {
    /// The directory.
    pub tree: &'a Path,
    /// The image it should equal.
    pub image: Digest,
    /// Whether it does.
    pub ok: bool,
    /// How long the comparison took, in milliseconds.
    pub millis: u64,
    /// How much was looked at.
    pub checked: Checked,
    /// Every difference, sorted by path.
    pub findings: &'a [DriftFinding],
    /// Differences beyond those listed.
    pub left_off: u64,
}

/// What every command prints of a `hornero.hcl` with mistakes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MistakesReport<'a> {
    /// That it has some.
    pub error: ErrorReport<'a>,
    /// Every one.
    pub errors: &'a [SpecError],
}
