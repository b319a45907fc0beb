//! What `upgrade` and the processes that it replaces take.

use std::time::Duration;

use clap::Args;

/// How control takes the place of another.
#[derive(Debug, Args)]
pub struct Succeeding {
    /// How long an edge may serve what it has open (downloads, WebSockets, TCP connections) once a newer one has taken over
    #[arg(long, value_name = "TIME", env = "HORNERO_HANDOVER_TIMEOUT", value_parser = humantime::parse_duration)]
    pub handover_timeout: Option<Duration>,
    /// Have the control process that runs end, and take its place; with the lock of upgrades, at this descriptor
    #[arg(long, hide = true, value_name = "DESCRIPTOR")]
    pub succeed: Option<i32>,
}

/// What to wait for.
#[derive(Debug, Args)]
pub struct UpgradeArguments {
    /// How long control and edge may take until both are of this program
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}
