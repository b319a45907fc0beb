//! Previews: what can be typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use hornero_model::{PreviewName, ReleaseNumber, ServiceName};

use super::values;

/// What `up` takes for a preview.
#[derive(Debug, Args)]
pub struct PreviewWords {
    /// Show this beside what serves, under a name and for a time, instead of rolling it out
    #[arg(
        long = "preview",
        value_name = "NAME",
        conflicts_with_all = ["base", "prune", "no_prune", "adopt", "retry_failed", "overrides"]
    )]
    pub name: Option<PreviewName>,
    /// With `--preview`: this release of the one service that is named
    #[arg(long, value_name = "N", value_parser = values::release_number, requires = "name", conflicts_with = "from")]
    pub release: Option<ReleaseNumber>,
    /// With `--preview`: what this directory declares, such as the checkout of a branch; this one by default
    #[arg(id = "from", long = "dir", value_name = "DIR", requires = "name")]
    pub dir: Option<PathBuf>,
    /// With `--preview`: how many of the requests for the service it gets, besides those that ask for it by name
    #[arg(long, value_name = "PERCENT", value_parser = values::share, requires = "name")]
    pub share: Option<u32>,
    /// With `--preview`: how long it stays
    #[arg(long = "for", value_name = "SPAN", value_parser = humantime::parse_duration, default_value = "24h", requires = "name")]
    pub lasts: Duration,
    /// With `--preview`: only these services
    #[arg(value_name = "SERVICE", requires = "name")]
    pub services: Vec<ServiceName>,
}

/// What to do with previews.
#[derive(Debug, Subcommand)]
pub enum PreviewCommand {
    /// List previews: how to reach each, how it is, and how long it stays
    Ls,
    /// Remove a preview, with all that belongs to it
    Rm {
        /// Its name
        name: PreviewName,
        /// Why, for the record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}
