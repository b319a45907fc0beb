//! The append-only, hash-chained event log and the signing key.
//!
//! An append is durable when it returns and whole or not there at all. Every event carries the hash of the one
//! before it, the last event of every commit carries a signature (its *seal*), and the newest seal also stands in
//! a file beside the database: a changed, missing, moved or cut-off event is noticed by [`Ledger::verify`].

mod chain;
mod error;
mod head;
mod keys;
mod read;
mod schema;
mod sqlite;
mod verify;
mod writer;

use hornero_model::{Digest, Event, NewEvent};

pub use chain::{event_hash, genesis};
pub use error::{KeyError, LedgerError, ReceiptError};
pub use head::{head_line, parse_head};
pub use keys::{Keys, VerifyingKey, verify_receipt};
pub use schema::FORMAT;
pub use sqlite::{ReadOnlyLedger, SqliteLedger, accept_head};
pub use verify::AuditVerdict;

/// Most events in one append, and most of one commit: bounds the memory of the writer and the length of a commit.
pub const MAX_BATCH_EVENTS: usize = 1024;
/// Largest body of one event as JSON, in bytes: the journal's states are some kilobytes, so 1 MiB is a mistake.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Largest `why`, in bytes: a reason is a sentence or the tail of a log, not a log.
pub const MAX_WHY_BYTES: usize = 16 << 10;
/// Largest `who` and `commit`, in bytes: names and hashes.
pub const MAX_WHO_BYTES: usize = 256;
/// Most events that one read returns: bounds the memory of a reader; page on from the last sequence.
pub const MAX_READ_EVENTS: usize = 10_000;

/// Where the chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number of the last event; 0 before the first.
    pub sequence: u64,
    /// Its hash; 64 zeros before the first.
    pub hash: Digest,
}

impl Head {
    /// The head of a ledger without events.
    pub const fn genesis() -> Self {
        Self { sequence: 0, hash: genesis() }
    }
}

/// The record of everything that happened in one home.
pub trait Ledger: Send + Sync {
    /// Appends the events, all or none; they are durable when this returns. Blocks until then.
    ///
    /// # Errors
    /// Where an event is over a limit or the storage fails; then none of them was appended.
    fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Event>, LedgerError>;

    /// Up to `limit` events (at most [`MAX_READ_EVENTS`]) from `from_sequence` on, in order; empty past the end.
    ///
    /// # Errors
    /// Where the storage fails, or an event can't be read or is of a kind that this version does not know.
    fn read(&self, from_sequence: u64, limit: usize) -> Result<Vec<Event>, LedgerError>;

    /// Where the chain ends now.
    ///
    /// # Errors
    /// Where the storage fails.
    fn head(&self) -> Result<Head, LedgerError>;

    /// Checks every event, hash and seal, and that nothing was cut off the end.
    ///
    /// # Errors
    /// Where the storage can't be read at all. What was tampered with is no error but a [`AuditVerdict`].
    fn verify(&self) -> Result<AuditVerdict, LedgerError>;
}
