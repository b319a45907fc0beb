//! Why something could not be done with a volume.

use std::{error::Error, io};

use hornero_model::{LeaseToken, VolumeName};

use crate::number::SnapshotNumber;

/// Why something could not be done with a volume. Whatever it is, the data is as it was.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// No such volume.
    #[error("there is no volume `{volume}`")]
    Missing {
        /// The volume.
        volume: VolumeName,
    },
    /// One of that name is there.
    #[error("there is a volume `{volume}` already")]
    Exists {
        /// The volume.
        volume: VolumeName,
    },
    /// No such snapshot.
    #[error("volume `{volume}` has no snapshot {snapshot}")]
    NoSnapshot {
        /// The volume.
        volume: VolumeName,
        /// The snapshot.
        snapshot: SnapshotNumber,
    },
    /// A mount of it, or somebody at work on it, has it.
    #[error("volume `{volume}` is still attached")]
    Held {
        /// The volume.
        volume: VolumeName,
    },
    /// A newer lease was given since.
    #[error("lease {given} of volume `{volume}` is over: lease {newest} was given since")]
    LeaseOver {
        /// The volume.
        volume: VolumeName,
        /// The lease of whoever asked.
        given: LeaseToken,
        /// The newest.
        newest: LeaseToken,
    },
    /// Its file system has errors that nobody should start a server on.
    #[error("volume `{volume}` is damaged: {found}")]
    Damaged {
        /// The volume.
        volume: VolumeName,
        /// What was found.
        found: String,
    },
    /// It would become smaller.
    #[error("volume `{volume}` has {size_bytes} bytes and can't shrink to {wanted_bytes}")]
    Shrinks {
        /// The volume.
        volume: VolumeName,
        /// What it has.
        size_bytes: u64,
        /// What was asked for.
        wanted_bytes: u64,
    },
    /// It would be too small for a file system with a journal.
    #[error("a volume of {wanted_bytes} bytes is too small: the least is {least_bytes}")]
    TooSmall {
        /// What was asked for.
        wanted_bytes: u64,
        /// The least.
        least_bytes: u64,
    },
    /// Nothing but a copy that takes as long as there is data could be made, and meanwhile nothing could be written.
    #[error(
        "volume `{volume}` is attached, and the file system of the home has no reflinks: a snapshot now would keep it from \
         being written to for as long as the copy takes"
    )]
    NeedsCopy {
        /// The volume.
        volume: VolumeName,
    },
    /// The host lacks a program.
    #[error("this host has no `{program}`")]
    Lacks {
        /// The program.
        program: &'static str,
    },
    /// Something of the system failed.
    #[error("can't {what}")]
    Failed {
        /// What was done, and to what.
        what: String,
        /// The system's answer.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl VolumeError {
    pub(crate) fn failed<E: Into<Box<dyn Error + Send + Sync>>>(
        what: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Failed { what, source: source.into() }
    }

    /// The same of a path that may be missing, which then says that the volume is.
    pub(crate) fn opening(volume: &VolumeName) -> impl FnOnce(io::Error) -> Self {
        let volume = volume.clone();
        move |error| match error.kind() {
            io::ErrorKind::NotFound => Self::Missing { volume },
            _ => Self::Failed { what: format!("open volume `{volume}`"), source: error.into() },
        }
    }
}
