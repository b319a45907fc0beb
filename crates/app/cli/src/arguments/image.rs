//! What `image` takes.

use clap::{Subcommand, ValueEnum};
use hornero_model::ImageName;
use hornero_oci::Reference;

use super::{export::ExportWords, logs::LogBounds, packing::Packing, values::size};

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
    Export(ExportWords),
    /// Take in what Docker, Podman, debootstrap or tar made, and vouch for it
    #[command(after_help = "\
Examples:
  hornero image import ./rootfs.tar.xz --name legacy
  hornero image import saved.tar --image app:1
  hornero image import ./oci-layout")]
    Import(ImportWords),
    /// Push an image to a registry; Docker and Podman run it from there
    Push {
        /// Name, release, digest, or the beginning of a digest
        image: String,
        /// Where to, such as `registry.example:5000/team/site:17`
        reference: Reference,
        /// How layers are compressed
        #[arg(long, value_enum, default_value = "gzip")]
        compression: Packing,
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
        /// Most that its contents may take, such as `100GiB`, instead of 64GiB; then of repeated bytes as well
        #[arg(long, value_name = "SIZE", value_parser = size)]
        max_size: Option<u64>,
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
        format: BillFormat,
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

/// What is taken in.
#[derive(Debug, clap::Args)]
pub struct ImportWords {
    /// An OCI layout, an archive of `docker save`, a tar archive or directory of a root, or a registry reference
    pub from: String,
    /// Its name here; made of the source's by default
    #[arg(long)]
    pub name: Option<ImageName>,
    /// Which image of a layout or archive that has several, by its name there
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// Most that its contents may take, such as `100GiB`, instead of 64GiB; then of repeated bytes as well
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<u64>,
    /// Reach a registry without encryption
    #[arg(long)]
    pub plain_http: bool,
}

/// The formats that a bill of materials can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BillFormat {
    /// SPDX 2.3 as JSON.
    Spdx,
    /// `CycloneDX` 1.6 as JSON.
    Cyclonedx,
}
