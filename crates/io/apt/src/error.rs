//! What can go wrong between an archive and the package cache, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use hornero_model::Digest;

use crate::fetch::FetchError;

/// Why archives, packages or the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// A file or directory could not be read or written.
    #[error("`{}` cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk of the home is full.
    #[error("the disk is full: `{}` could not be written", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The image's mirror is no address.
    #[error("mirror `{0}` is not an http, https or file address, nor an absolute path")]
    MirrorAddress(String),
    /// The host has no apt source for the suite.
    #[error("this host has no apt source for suite `{suite}`")]
    NoSources {
        /// The suite.
        suite: String,
    },
    /// A file of the host's apt sources cannot be read.
    #[error("apt source `{}`, line {line}: {reason}", file.display())]
    SourcesFile {
        /// The file.
        file: PathBuf,
        /// Line number from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file of the host's apt preferences cannot be read.
    #[error("apt preferences `{}`: {reason}", file.display())]
    Preferences {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The machine's architecture has no name in Debian.
    #[error("Debian has no packages for this machine's architecture `{0}`")]
    Architecture(&'static str),
    /// The archive could not be read.
    #[error("archive `{archive}` could not be read")]
    Archive {
        /// Address and suite.
        archive: String,
        /// Why.
        source: Box<FetchError>,
    },
    /// The archive's index is not what its owner signed.
    #[error("archive `{archive}` is refused: {reason}")]
    Unsigned {
        /// Address and suite.
        archive: String,
        /// Why.
        reason: String,
    },
    /// The archive has nothing to verify, but the host's operator says that it is to be trusted.
    #[error(
        "archive `{archive}` is refused: {reason}; `trusted=yes` in this host's sources does not take the place of a signature"
    )]
    OnlyTrusted {
        /// Address and suite.
        archive: String,
        /// What its signature is.
        reason: String,
    },
    /// The archive's index is from the future.
    #[error("archive `{archive}` is refused: its index is of {date}, which is yet to come")]
    FromTheFuture {
        /// Address and suite.
        archive: String,
        /// Date and time.
        date: String,
    },
    /// The archive's index is too old.
    #[error("archive `{archive}` is refused: its index was valid until {until}")]
    Expired {
        /// Address and suite.
        archive: String,
        /// Date and time.
        until: String,
    },
    /// The archive's index is older than one that the lock was made from.
    #[error(
        "archive `{archive}` is refused: its index is of {date}, but `hornero.lock` was made from one of {seen}"
    )]
    RolledBack {
        /// Address and suite.
        archive: String,
        /// Date and time of the index that is there.
        date: String,
        /// Date and time of the newest one that the lock knows.
        seen: String,
    },
    /// The archive no longer has a suite that the lock was made from.
    #[error(
        "archive `{archive}` is refused: it is not there, but `hornero.lock` was made from its index of {seen}"
    )]
    SuiteGone {
        /// Address and suite.
        archive: String,
        /// Date and time of the newest index that the lock knows.
        seen: String,
    },
    /// A list of packages has broken stanzas.
    #[error("archive `{archive}` is refused: {reason}")]
    Index {
        /// Address and suite.
        archive: String,
        /// Why.
        reason: String,
    },
    /// A package could not be fetched.
    #[error("package `{package}` could not be fetched")]
    Package {
        /// Name and version.
        package: String,
        /// Why.
        source: FetchError,
    },
    /// There is nowhere to fetch a package from.
    #[error("package `{package}` is not in the cache, and there is no mirror to fetch it from")]
    NoMirror {
        /// Name and version.
        package: String,
    },
    /// A package is not the one that was signed for.
    #[error("package `{package}` from `{address}` is refused: {reason}, expected SHA-256 {}", expected.hex())]
    WrongPackage {
        /// Name and version.
        package: String,
        /// Where it came from.
        address: String,
        /// Its SHA-256 by the lock.
        expected: Digest,
        /// What it is instead.
        reason: String,
    },
    /// `hornero.lock` cannot be read.
    #[error("`{}` is not a lock that can be read: {reason}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl AptError {
    /// A failure on a file, told apart when the disk is full.
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::File { path, source },
        }
    }

    /// What to do about it, where something can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSources { suite } => Some(format!(
                "add these two lines to the image:\n  mirror  = \"https://<a mirror of Debian>/debian\"\n  \
                 keyring = \"/usr/share/keyrings/debian-archive-keyring.gpg\"\n\
                 or an apt source for `{suite}` to this host"
            )),
            Self::MirrorAddress(_) => {
                Some("write `https://…`, `http://…`, `file:///…` or `/…`".to_owned())
            }
            Self::Archive { .. } => Some(
                "with a `hornero.lock` and every package in the cache no mirror is needed"
                    .to_owned(),
            ),
            Self::OnlyTrusted { .. } => Some(
                "sign it and name the key by `signed-by`: an image says where it came from, and nobody could verify that"
                    .to_owned(),
            ),
            Self::FromTheFuture { .. } => Some(
                "set this host's clock; where its time is meant to be wrong, `check-date=no` of the source turns the \
                 check off"
                    .to_owned(),
            ),
            Self::Expired { .. } => {
                Some("use a mirror that is up to date, or check this host's clock".to_owned())
            }
            Self::RolledBack { .. } | Self::SuiteGone { .. } => Some(
                "a mirror that lags behind catches up: run it again later, or use another; where going back is what \
                 you want, remove `hornero.lock` first"
                    .to_owned(),
            ),
            Self::Lock { .. } => Some("remove it and run `hornero lock`".to_owned()),
            Self::Package { source: FetchError::Missing(_), .. } => {
                Some("the archive has dropped this version: run `hornero lock --update`".to_owned())
            }
            Self::DiskFull { .. } => {
                Some("free some space and run it again: it goes on".to_owned())
            }
            _ => None,
        }
    }
}
