//! `hornero break-glass`: what can be typed.

use std::time::Duration;

use clap::{Args, Subcommand};
use hornero_model::{GlassId, InstanceId};

/// Which server is entered, why and for how long; or what to do with sessions that were.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct GlassArguments {
    /// What to do with sessions
    #[command(subcommand)]
    pub command: Option<GlassCommand>,
    /// The server
    #[arg(required = true)]
    pub instance: Option<InstanceId>,
    /// Why, for the record
    #[arg(long, required = true)]
    pub reason: Option<String>,
    /// For how long at most, four hours at most
    #[arg(long = "for", value_name = "TIME", value_parser = time, required = true)]
    pub time: Option<Duration>,
    /// Have another server take its place at once, so that it gets no requests meanwhile
    #[arg(long)]
    pub out_of_traffic: bool,
    /// The command and its arguments; a shell in a terminal by default
    #[arg(last = true, value_name = "COMMAND")]
    pub words: Vec<String>,
}

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub enum GlassCommand {
    /// List sessions: those that go on, and those that have ended
    Ls,
    /// Show what was recorded of a session, once it is proven to be what the ledger has
    Replay {
        /// The session
        session: GlassId,
        /// Write what the session wrote as it is, escape sequences for the terminal included
        #[arg(long)]
        raw: bool,
    },
}

/// The longest that a session goes on.
const TIME_MAX: Duration = Duration::from_secs(4 * 3_600);

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match time >= Duration::from_secs(1) && time <= TIME_MAX {
        true => Ok(time),
        false => Err("a session goes on from one second to four hours".to_owned()),
    }
}
