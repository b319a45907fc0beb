//! Why a comparison could not be made at all; what differs is no error but a finding.

use std::{io, path::PathBuf};

use hornero_store::StoreError;

/// The result of a verification.
pub type Result<T, E = VerifyError> = std::result::Result<T, E>;

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The image itself can't be read.
    #[error("cannot read the image to compare with")]
    Store(#[from] StoreError),
    /// A file of the kernel or the top of a tree can't be read.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The instance's command has ended.
    #[error("process `{pid}` no longer runs")]
    NotRunning {
        /// Its process id on the host.
        pid: u32,
    },
    /// The process is in the verifier's own mount namespace: it was not started as an instance.
    #[error("process `{pid}` shares this process' mounts, so it is no instance")]
    NoInstance {
        /// Its process id on the host.
        pid: u32,
    },
    /// The tree is too large.
    #[error("`{}` has more than {limit} files", path.display())]
    TooLarge {
        /// Its top.
        path: PathBuf,
        /// How many are looked at.
        limit: usize,
    },
}

impl VerifyError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }
}
