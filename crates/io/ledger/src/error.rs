//! What can go wrong with the ledger and its keys.

use std::{io, path::PathBuf, sync::Arc};

/// Why the ledger could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// The database failed.
    #[error("the ledger `{path}` failed")]
    Storage {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// A file beside the database failed.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The file is a database of something else.
    #[error("`{path}` is not a Hornero ledger")]
    NotALedger {
        /// The file.
        path: PathBuf,
    },
    /// The database was written by a newer Hornero.
    #[error(
        "the ledger `{path}` has format {found}, and this version of Hornero reads up to {known}; use a newer one"
    )]
    NewerFormat {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Another process has the ledger open for writing.
    #[error("the ledger `{path}` is in use by another process")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// Another process has appended since this one opened it or appended last: whoever has it open here must end.
    #[error(
        "another control process has taken over: the ledger `{path}` goes up to event {found}, not {expected}"
    )]
    TakenOver {
        /// The database.
        path: PathBuf,
        /// The last event there is.
        found: u64,
        /// The last event that this process knows of.
        expected: u64,
    },
    /// An event of a kind that is not known here.
    #[error(
        "event `{sequence}` is of kind `{kind}`, which this version of Hornero does not know; use a newer one"
    )]
    UnknownKind {
        /// The event.
        sequence: u64,
        /// Its kind.
        kind: String,
    },
    /// An event whose stored form can't be read.
    #[error(
        "event `{sequence}` cannot be read: {reason}; `hornero audit verify` says what was touched"
    )]
    Unreadable {
        /// The event.
        sequence: u64,
        /// Why.
        reason: String,
    },
    /// The end of the ledger is not the one that was last sealed.
    #[error("the ledger `{path}` was touched: event `{sequence}` {reason}")]
    Touched {
        /// The database.
        path: PathBuf,
        /// The first event concerned.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The last event was sealed with another key than the home has.
    #[error(
        "the ledger `{path}` and the key do not belong together: event `{sequence}` was not sealed with this home's key"
    )]
    OtherKey {
        /// The database.
        path: PathBuf,
        /// The last event.
        sequence: u64,
    },
    /// The file with the last sealed head is gone or has nothing in it, so nobody can tell whether events were cut off.
    #[error(
        "`{head}` is missing or empty: event `{sequence}` ends the ledger, and nothing says whether others came after it"
    )]
    HeadMissing {
        /// The file.
        head: PathBuf,
        /// The last event in the database.
        sequence: u64,
    },
    /// Something to append is over a limit.
    #[error("{what} has {size}, more than the ledger's limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes or events.
        size: usize,
        /// The limit, in the same unit.
        limit: usize,
    },
    /// An event can't be written as JSON.
    #[error("an event cannot be written as JSON: {0}")]
    Unwritable(String),
    /// The writer is gone: it was closed or it panicked.
    #[error("the ledger is closed")]
    Closed,
}

impl LedgerError {
    /// The word that scripts and `docs/errors/home.md` know it by.
    pub fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Storage { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DatabaseCorrupt) => "ledger_damaged",
                Some(rusqlite::ErrorCode::DiskFull) => "ledger_disk_full",
                Some(rusqlite::ErrorCode::ReadOnly) => "ledger_disk_read_only",
                _ => "ledger_unavailable",
            },
            Self::NotALedger { .. } => "ledger_damaged",
            Self::NewerFormat { .. } | Self::UnknownKind { .. } => "ledger_newer",
            Self::InUse { .. } | Self::TakenOver { .. } => "ledger_in_use",
            Self::Unreadable { .. } | Self::Touched { .. } => "ledger_touched",
            Self::OtherKey { .. } => "ledger_other_key",
            Self::HeadMissing { .. } => "ledger_head_missing",
            Self::File { .. } | Self::TooLarge { .. } | Self::Unwritable(_) | Self::Closed => {
                return None;
            }
        })
    }
}

/// Why a key could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file failed.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key is gone, but the ledger that it sealed is there.
    #[error("the signing key `{path}` is missing, and `{ledger}` was sealed with it")]
    Lost {
        /// Where the key should be.
        path: PathBuf,
        /// The ledger.
        ledger: PathBuf,
    },
    /// Others than the owner could read the private key.
    #[error(
        "the private key `{path}` has mode {mode:o}; it must be 600, and a key that others could read should be replaced"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no key.
    #[error("`{path}` holds no valid ed25519 key")]
    Invalid {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no randomness.
    #[error("the system's random numbers could not be read")]
    Randomness,
}

impl KeyError {
    /// The word that scripts and `docs/errors/home.md` know it by.
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Lost { .. } => Some("key_lost"),
            Self::Exposed { .. } => Some("key_exposed"),
            Self::Invalid { .. } => Some("key_damaged"),
            Self::File { .. } | Self::Randomness => None,
        }
    }
}

/// Why a receipt is not what Hornero signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// It names another key than the one trusted.
    #[error("receipt `{id}` is signed with key `{key}`, not with this home's")]
    OtherKey {
        /// The receipt.
        id: u64,
        /// The key it names, shortened to 80 characters.
        key: String,
    },
    /// The signature does not fit what it says.
    #[error("the signature of receipt `{id}` does not fit what it says")]
    BadSignature {
        /// The receipt.
        id: u64,
    },
    /// It holds a number that JSON can't carry.
    #[error("receipt `{id}` holds a duration that is no finite number")]
    NotFinite {
        /// The receipt.
        id: u64,
    },
}
