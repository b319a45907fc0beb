//! Why something can't be done with a secret; no text of these ever holds a value.

use std::{io, path::PathBuf};

use hornero_model::{SecretLabel, SecretVersion};

use crate::VALUE_BYTES_MAX;

/// Why something can't be done with a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It was never set, or was removed.
    #[error("no secret `{name}` in this home")]
    Unknown {
        /// Its name.
        name: SecretLabel,
    },
    /// That value of it is not there.
    #[error("version `{version}` of secret `{name}` is not in this home")]
    Gone {
        /// Its name.
        name: SecretLabel,
        /// The version.
        version: SecretVersion,
    },
    /// An empty value, or one that is too large.
    #[error("a secret has 1 to {VALUE_BYTES_MAX} bytes, not {bytes}")]
    Size {
        /// How many it has; one more than allowed stands for all that are more.
        bytes: usize,
    },
    /// Without it nothing can be encrypted or decrypted.
    #[error("`{}`, the key of this home's secrets, is missing", path.display())]
    KeyMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Others than its owner may read it, or it is not a file of root or of the caller.
    #[error("`{}`, the key of this home's secrets, {reason}", path.display())]
    KeyExposed {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is no key.
    #[error("`{}` holds no age identity (a line that begins with `AGE-SECRET-KEY-1`)", path.display())]
    KeyInvalid {
        /// Where it is.
        path: PathBuf,
    },
    /// It was encrypted for another key, or is damaged.
    #[error("`{}` can't be decrypted: {reason}", path.display())]
    Sealed {
        /// Where it is.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system's answer.
    #[error("{what} `{}`", path.display())]
    Io {
        /// What was done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

impl SecretError {
    /// What to do about it, for people.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { name } | Self::Gone { name, .. } => {
                Some(format!("`hornero secret set {name} < FILE` sets it"))
            }
            Self::KeyMissing { .. } => Some(
                "bring it back from where it is kept; without it, remove and set every secret anew"
                    .to_owned(),
            ),
            Self::KeyExposed { .. } => {
                Some("it has to be a file of root that nobody else may read (mode 600)".to_owned())
            }
            Self::Sealed { .. } => Some(
                "is it encrypted for another key? Set the secret anew, or bring back that key"
                    .to_owned(),
            ),
            Self::Size { .. } | Self::KeyInvalid { .. } | Self::Io { .. } => None,
        }
    }
}
