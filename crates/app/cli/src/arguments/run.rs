//! `hornero run`: one-off work.

use std::time::Duration;

use clap::Args;

/// A command, and what its server is made from.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// A service, a release of one such as `site@17`, or an image
    #[arg(value_name = "SERVICE|IMAGE")]
    pub object: String,
    /// How long it may take
    #[arg(
        long,
        default_value = "1h",
        value_parser = humantime::parse_duration,
        value_name = "TIME"
    )]
    pub timeout: Duration,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}
