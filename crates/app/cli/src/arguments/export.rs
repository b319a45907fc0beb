//! What `image export` takes.

use std::path::PathBuf;

use clap::ValueEnum;

use super::packing::Packing;

/// What an image can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// An OCI layout directory, for Docker, Podman and skopeo
    Oci,
    /// A tar archive of the root
    Tar,
    /// A plain EROFS file system
    Erofs,
    /// A squashfs file system
    Squashfs,
    /// An Incus image
    Incus,
    /// A bootable disk
    Raw,
    /// A bootable disk as qcow2
    Qcow2,
}

/// What the layers of an OCI layout are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportLayers {
    /// Many, that every runtime and Hornero itself read
    Tar,
    /// One, a plain EROFS file system, for containerd from 2.3 with its erofs snapshotter
    Erofs,
}

/// How an export is written.
#[derive(Debug, clap::Args)]
pub struct ExportWords {
    /// Name, release, digest, or the beginning of a digest
    pub image: String,
    /// What to write
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// The file, or for `oci` the directory
    pub out: PathBuf,
    /// The name in an OCI layout's index; the image's own by default
    #[arg(long)]
    pub name: Option<String>,
    /// What the layers of an OCI layout are
    #[arg(long, value_enum, default_value = "tar")]
    pub layers: ExportLayers,
    /// How tar layers of an OCI layout are compressed; gzip by default
    #[arg(long, value_enum)]
    pub compression: Option<Packing>,
    /// Replace a file that is there already
    #[arg(long)]
    pub force: bool,
    /// A word more on a disk's kernel command line
    #[arg(long, value_name = "WORD")]
    pub kernel_argument: Vec<String>,
}
