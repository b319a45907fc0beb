//! The command line: what can be typed, its help texts and examples.

mod authoring;
mod home;
mod logs;
mod upgrade;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use hornero_model::{ImageName, ReleaseNumber, RolloutId, ServiceName};

use hornero_oci::Reference;

use crate::{
    command::{editor, export, manual, sbom, transport},
    process_log::LogWords,
};

pub use authoring::{FormatArguments, InitArguments};
pub use home::{BackupImages, HomeCommand};
pub use logs::LogBounds;
pub use upgrade::{Succeeding, UpgradeArguments};

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
  4 rolled back   5 no such object   6 the control process can't be reached")]
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

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bake, test, release, roll out, wait, and read back
    #[command(after_help = "Example:\n  hornero up examples/site --reason 'new front page'")]
    Up {
        /// What to work on
        #[command(flatten)]
        source: Source,
        /// Why, for the record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
        /// Put images on this base, such as the one before a patch: name, digest, or the beginning of a digest
        #[arg(long, value_name = "IMAGE")]
        base: Option<String>,
    },
    /// Bake the base anew from fresh packages, move every image onto it, and test them
    #[command(after_help = "\
Examples:
  hornero patch examples/fleet --dry-run     which packages would change
  hornero patch examples/fleet --deploy      and roll the patched images out

An image moves without being baked where it is proven to hold on the new base; else it is baked on
it, and the reasons are told. The old base, images and packages stay: `hornero up --base IMAGE` and
`hornero rollback` go back.")]
    Patch {
        /// What to work on
        #[command(flatten)]
        source: Source,
        /// Roll the patched images out
        #[arg(long, conflicts_with = "dry_run")]
        deploy: bool,
        /// Only show which packages would change
        #[arg(long)]
        dry_run: bool,
        /// Why, for the record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Bake an image again from its recorded inputs and compare
    #[command(after_help = "Example:\n  hornero reproduce site@17")]
    Reproduce {
        /// Name, release, digest, or the beginning of a digest
        image: String,
    },
    /// Show what `up` would do, and why
    Plan {
        /// What to work on
        #[command(flatten)]
        source: Source,
    },
    /// Show what runs
    Status,
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
        #[arg(long, value_parser = release_number, value_name = "N")]
        to: Option<ReleaseNumber>,
        /// Why, for the record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Show the signed receipts of switches, newest first
    Receipt {
        /// One receipt, by number
        #[arg(value_parser = rollout_id)]
        id: Option<RolloutId>,
        /// Only those of this service
        #[arg(long)]
        service: Option<ServiceName>,
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
    },
    /// Write `hornero.lock`: every package by version, size and SHA-256
    #[command(after_help = "\
Examples:
  hornero lock examples/site
  hornero lock examples/site --update     what `patch` would lock; nothing is baked yet")]
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
    #[command(after_help = "\
Examples:
  hornero verify                                  every running server, by metadata first
  hornero verify site --full                      read and hash everything
  hornero verify --tree /mnt/root --image site@17 --ignore var/lib/data

Without `--full`, a file of a directory that was changed without changing its size, and whose time
was put back, is not seen. Exit code 1 means that something differs.")]
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
    /// Show logs of a service or an instance, also of those long gone
    #[command(after_help = "Example:\n  hornero logs site --since 10m --follow")]
    Logs {
        /// Service or instance
        object: String,
        /// Only lines after this time (RFC 3339) or this long ago (such as `10m`)
        #[arg(long)]
        since: Option<String>,
        /// Go on as lines are written
        #[arg(short, long)]
        follow: bool,
    },
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
    #[command(after_help = "\
Examples:
  hornero down examples/site     what it declares
  hornero down                   everything in this home
  hornero down --force site      one service, before everything else that waits")]
    Down {
        /// The directory with `hornero.hcl`; without one, everything in this home; with `--force`, a service
        dir: Option<PathBuf>,
        /// Set a variable of `hornero.hcl`
        #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable, requires = "dir")]
        variables: Vec<(String, String)>,
        /// End a service at once, whatever it waits for; without a name, end everything in this home without its ledger,
        /// for when that can't be read, and record nothing
        #[arg(long, conflicts_with = "variables")]
        force: bool,
        /// Why, for the record
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Write a first `hornero.hcl` from what a directory holds
    #[command(after_help = "\
Examples:
  hornero init                           pages, a Python, Node, Go or Rust program, a Dockerfile, a compose file:
                                         whatever is here; a page to start with where nothing is
  hornero init --from compose.yaml       each of its services
  hornero init --from ./server           one program

What can't be mapped is named. Nothing that is there is written over.")]
    Init(InitArguments),
    /// Check `hornero.hcl`, and name every mistake in it
    #[command(after_help = "Example:\n  hornero validate examples/site")]
    Validate(Source),
    /// Put `hornero.hcl` into its canonical form
    #[command(after_help = "\
Examples:
  hornero fmt                  the `hornero.hcl` of this directory
  hornero fmt --check site/    for a pre-commit hook or CI: exit code 1 where something would change")]
    Fmt(FormatArguments),
    /// Print what editors need to know `hornero.hcl`
    Editor {
        /// Which file
        file: editor::EditorFile,
    },
    /// Say what this host can and can't do for Hornero, what that costs, and the line to run
    #[command(
        after_help = "Exit code 1 means that something is missing without which no server runs."
    )]
    Doctor,
    /// Back up, restore, move or check the home
    #[command(subcommand)]
    Home(HomeCommand),
    /// Write a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Manual(manual::ManualArguments),
    /// Have control and edge run this program, while servers and traffic go on
    #[command(after_help = "\
Examples:
  /opt/hornero-0.3/bin/hornero upgrade     this program becomes the one that serves
  hornero upgrade --json                   after `dpkg -i`, as the package does itself

Servers are not touched. The edge hands over its listeners; what is open at the old one goes on there.
Exit code 4: this program did not start, and the one from before serves again.")]
    Upgrade(UpgradeArguments),
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

/// A directory with `hornero.hcl` and how to read it.
#[derive(Debug, Args)]
pub struct Source {
    /// The directory with `hornero.hcl`
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Set a variable of `hornero.hcl`
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// Fail where `hornero.lock` would have to change
    #[arg(long)]
    pub locked: bool,
}

/// What to look at in the store.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List images
    Ls,
    /// Show one image
    Inspect {
        /// Name, release, digest, or the beginning of a digest
        image: String,
    },
    /// Hash every byte of an image and compare
    Verify {
        /// Name, release, digest, or the beginning of a digest
        image: String,
    },
    /// Move an image onto another base without baking it, where it is proven to hold there
    #[command(after_help = "Example:\n  hornero image rebase site --base 4f1c9a02")]
    Rebase {
        /// Name, release, digest, or the beginning of a digest
        image: String,
        /// The new base
        #[arg(long, value_name = "IMAGE")]
        base: String,
        /// Also where the proof refuses; the reasons are recorded
        #[arg(long)]
        force: bool,
    },
    /// Write an image as a file, a disk or an OCI layout
    #[command(after_help = "\
Examples:
  hornero image export site --format oci ./site-oci
  hornero image export site --format oci --layers erofs --name site-erofs ./site-oci
  hornero image export appliance --format qcow2 appliance.qcow2")]
    Export(export::ExportWords),
    /// Take in what Docker, Podman, debootstrap or tar made, and vouch for it
    #[command(after_help = "\
Examples:
  hornero image import ./rootfs.tar.xz --name legacy
  hornero image import saved.tar --image app:1
  hornero image import ./oci-layout")]
    Import(transport::ImportWords),
    /// Push an image to a registry; Docker and Podman run it from there
    Push {
        /// Name, release, digest, or the beginning of a digest
        image: String,
        /// Where to, such as `registry.example:5000/team/site:17`
        reference: Reference,
        /// How layers are compressed
        #[arg(long, value_enum, default_value = "gzip")]
        compression: transport::Packing,
        /// Reach the registry without encryption
        #[arg(long)]
        plain_http: bool,
    },
    /// Pull an image that Hornero pushed; only contents that are missing move
    Pull {
        /// Where from, such as `registry.example:5000/team/site:17`
        reference: Reference,
        /// Its name here; made of the repository's by default
        #[arg(long)]
        name: Option<ImageName>,
        /// Reach the registry without encryption
        #[arg(long)]
        plain_http: bool,
    },
    /// Show what images take on disk: in all, shared, and each alone
    Du,
    /// Delete images that nothing keeps
    #[command(after_help = "\
Examples:
  hornero image gc --dry-run
  hornero image gc --keep-releases 3 --ceiling 20GiB

Nothing goes that runs, serves, is kept warm, is in flight, that a rollback needs, that is pinned, or
that a name leads to. Of the other releases, each service's `keep_releases` newest proven ones and
those made within `keep_days` stay.")]
    Gc {
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
        /// Proven releases to keep of every service, instead of its `keep_releases`
        #[arg(long, value_name = "N")]
        keep_releases: Option<u32>,
        /// Days for which releases are kept, instead of `keep_days`
        #[arg(long, value_name = "N")]
        keep_days: Option<u32>,
        /// What kept images may take together, such as `20GiB`; those kept by rule go for it, the oldest first
        #[arg(long, value_name = "SIZE", value_parser = size)]
        ceiling: Option<u64>,
        /// How long to wait for bakes, rollouts and commands that read to end
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
        wait: std::time::Duration,
        /// What stays of the logs of servers that are gone
        #[command(flatten)]
        logs: LogBounds,
    },
    /// Say why an image is kept
    #[command(after_help = "Example:\n  hornero image why-kept site@12")]
    WhyKept {
        /// Name, release, digest, or the beginning of a digest
        image: String,
    },
    /// Keep an image until it is unpinned
    Pin {
        /// Name, release, digest, or the beginning of a digest
        image: String,
    },
    /// Take a pin away
    Unpin {
        /// Name, release, digest, or the beginning of a digest
        image: String,
    },
    /// Take an image's name away, here and in the home, so that the name keeps it no longer
    Untag {
        /// The name
        name: String,
    },
    /// Hash everything in the store, name what is damaged, and mend what can be mended
    Fsck {
        /// Also mend from this image in a registry
        #[arg(long, value_name = "REF")]
        from: Option<String>,
        /// Reach the registry without encryption
        #[arg(long, requires = "from")]
        plain_http: bool,
    },
    /// Write the bill of materials: which package or source every file belongs to
    #[command(after_help = "Example:\n  hornero image sbom site --format spdx >site.spdx.json")]
    Sbom {
        /// Name, release, digest, or the beginning of a digest
        image: String,
        /// The format
        #[arg(long, value_enum)]
        format: sbom::Format,
    },
    /// Show what two images have differently: packages, files, configuration
    #[command(after_help = "Example:\n  hornero image diff site@16 site@17")]
    Diff {
        /// The older one: name, release, digest, or the beginning of a digest
        old: String,
        /// The newer one
        new: String,
    },
}

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that no event was touched; names the first that was
    Verify {
        /// A receipt (`hornero receipt ID --json`) or a copy of `ledger.head` that was kept elsewhere: the ledger must
        /// hold it still
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },
}

/// Bytes of a size such as `20GiB`.
fn size(text: &str) -> Result<u64, String> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let decimal = ["B", "KB", "MB", "GB", "TB"];
    let factor = units.iter().position(|one| *one == unit).map(|power| 1024_u64.pow(power as u32));
    let factor = factor.or_else(|| {
        decimal.iter().position(|one| *one == unit).map(|power| 1000_u64.pow(power as u32))
    });
    let bytes = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    bytes.ok_or_else(|| "expected a whole number with a unit, such as `20GiB`".to_owned())
}

fn release_number(text: &str) -> Result<ReleaseNumber, String> {
    let digits = text.rsplit_once('@').map_or(text, |(_, number)| number);
    digits
        .parse()
        .map(ReleaseNumber)
        .map_err(|_| "expected a release number such as `16`".to_owned())
}

fn rollout_id(text: &str) -> Result<RolloutId, String> {
    text.parse().map(RolloutId).map_err(|_| "expected a receipt number such as `3`".to_owned())
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected `NAME=VALUE`")?;
    Ok((name.to_owned(), value.to_owned()))
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
