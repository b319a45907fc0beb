//! Which lines of logs are shown, and how much of those of servers that are gone stays.

use std::time::Duration;

use clap::Args;
use hornero_control::{LAST_LINES_MAX, LogLimits};

use super::values::size;

/// Which lines are shown.
#[derive(Debug, Args)]
pub struct LogsArguments {
    /// Service, one of its releases (`SERVICE@N`), or instance
    pub object: String,
    /// Only lines after this time (RFC 3339) or this long ago (such as `10m`)
    #[arg(long)]
    pub since: Option<String>,
    /// Only lines up to this time, or to this long ago
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only lines of this level or worse: trace, debug, info, warn, error or fatal
    #[arg(long)]
    pub level: Option<String>,
    /// Only lines with this regular expression, of bytes; `(?i)` before it ignores case. `\bWORD\b` is found without
    /// reading everything
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<String>,
    /// Only lines with this word, whole and in whatever case; found without reading everything
    #[arg(long)]
    pub word: Vec<String>,
    /// Only lines that are JSON or `key=value` and have this field; `a.b=value` for one within another
    #[arg(long, value_name = "NAME=VALUE")]
    pub field: Vec<String>,
    /// Show the bytes alone, as they were written: escape sequences reach the terminal
    #[arg(long)]
    pub raw: bool,
    /// Only the last N lines of all, by their time
    #[arg(short = 'n', long, value_name = "N", value_parser = last_lines)]
    pub lines: Option<usize>,
    /// Go on as lines are written
    #[arg(short, long)]
    pub follow: bool,
}

fn last_lines(text: &str) -> Result<usize, String> {
    let lines: usize = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    match lines <= LAST_LINES_MAX {
        true => Ok(lines),
        false => Err(format!("at most {LAST_LINES_MAX}; without it, all are shown")),
    }
}

/// What logs of archived instances may take; those of running ones are bounded each by itself.
#[derive(Debug, Clone, Args)]
pub struct LogBounds {
    /// What logs of servers that are gone may take for each service; the newest lines stay [default: the home's settings,
    /// else 64MiB]
    #[arg(long, env = "HORNERO_LOG_SERVICE_SIZE", value_name = "SIZE", value_parser = size)]
    log_service_size: Option<u64>,
    /// What they may take in all [default: the home's settings, else 1GiB]
    #[arg(long, env = "HORNERO_LOG_SIZE", value_name = "SIZE", value_parser = size)]
    log_size: Option<u64>,
    /// How many days older than the newest they may be; those of each service's last three stay [default: the home's
    /// settings, else 14]
    #[arg(long, env = "HORNERO_LOG_DAYS", value_name = "N")]
    log_days: Option<u32>,
}

impl LogBounds {
    /// The same for the engine; what is not given is as the home has it.
    pub fn limits(&self, of_home: LogLimits) -> LogLimits {
        LogLimits {
            service_bytes: self.log_service_size.unwrap_or(of_home.service_bytes),
            home_bytes: self.log_size.unwrap_or(of_home.home_bytes),
            age: self.log_days.map_or(of_home.age, days),
        }
    }
}

/// So many days.
pub fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 24 * 3600)
}
