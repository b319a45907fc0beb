//! `hornero quarantine`: what can be typed.

use std::time::Duration;

use clap::{Args, Subcommand};
use hornero_model::InstanceId;

/// Which server is kept, and for how long; or what to do with those that are.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct QuarantineArguments {
    /// What to do with servers that are kept
    #[command(subcommand)]
    pub command: Option<QuarantineCommand>,
    /// The server
    #[arg(required = true)]
    pub instance: Option<InstanceId>,
    /// For how long, a week at most
    #[arg(long = "for", value_name = "TIME", value_parser = keep, required = true)]
    pub keep: Option<Duration>,
    /// Why, for the record
    #[arg(long, required = true)]
    pub reason: Option<String>,
}

/// What to do with servers that are kept.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List servers that are kept, and until when
    Ls,
    /// Let a server go before its time is up: it is removed, or serves on where it was not replaced yet
    Release {
        /// The server
        instance: InstanceId,
        /// Why, for the record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

/// The longest that a server is kept.
const KEEP_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

fn keep(text: &str) -> Result<Duration, String> {
    let keep = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match keep >= Duration::from_secs(1) && keep <= KEEP_MAX {
        true => Ok(keep),
        false => Err("a server is kept from one second to seven days".to_owned()),
    }
}
