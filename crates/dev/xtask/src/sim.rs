//! Running histories of the simulation by seed.

use std::process::Command;

use anyhow::Result;

use crate::run;

/// Builds the simulation as the tests have it, and runs it.
pub fn sim(arguments: &[String]) -> Result<()> {
    let mut cargo = run::cargo();
    run::check(cargo.args(["build", "--quiet", "--workspace", "--bin", "hornero-sim"]))?;
    run::check(Command::new(run::target_directory().join("debug/hornero-sim")).args(arguments))
}
