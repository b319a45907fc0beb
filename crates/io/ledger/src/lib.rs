//! The append-only, hash-chained event log and the signing key.
//!
//! An append is durable when it returns and whole or not there at all. Every event carries the hash of the one
//! before it, the last event of every commit carries a signature (its *seal*), and the newest seal also stands in
//! a file beside the database: a changed, missing, moved or cut-off event is noticed by [`Ledger::verify`].

mod chain;
mod end;
mod error;
mod head;
mod keys;
mod ledger;
mod limits;
mod read;
mod schema;
mod sqlite;
mod verify;
mod writer;

pub use chain::{Head, event_hash, genesis};
pub use error::{KeyError, LedgerError, ReceiptError};
pub use head::{head_line, parse_head};
pub use keys::{Keys, VerifyingKey, is_sealed, verify_receipt};
pub use ledger::Ledger;
pub use limits::{MAX_BATCH_EVENTS, MAX_BODY_BYTES, MAX_READ_EVENTS, MAX_WHO_BYTES, MAX_WHY_BYTES};
pub use schema::FORMAT;
pub use sqlite::{ReadOnlyLedger, SqliteLedger, accept_head};
pub use verify::AuditVerdict;
