//! What can go wrong in an export, and what a person can do about it.

use std::{io, path::PathBuf};

use hornero_store::StoreError;

/// Why an image was not exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The image is not there, or damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is something under the name already.
    #[error("`{}` is there already", .0.display())]
    Exists(PathBuf),
    /// What is under the name is no file.
    #[error("`{}` is no regular file", .0.display())]
    NoFile(PathBuf),
    /// The kernel refused a file operation.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, such as `write`.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The host name breaks a rule.
    #[error("`{0}` is no host name of 1 to 63 letters, digits and `-`")]
    HostName(String),
    /// A word for the kernel's command line breaks a rule.
    #[error(
        "`{0}` is no word of a kernel's command line: it is empty or has a space or a control character"
    )]
    KernelArgument(String),
    /// The image lacks what the format takes.
    #[error("the image has no {what}, which {why}")]
    Needs {
        /// What is missing.
        what: String,
        /// What it is for.
        why: &'static str,
        /// What brings it.
        remedy: String,
    },
    /// Something of the image cannot be used.
    #[error("`{path}` of the image cannot be used: {reason}")]
    Unusable {
        /// The path inside the image.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The image is more than the format can hold.
    #[error("the image does not fit: {0}")]
    TooLarge(String),
}

impl ExportError {
    /// What a person can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Exists(_) => Some("choose another name, or allow it to be overwritten".into()),
            Self::NoFile(_) => Some("name a file to write to".into()),
            Self::Needs { remedy, .. } => Some(remedy.clone()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some disk space, then run the same command again".into())
            }
            _ => None,
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }
}
