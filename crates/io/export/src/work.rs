//! What every format works with, and says of what it wrote.

use hornero_model::{Digest, ImageConfig};
use hornero_store::{Store, Tree};

use crate::ExportProgress;

/// How an image is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// Whether a regular file that is there already is replaced.
    pub overwrite: bool,
    /// Host name of a disk, and name of an Incus image: 1 to 63 letters, digits and `-`.
    pub host_name: String,
    /// Words added to the kernel's command line of a disk, such as `hornero.ip=10.0.0.5/24`.
    pub kernel_arguments: Vec<String>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { overwrite: false, host_name: "hornero".into(), kernel_arguments: Vec::new() }
    }
}

/// Everything an export works with.
pub(crate) struct ExportWork<'a> {
    /// Where the image is.
    pub store: &'a Store,
    /// The image.
    pub image: &'a Digest,
    /// Its configuration.
    pub config: &'a ImageConfig,
    /// Its tree.
    pub tree: &'a Tree,
    /// How it is written.
    pub options: &'a ExportOptions,
    /// Is told how far it is.
    pub progress: &'a dyn ExportProgress,
}

/// What a format did beside writing.
#[derive(Debug, Default)]
pub(crate) struct FormatNotes {
    /// Paths that were put into the exported root, sorted.
    pub added: Vec<String>,
    /// What the format cannot hold, for people.
    pub left_out: Vec<String>,
}
