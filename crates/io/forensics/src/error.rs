//! Why a bundle can't be read.

use std::{io, path::PathBuf};

/// Why a bundle can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file can't be read.
    #[error("read `{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is something else.
    #[error("`{path}` is no bundle: {reason}")]
    NoBundle {
        /// Which.
        path: PathBuf,
        /// What is not as it is in bundles.
        reason: String,
    },
    /// It is not what was sealed.
    #[error("`{path}` is not what was sealed: its digest is another one")]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// A later version made it.
    #[error(
        "`{path}` was made by a later version of Hornero: its schema is {schema}, this one reads {known}"
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its schema.
        schema: u64,
        /// Ours.
        known: u32,
    },
}
