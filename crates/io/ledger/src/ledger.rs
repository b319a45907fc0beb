//! What a ledger does, whichever it is.

use hornero_model::{Event, NewEvent};

use crate::{chain::Head, error::LedgerError, verify::AuditVerdict};

/// The record of everything that happened in one home.
pub trait Ledger: Send + Sync {
    /// Appends the events, all or none; they are durable when this returns. Blocks until then.
    ///
    /// # Errors
    /// Where an event is over a limit or the storage fails; then none of them was appended.
    fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Event>, LedgerError>;

    /// Up to `limit` events (at most [`crate::MAX_READ_EVENTS`]) from `from_sequence` on, in order; empty past the end.
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
    /// Where the storage can't be read at all. What was tampered with is no error but an [`AuditVerdict`].
    fn verify(&self) -> Result<AuditVerdict, LedgerError>;
}
