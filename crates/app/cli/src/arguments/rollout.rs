//! `hornero rollout`: what a person does to a rollout under way.

use clap::{Args, Subcommand};
use hornero_model::ServiceName;

/// What to do to a rollout.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Let it stay where it is, with the servers and shares that it has
    Pause(Steered),
    /// Let it go on by itself
    Resume(Steered),
    /// Take its next step now
    Promote {
        /// Which
        #[command(flatten)]
        steered: Steered,
        /// Leave out every step before all requests
        #[arg(long)]
        full: bool,
    },
    /// End it: back to what served before, and the new servers taken down
    Abort(Steered),
}

/// Whose rollout, and why.
#[derive(Debug, Args)]
pub struct Steered {
    /// The service; the one that a rollout is under way for by default
    pub service: Option<ServiceName>,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
}
