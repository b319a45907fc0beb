//! Which API a command asks, and what makes tokens and links for it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hornero_model::Role;

/// Which API a command asks.
#[derive(Debug, Args)]
pub struct ApiWords {
    /// Ask the control process at this URL (`https://HOST:PORT`, `unix:/PATH`), not a home's; with `--token-file FILE`, `--api-ca FILE`,
    /// `--api-certificate FILE`
    #[arg(long, global = true, env = "HORNERO_API", value_name = "URL")]
    pub api: Option<String>,

    /// The file with the token for `--api`; HORNERO_TOKEN may hold one instead
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    pub token_file: Option<PathBuf>,

    /// The file of certificates by which that of `--api` is trusted; those that the host trusts by default
    #[arg(long, global = true, env = "HORNERO_API_CA", value_name = "FILE", hide = true)]
    pub api_ca: Option<PathBuf>,

    /// The file with a certificate and its key to show to `--api`
    #[arg(long, global = true, env = "HORNERO_API_CERTIFICATE", value_name = "FILE", hide = true)]
    pub api_certificate: Option<PathBuf>,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token, and print it with the block for `settings.hcl` that lets it in; nothing keeps the token itself
    #[command(after_help = "Example:\n  hornero token new ci --role releaser")]
    New {
        /// Whose it is, as the ledger will say it
        name: String,
        /// What it may: viewer, operator, releaser, breaker or admin
        #[arg(long)]
        role: Role,
    },
}

/// What to do with alerts.
#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// List alerts that hold, and the last ones that were resolved
    #[command(after_help = "Example:\n  hornero alerts ls --json")]
    Ls,
    /// Print a file of rules for Prometheus, which go by the metric `hornero_alert_firing`
    #[command(after_help = "Example:\n  hornero alerts rules > /etc/prometheus/rules/hornero.yml")]
    Rules,
}

/// For `dashboard`.
#[derive(Debug, Args)]
pub struct DashboardArguments {
    /// What the browser may: viewer, operator, releaser, breaker or admin; to look only, by default
    #[arg(long)]
    pub role: Option<Role>,
    /// The port of 127.0.0.1 to listen at, where the home's settings have no `listen`; a free one by default
    #[arg(long)]
    pub port: Option<u16>,
}
