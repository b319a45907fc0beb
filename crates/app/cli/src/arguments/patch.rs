//! `hornero patch`: what can be typed.

use clap::Args;
use hornero_model::ServiceName;

use crate::arguments::source::Source;

/// What to patch, and what becomes of it.
#[derive(Debug, Args)]
pub struct PatchArguments {
    /// What to work on
    #[command(flatten)]
    pub source: Source,
    /// Roll the patched images out
    #[arg(long, conflicts_with = "dry_run")]
    pub deploy: bool,
    /// Roll out this service alone; can be given several times
    #[arg(long = "service", value_name = "SERVICE", requires = "deploy")]
    pub services: Vec<ServiceName>,
    /// Only show which packages would change
    #[arg(long)]
    pub dry_run: bool,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
}
