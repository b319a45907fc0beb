//! What `top` shows.

use std::time::Duration;

use clap::Args;

/// What is shown.
#[derive(Debug, Args)]
pub struct TopArguments {
    /// Only this service, or this instance; with `--since` also one that is gone
    #[arg(value_name = "SERVICE|INSTANCE")]
    pub object: Option<String>,
    /// Show it once; the default where stdout is no terminal
    #[arg(long)]
    pub once: bool,
    /// Time between two looks
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2s",
        value_parser = interval,
        conflicts_with_all = ["once", "since"]
    )]
    pub every: Duration,
    /// Figures over time instead: from this time on (RFC 3339), or for so long (such as `24h`)
    #[arg(long, value_name = "TIME", requires = "object")]
    pub since: Option<String>,
    /// Up to this time, or to this long ago; now by default
    #[arg(long, value_name = "TIME", requires = "since")]
    pub until: Option<String>,
    /// How much time each line stands for; a hundredth of the whole by default
    #[arg(long, value_name = "TIME", requires = "since", value_parser = humantime::parse_duration)]
    pub step: Option<Duration>,
}

/// More often than once a second nothing new is known; more seldom than once an hour nobody watches.
fn interval(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let is_fine = (Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&span);
    is_fine.then_some(span).ok_or_else(|| "from 1s to 1h".to_owned())
}
