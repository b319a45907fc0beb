//! `validate`: whether a `hornero.hcl` says something that can be baked and run, without doing any of it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    arguments::Source,
    failure::Failure,
    output::{print_json, print_text},
    project,
};

/// What `validate --json` prints of a file without mistakes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ValidationReport {
    /// Always true: a file with mistakes is told as an error, with the list of them.
    pub valid: bool,
    /// Names of its images, sorted.
    pub images: Vec<String>,
    /// Names of its services, sorted.
    pub services: Vec<String>,
    /// Names of its volumes, sorted.
    pub volumes: Vec<String>,
}

/// Reads the file, and tells every mistake in it.
pub fn run(json: bool, source: &Source) -> Result<(), Failure> {
    let spec = project::read(source, json)?.spec;
    let report = ValidationReport {
        valid: true,
        images: spec.images.keys().map(ToString::to_string).collect(),
        services: spec.services.keys().map(ToString::to_string).collect(),
        volumes: spec.volumes.keys().map(ToString::to_string).collect(),
    };
    if json {
        return print_json(&report);
    }
    let counts = [
        counted(report.images.len(), "image"),
        counted(report.services.len(), "service"),
        counted(report.volumes.len(), "volume"),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    print_text(&format!("valid: {}\n", counts.join(", ")))
}

/// A number of things in words; none for no thing.
fn counted(count: usize, thing: &str) -> Option<String> {
    let ending = if count == 1 { "" } else { "s" };
    (count > 0).then(|| format!("{count} {thing}{ending}"))
}
