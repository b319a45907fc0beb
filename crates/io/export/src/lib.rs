//! Images out as file systems and disks: tar, EROFS, squashfs, Incus images, raw and qcow2 disks that boot.
//!
//! [`export`] is the way in. Whatever it writes depends on the image, the format, the options and the version of Hornero
//! only, byte for byte. No program is called. The file appears under its name when it is whole, never before.

#![cfg_attr(
    test,
    allow(
        clippy::duplicate_mod,
        reason = "the init's configuration is part of this crate and of the init"
    )
)]

mod additions;
mod contents;
mod disk;
mod erofs;
mod error;
mod incus;
mod launch;
mod ordered;
mod output;
mod progress;
mod squashfs;
mod tar;
mod work;

#[path = "../init/config.rs"]
mod init_config;

#[cfg(test)]
#[allow(
    dead_code,
    reason = "a program of its own; what can be tested without a machine is tested here"
)]
#[path = "../init/main.rs"]
mod init;

use std::path::Path;

use hornero_model::Digest;
use hornero_store::Store;

pub use error::ExportError;
pub use progress::{ExportEvent, ExportProgress, Silent};
pub use work::ExportOptions;

use output::Output;
use work::ExportWork;

/// What an image becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A tar archive (POSIX.1-2001) of the whole tree.
    Tar,
    /// A plain, uncompressed EROFS image.
    Erofs,
    /// A squashfs image, compressed with zstd.
    Squashfs,
    /// A unified Incus image (`.tar.gz`): `incus image import FILE`.
    Incus,
    /// A disk that boots by UEFI.
    Raw,
    /// The same disk as a qcow2 file, which has the size of what is in it.
    Qcow2,
}

impl Format {
    /// Every format, in the order people see them.
    pub const ALL: [Self; 6] =
        [Self::Tar, Self::Erofs, Self::Squashfs, Self::Incus, Self::Raw, Self::Qcow2];

    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
            Self::Incus => "incus",
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Size of the file in bytes; a raw disk has holes and takes less.
    pub bytes: u64,
    /// Paths that were put into the exported root beside the image's own, sorted.
    pub added: Vec<String>,
    /// What the format cannot hold and was left out, for people.
    pub left_out: Vec<String>,
}

/// Writes `image` to the file `out`; checks before that every content is what its digest says.
///
/// After `kill -9` there is no file of that name, or the whole one (or the one before, when it is overwritten). It is
/// not forced to disk: after a power loss, export again.
///
/// # Errors
/// [`ExportError::Exists`] when `out` is there and may not be replaced; [`ExportError::Needs`] when the image lacks what
/// the format takes, such as a kernel; [`ExportError::Store`] when the image is damaged.
pub fn export(
    store: &Store,
    image: &Digest,
    format: Format,
    out: &Path,
    options: &ExportOptions,
    progress: &dyn ExportProgress,
) -> Result<Exported, ExportError> {
    launch::check_host_name(&options.host_name)?;
    // Held until the end: nothing that is read is deleted meanwhile.
    let _lease = store.lease()?;
    let output = Output::create(out, options.overwrite)?;
    store.verify_image(image)?;
    let config = store.image(image)?.config;
    let tree = store.tree(image)?;
    let work = ExportWork { store, image, config: &config, tree: &tree, options, progress };
    let written = match format {
        Format::Tar => tar::export(&work, &output),
        Format::Erofs => erofs::export(&work, &output),
        Format::Squashfs => squashfs::export(&work, &output),
        Format::Incus => incus::export(&work, &output),
        Format::Raw => disk::export(&work, disk::Container::Raw, &output),
        Format::Qcow2 => disk::export(&work, disk::Container::Qcow2, &output),
    }?;
    let bytes = output.finish()?;
    Ok(Exported { bytes, added: written.added, left_out: written.left_out })
}
