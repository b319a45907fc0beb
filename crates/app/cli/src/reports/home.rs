//! What `home` saved, made anew, moved and found.

use std::path::Path;

use hornero_care::{BackupHead, HomeProblem};
use hornero_model::{Digest, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// What `home check` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HomeCheckReport<'a> {
    /// The home.
    pub home: &'a Path,
    /// Whether nothing of it is broken; warnings and notes break nothing.
    pub sound: bool,
    /// What was found, the worst first.
    pub problems: &'a [HomeProblem],
}

/// What `home backup` wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HomeBackupReport<'a> {
    /// The backup's directory.
    pub backup: &'a Path,
    /// Counts up with each backup to the same directory.
    pub number: u64,
    /// The last event of the ledger that it holds; null for a home where nothing ever ran.
    pub head: Option<BackupHead>,
    /// Which images it holds: `used`, `all` or `none`.
    pub images: &'a str,
    /// How many images.
    pub image_count: u64,
    /// How many files.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// Files that were copied; the others were there already.
    pub copied_files: u64,
    /// Their bytes together.
    pub copied_bytes: u64,
    /// Whether it holds the private signing key.
    pub holds_signing_key: bool,
    /// Whether it holds the key of the secrets.
    pub holds_secrets_key: bool,
    /// What is damaged in the home and so is not in the backup.
    pub damaged: &'a [String],
}

/// What `home restore` made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HomeRestoreReport<'a> {
    /// The new home.
    pub home: &'a Path,
    /// The backup's directory.
    pub from: &'a Path,
    /// Which of its backups it is.
    pub number: u64,
    /// When that was made.
    pub created: Timestamp,
    /// The last event of the ledger; null for a home where nothing ever ran.
    pub head: Option<BackupHead>,
    /// Whether the private signing key came with it.
    pub holds_signing_key: bool,
    /// How many files it has.
    pub files: u64,
}

/// What `home move` moved.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HomeMoveReport<'a> {
    /// Where it was.
    pub from: &'a Path,
    /// Where it is.
    pub home: &'a Path,
    /// Instances that `--stop` ended first.
    pub ended: &'a [String],
}

/// The end of the ledger that `home accept-ledger` took as it is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AcceptedLedger {
    /// The number of the last event; 0 before the first.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}
