//! `hornero volume`: what can be typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hornero_model::VolumeName;

use super::values;

/// What to do with volumes.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// List volumes: how large they are, who has them, and what protects them
    Ls,
    /// Show everything about a volume, its snapshots among it
    Inspect {
        /// Its name
        name: VolumeName,
    },
    /// Take a snapshot of a volume
    #[command(after_help = "\
Where the file system of the home has reflinks (btrfs, XFS) it takes a moment and no room, also while
a server has the volume. Elsewhere it is a copy of what was written, and wants the volume for itself.")]
    Snapshot(NamedVolume),
    /// Make another volume of a volume, or of a snapshot of it
    Clone {
        #[command(flatten)]
        named: NamedVolume,
        /// The name of the other one
        to: VolumeName,
        /// The number of a snapshot; otherwise what the volume has now
        #[arg(long)]
        snapshot: Option<u64>,
    },
    /// Put a snapshot in the place of what a volume has, which becomes a snapshot itself
    Restore {
        #[command(flatten)]
        named: NamedVolume,
        /// The number of the snapshot
        snapshot: u64,
    },
    /// Make a volume larger
    Grow {
        #[command(flatten)]
        named: NamedVolume,
        /// How large, such as `20GiB`
        #[arg(value_parser = values::size)]
        size: u64,
    },
    /// Remove a volume with its snapshots: what it holds is lost
    #[command(after_help = "\
Refused (exit code 3) while a service mounts it, and as long as its `prevent_destroy` is true.")]
    Rm(NamedVolume),
    /// Make a volume of a directory of this host, which is copied and stays as it is
    #[command(after_help = "\
Example:
  hornero volume adopt orders /var/lib/postgresql --size 20GiB

Stop what writes to the directory first. Owners are taken over by number: they are the image's.")]
    Adopt {
        #[command(flatten)]
        named: NamedVolume,
        /// The directory
        path: PathBuf,
        /// How large the volume is to be
        #[arg(long, value_parser = values::size)]
        size: u64,
    },
}

/// A volume that something is done with.
#[derive(Debug, Args)]
pub struct NamedVolume {
    /// Its name
    pub name: VolumeName,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
}
