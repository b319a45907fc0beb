//! Building for speed and handing over to `bench/`.

use std::process::Command;

use anyhow::Result;

use crate::run;

/// Builds the programs with optimisation and runs the measurements.
pub fn bench(arguments: &[String]) -> Result<()> {
    let packages = ["hornero-cli", "hornero-load", "hornero-bench"];
    let mut cargo = run::cargo();
    cargo.args(["build", "--release"]);
    run::check(cargo.args(packages.iter().flat_map(|package| ["--package", package])))?;
    run::check(Command::new(run::target_directory().join("release/hornero-bench")).args(arguments))
}
