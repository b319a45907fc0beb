//! The command line: what can be typed, its help texts and examples.

mod api;
mod audit;
mod authoring;
mod bring;
mod bundle;
mod editor;
mod examples;
mod export;
mod glass;
mod guard;
mod home;
mod image;
mod inventory;
mod job;
mod logs;
mod manual;
mod packing;
#[cfg(test)]
mod page;
mod patch;
mod preview;
mod quarantine;
mod rollout;
mod run;
mod secret;
mod source;
mod state;
mod top;
mod upgrade;
mod values;
mod volume;
mod witness;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use hornero_model::{ReleaseNumber, RolloutId, ServiceName};

use crate::process_log::LogWords;

pub use api::{AlertsCommand, ApiWords, DashboardArguments, TokenCommand};
pub use audit::AuditCommand;
pub use authoring::{FormatArguments, InitArguments};
pub use bring::{OverriddenGuards, PlanArguments, UpArguments};
pub use bundle::BundleCommand;
pub use editor::EditorFile;
pub use export::{ExportFormat, ExportLayers, ExportWords};
pub use glass::{GlassArguments, GlassCommand};
pub use guard::GuardCommand;
pub use home::{BackupImages, HomeCommand};
pub use image::{BillFormat, ImageCommand, ImportWords};
pub use inventory::InventoryFormat;
pub use job::{JobCommand, ScheduleCommand};
pub use logs::{LogBounds, LogsArguments, days};
pub use manual::ManualArguments;
pub use packing::Packing;
pub use patch::PatchArguments;
pub use preview::{PreviewCommand, PreviewWords};
pub use quarantine::{QuarantineArguments, QuarantineCommand};
pub use rollout::{RolloutCommand, Steered};
pub use run::RunArguments;
pub use secret::SecretCommand;
pub use source::Source;
pub use state::StateLintArguments;
pub use top::TopArguments;
pub use upgrade::{Succeeding, UpgradeArguments};
pub use volume::{NamedVolume, VolumeCommand};
pub use witness::{WITNESS_VARIABLE, WitnessWords};

/// Bakes golden images and replaces servers by new ones made from them, without losing a request.
#[derive(Debug, Parser)]
#[command(name = "hornero", version = crate::version::shown(), max_term_width = 100)]
#[command(after_help = "\
Examples:
  hornero up examples/site          bake, test, release and roll out what the directory declares
  hornero status                    what runs
  hornero rollback site             back to the last proven release
  hornero down                      stop and remove it

Exit codes:
  0 done and read back   1 failed   2 bad usage or bad hornero.hcl   3 refused by a guard
  4 rolled back   5 no such object   6 the control process can't be reached
  10 `plan --detailed-exitcode`: there is something to change
  130 Ctrl-C ended the command; the operation goes on without it")]
pub struct Arguments {
    /// Where Hornero keeps its state; several homes run side by side
    #[arg(
        long,
        global = true,
        env = "HORNERO_HOME",
        default_value = "/var/lib/hornero",
        value_name = "DIR"
    )]
    pub home: PathBuf,

    /// Print data for scripts on stdout
    #[arg(long, global = true)]
    pub json: bool,

    /// Which API is asked
    #[command(flatten)]
    pub api: ApiWords,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Bake, test, release, roll out, wait, and read back
    #[command(after_help = examples::UP)]
    Up(UpArguments),
    /// Bake the base anew from fresh packages, move every image onto it, and test them
    #[command(after_help = examples::PATCH)]
    Patch(PatchArguments),
    /// Bake an image again from its recorded inputs and compare
    #[command(after_help = "Example:\n  hornero reproduce site@17")]
    Reproduce {
        /// Name, release, digest, or the beginning of a digest
        image: String,
    },
    /// Show what `up` would do, in which order and why, and what guards say
    #[command(after_help = examples::PLAN)]
    Plan(PlanArguments),
    /// Show what runs
    Status,
    /// Show what services, releases and instances use and answer, live or over time
    #[command(after_help = examples::TOP)]
    Top(TopArguments),
    /// List what runs where, from which image with which packages, since when and whose, for other tools
    #[command(after_help = examples::INVENTORY)]
    Inventory {
        /// The format; `--json` is the first
        #[arg(long, value_enum, default_value = "json")]
        format: InventoryFormat,
    },
    /// Show a service's releases, newest first
    History {
        /// The service
        service: ServiceName,
    },
    /// Go back to a proven release, through the same path as `up`
    #[command(after_help = "Example:\n  hornero rollback site --to 16 --reason 'checkout broken'")]
    Rollback {
        /// The service
        service: ServiceName,
        /// The release to go back to; the last proven one before the present by default
        #[arg(long, value_parser = values::release_number, value_name = "N")]
        to: Option<ReleaseNumber>,
        /// Whose word counts for nothing
        #[command(flatten)]
        guards: OverriddenGuards,
        /// Why, for the record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Replace servers by new ones of the same release, one after the other, without losing a request
    #[command(after_help = examples::RECYCLE)]
    Recycle {
        /// The service, or one instance of it
        #[arg(value_name = "SERVICE|INSTANCE")]
        object: String,
        /// Why, for the record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// See that a service could go back: a server of the release before is started beside what serves, and removed again
    #[command(after_help = "\
Example:
  hornero rehearse site

It gets no requests; it has to become healthy as its release says, and the tests of its image have to pass. How long it
took stands in `hornero status` as the proof; what serves is as before, whatever comes of it.")]
    Rehearse {
        /// The service
        service: ServiceName,
        /// Why, for the record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Run a command once, in a server of its own
    #[command(after_help = examples::RUN)]
    Run(RunArguments),
    /// List jobs, and run one now
    #[command(subcommand)]
    Job(JobCommand),
    /// List what is done by itself when a time comes round
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// List and remove previews, which `up --preview` shows beside what serves
    #[command(subcommand)]
    Preview(PreviewCommand),
    /// End a rollout under way: back to what served before, and the new servers taken down
    #[command(after_help = examples::CANCEL)]
    Cancel {
        /// The service, or the run of a command
        #[arg(value_name = "SERVICE|RUN")]
        object: Option<String>,
        /// Why, for the record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Show how many servers were made and removed, why, by whom asked, and what they took
    #[command(after_help = examples::CHURN)]
    Churn {
        /// Only this service
        service: Option<ServiceName>,
        /// From this time on: RFC 3339, or a span such as `7d`; the last 24 hours by default
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Let servers be made and removed again after a limit of churn was reached
    #[command(after_help = examples::RESUME)]
    Resume {
        /// The service; everything that was stopped by default
        service: Option<ServiceName>,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
    /// Pause, resume, promote or abort a rollout under way
    #[command(
        subcommand,
        after_help = examples::ROLLOUT
    )]
    Rollout(RolloutCommand),
    /// Show the signed receipts of switches, newest first
    #[command(visible_alias = "receipts")]
    Receipt {
        /// One receipt, by number
        #[arg(value_parser = values::rollout_id)]
        id: Option<RolloutId>,
        /// Only those of this service
        #[arg(long)]
        service: Option<ServiceName>,
        /// Wait for the end of a rollout that is under way; exits with 4 where the new release was taken back
        #[arg(long, requires = "id")]
        wait: bool,
    },
    /// Bake images
    #[command(after_help = "Example:\n  hornero build . site --explain")]
    Build {
        /// What to work on
        #[command(flatten)]
        source: Source,
        /// Only this image and those below it
        image: Option<String>,
        /// Say of each step why it ran or not
        #[arg(long)]
        explain: bool,
        /// Look at what is cached file by file, and bake anew what is damaged
        #[arg(long)]
        verify: bool,
        /// Bake a second time without the cache, and name every file that differs
        #[arg(long)]
        twice: bool,
    },
    /// Write `hornero.lock`: every package by version, size and SHA-256
    #[command(after_help = examples::LOCK)]
    Lock {
        /// What to work on
        #[command(flatten)]
        source: Source,
        /// Resolve every package afresh
        #[arg(long)]
        update: bool,
    },
    /// Look into the image store
    Image {
        /// What to look at
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Compare running servers, or a directory, with the image they should equal
    #[command(after_help = examples::VERIFY)]
    Verify {
        /// Only this service
        #[arg(conflicts_with = "tree")]
        service: Option<ServiceName>,
        /// Read and hash every content, and compare the whole root
        #[arg(long)]
        full: bool,
        /// Compare this directory, file by file
        #[arg(long, value_name = "PATH", requires = "image")]
        tree: Option<PathBuf>,
        /// With this image: name, release, digest, or the beginning of a digest
        #[arg(long, requires = "tree")]
        image: Option<String>,
        /// Leave this path of the directory out, with all below it
        #[arg(long, value_name = "PATH", requires = "tree")]
        ignore: Vec<PathBuf>,
    },
    /// Find what servers hold that would be lost with them, and say what to declare
    #[command(after_help = examples::STATE_LINT)]
    StateLint(StateLintArguments),
    /// Show logs of a service or an instance, also of those long gone
    #[command(after_help = examples::LOGS)]
    Logs(LogsArguments),
    /// Say why a server failed: the likely cause in one line, what speaks for it, and what tells it from others
    #[command(after_help = examples::AUTOPSY)]
    Autopsy {
        /// The server, or the file of a bundle; the newest bundle by default
        #[arg(value_name = "INSTANCE|BUNDLE")]
        object: Option<String>,
    },
    /// Replace a server and keep it as it is, out of traffic and standing still, so that it can be looked at
    #[command(after_help = examples::QUARANTINE)]
    Quarantine(QuarantineArguments),
    /// Run a command in a server, or a shell, for a time and recorded; the server is replaced afterwards
    #[command(after_help = examples::BREAK_GLASS)]
    BreakGlass(GlassArguments),
    /// List and export what is kept of servers that failed
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Show the ledger: everything that happened
    Audit {
        /// Check instead that nothing was touched
        #[command(subcommand)]
        command: Option<AuditCommand>,
        /// Only events from this sequence number
        #[arg(long, default_value_t = 1)]
        from: u64,
    },
    /// Stop and remove what a directory declares, or everything
    #[command(after_help = examples::DOWN)]
    Down {
        /// The directory with `hornero.hcl`; this one by default; with `--force`, a service
        dir: Option<PathBuf>,
        /// Everything in this home, whatever this directory declares
        #[arg(long, conflicts_with_all = ["dir", "force"])]
        all: bool,
        /// Taken, and not needed: services have their names whatever variables say
        #[arg(long = "var", value_name = "NAME=VALUE", value_parser = values::variable, hide = true)]
        variables: Vec<(String, String)>,
        /// End a service at once, whatever it waits for; without a name, end everything in this home without its ledger,
        /// for when that can't be read, and record nothing
        #[arg(long, conflicts_with = "variables")]
        force: bool,
        /// Whose word counts for nothing
        #[command(flatten)]
        guards: OverriddenGuards,
        /// Why, for the record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Write a first `hornero.hcl` from what a directory holds
    #[command(after_help = examples::INIT)]
    Init(InitArguments),
    /// Check `hornero.hcl`, and name every mistake in it
    #[command(after_help = "Example:\n  hornero validate examples/site")]
    Validate(Source),
    /// Put `hornero.hcl` into its canonical form
    #[command(after_help = examples::FMT)]
    Fmt(FormatArguments),
    /// Print what editors need to know `hornero.hcl`
    Editor {
        /// Which file
        file: EditorFile,
    },
    /// Say what this host can and can't do for Hornero, what that costs, and the line to run
    #[command(
        after_help = "Exit code 1 means that something is missing without which no server runs."
    )]
    Doctor,
    /// Keep values that servers get and nobody else
    #[command(subcommand)]
    Secret(SecretCommand),
    /// List volumes, copy them, put them back, and remove them
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Ask what keeps servers with data from being taken away
    #[command(subcommand)]
    Guard(GuardCommand),
    /// Back up, restore, move or check the home
    #[command(subcommand)]
    Home(HomeCommand),
    /// Write a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Manual(ManualArguments),
    /// Have control and edge run this program, while servers and traffic go on
    #[command(after_help = examples::UPGRADE)]
    Upgrade(UpgradeArguments),
    /// Show what holds for all services of the home, and whether control runs with it
    #[command(after_help = examples::SETTINGS)]
    Settings,
    /// Show what needs somebody's attention, and print rules for Prometheus
    #[command(subcommand)]
    Alerts(AlertsCommand),
    /// Make a link by which a browser sees this home: a dashboard of what runs
    #[command(after_help = examples::DASHBOARD)]
    Dashboard(DashboardArguments),
    /// Make tokens for the API over TCP
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print the API's OpenAPI document
    Openapi,
    /// Run the control process (started by `up`)
    Serve {
        /// What stays of the logs of servers that are gone
        #[command(flatten)]
        logs: LogBounds,
        /// How it logs
        #[command(flatten)]
        log: LogWords,
        /// How it takes the place of another
        #[command(flatten)]
        succeeding: Succeeding,
        /// Who gets the ledger's heads
        #[command(flatten)]
        witness: WitnessWords,
        /// Fault hook for tests: kill this process at its Nth journal write
        #[arg(long, hide = true, env = "HORNERO_CRASH_AT_APPEND")]
        crash_at_append: Option<u64>,
    },
    /// Run the edge (started by the control process)
    Edge {
        /// How it logs
        #[command(flatten)]
        log: LogWords,
        /// How long an edge before this one may serve what it has open
        #[arg(long, hide = true, value_parser = humantime::parse_duration)]
        handover_timeout: Option<std::time::Duration>,
    },
    /// Run the launcher of instances (started by the control process)
    Shim,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
