//! `hornero guard`: what can be typed.

use clap::Subcommand;
use hornero_model::ServiceName;

/// What to do with data guards.
#[derive(Debug, Subcommand)]
pub enum GuardCommand {
    /// Ask each guard of a service once, and change nothing
    #[command(after_help = "\
Example:
  hornero guard check db

Exit code 3 means that one of them would keep its servers from being taken away, or could not be asked.")]
    Check {
        /// The service
        service: ServiceName,
    },
}
