//! The directory that most commands work on.

use std::path::PathBuf;

use clap::Args;

use super::values::variable;

/// A directory with `hornero.hcl` and how to read it.
#[derive(Debug, Args)]
pub struct Source {
    /// The directory with `hornero.hcl`
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Set a variable of `hornero.hcl`
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// Fail where `hornero.lock` would have to change
    #[arg(long)]
    pub locked: bool,
}
