//! What `state-lint` looks at.

use std::time::Duration;

use clap::Args;

use super::Source;

/// Find what servers hold that would be lost with them, and say what to declare
#[derive(Debug, Args)]
pub struct StateLintArguments {
    /// What to work on
    #[command(flatten)]
    pub source: Source,
    /// Time between two looks at running servers, by which growing files are known
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = between)]
    pub watch: Duration,
}

/// Who wants to see what grows within more than an hour asks twice.
fn between(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let is_fine = span <= Duration::from_secs(3_600);
    is_fine.then_some(span).ok_or_else(|| "at most 1h".to_owned())
}
