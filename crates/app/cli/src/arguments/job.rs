//! `hornero job` and `hornero schedule`: what can be typed.

use clap::Subcommand;
use hornero_model::JobName;

/// What to do with schedules.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ScheduleCommand {
    /// List schedules: what each does, when it comes round next, and what came of it last
    Ls,
}

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// List jobs: when each comes round next, and what its last run came to
    Ls,
    /// Run a job now, and follow it to its end
    #[command(after_help = "\
Example:
  hornero job run report --reason 'the numbers of May were missing'

It ends as `hornero run` does. While a run of the job goes on it is refused: exit code 3.")]
    Run {
        /// Its name
        name: JobName,
        /// Why, for the record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}
