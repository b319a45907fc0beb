//! Why a home could not be backed up, restored or moved.

use std::{io, path::PathBuf};

use hornero_home::HomeError;
use hornero_ledger::{KeyError, LedgerError};
use hornero_store::StoreError;

/// Why a home could not be backed up, restored or moved.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    /// A directory holds something else than a backup.
    #[error("`{path}` is not empty and holds no backup")]
    NotABackup {
        /// The directory.
        path: PathBuf,
    },
    /// A backup that was never finished, or whose marker is gone.
    #[error("`{path}` holds no finished backup: `backup.json` is missing")]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// Another version wrote the backup.
    #[error(
        "the backup `{path}` has version {found}, and this version of Hornero reads up to {known}"
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// A file of a backup is not what was written.
    #[error("the backup is damaged: `{path}` {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; reads on after its path.
        reason: String,
    },
    /// Another backup is written to the same place at this moment.
    #[error("another backup is being written to `{path}`")]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// A home is only made where nothing is.
    #[error("`{path}` is not empty: a backup is restored into a new or an empty directory only")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// A place that can't be replaced in one step.
    #[error("`{path}` is where a file system is mounted, and can't be put in place in one step")]
    MountPoint {
        /// The directory.
        path: PathBuf,
    },
    /// Nothing to care for.
    #[error("there is no home at `{path}`")]
    NoHome {
        /// The directory.
        path: PathBuf,
    },
    /// Servers or control hold the home's path.
    #[error("`{path}` is in use: {holders}")]
    InUse {
        /// The home.
        path: PathBuf,
        /// What uses it.
        holders: String,
    },
    /// The two paths are on different file systems.
    #[error("`{from}` and `{to}` are on different file systems")]
    OtherFileSystem {
        /// The home.
        from: PathBuf,
        /// Where it should be.
        to: PathBuf,
    },
    /// The ledger in a backup is not intact.
    #[error("the ledger of the backup was touched: event `{sequence}` {reason}")]
    Touched {
        /// The first event concerned.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A home or a file of one is refused.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The key failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl CareError {
    /// The word that scripts and `docs/errors/home.md` know it by.
    pub fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotABackup { .. } => "backup_not_one",
            Self::Unfinished { .. } => "backup_unfinished",
            Self::Newer { .. } => "backup_newer",
            Self::Damaged { .. } | Self::Touched { .. } => "backup_damaged",
            Self::Busy { .. } => "backup_busy",
            Self::NotEmpty { .. } => "home_not_empty",
            Self::MountPoint { .. } => "home_mount_point",
            Self::NoHome { .. } => "home_missing",
            Self::InUse { .. } => "home_in_use",
            Self::OtherFileSystem { .. } => "home_other_file_system",
            Self::Home(error) => return error.code(),
            Self::Ledger(error) => return error.code(),
            Self::Key(error) => return error.code(),
            Self::Store(_) | Self::Io { .. } => return None,
        })
    }

    /// What to do about it.
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::NotABackup { .. } | Self::NotEmpty { .. } => {
                "name a directory that is empty, or is not there yet".to_owned()
            }
            Self::Unfinished { .. } => {
                "it was interrupted; the same `hornero home backup` again goes on where it ended"
                    .to_owned()
            }
            Self::Newer { .. } => {
                "restore it with the version that wrote it, or a newer one".to_owned()
            }
            Self::Damaged { .. } | Self::Touched { .. } => {
                "nothing was restored; take an older backup, or find out what damaged this one"
                    .to_owned()
            }
            Self::Busy { .. } => "wait until it is done, or name another directory".to_owned(),
            Self::MountPoint { path } => format!(
                "restore to a directory below it, such as `--to {}`",
                path.join("hornero").display()
            ),
            Self::NoHome { .. } => "`--home` or HORNERO_HOME says which home".to_owned(),
            Self::InUse { .. } => {
                "`hornero home move TO --stop` ends control and servers first; the next `hornero \
                                   --home TO serve` or `up` starts them again"
                    .to_owned()
            }
            Self::OtherFileSystem { from, to } => format!(
                "`hornero --home {0} home backup OUT --images all`, then `hornero home restore OUT --to {1}`, and \
                 remove `{0}` once `{1}` serves",
                from.display(),
                to.display()
            ),
            Self::Home(error) => return error.remedy(),
            Self::Ledger(_) | Self::Key(_) => {
                "`docs/operations/recovery.md` says what to do for each kind of broken home"
                    .to_owned()
            }
            Self::Store(error) => return error.hint().map(|hint| hint.to_string()),
            Self::Io { .. } => return None,
        })
    }

    /// Whether a guard refused, before anything was done.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotABackup { .. }
            | Self::Newer { .. }
            | Self::Busy { .. }
            | Self::NotEmpty { .. }
            | Self::MountPoint { .. }
            | Self::InUse { .. }
            | Self::OtherFileSystem { .. } => true,
            Self::Home(error) => error.code().is_some(),
            _ => false,
        }
    }
}

pub(crate) fn failed(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(io::Error) -> CareError + use<> {
    let path = path.to_owned();
    move |source| CareError::Io { action, path, source }
}
