//! The end of the chain as the database has it.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use crate::{
    Head, LedgerError, VerifyingKey,
    chain::Domain,
    genesis, head,
    read::{COLUMNS, StoredEvent},
    schema, verify,
};

/// The last event's number and hash.
pub(crate) fn last_head(path: &Path, connection: &Connection) -> Result<Head, LedgerError> {
    Ok(match last_event(path, connection)? {
        None => Head { sequence: 0, hash: genesis() },
        Some(stored) => Head { sequence: stored.sequence, hash: stored.hash },
    })
}

fn last_event(path: &Path, connection: &Connection) -> Result<Option<StoredEvent>, LedgerError> {
    let sql = format!("SELECT {COLUMNS} FROM events ORDER BY sequence DESC LIMIT 1");
    // Asked before each commit.
    connection
        .prepare_cached(&sql)
        .and_then(|mut last| last.query_row([], |row| Ok(StoredEvent::from_row(row))).optional())
        .map_err(|source| schema::failed(path, source))?
        .transpose()
        .map_err(|(sequence, reason)| touched(path, sequence, reason))
}

/// Refuses to go on from an end that is not the sealed one. Gives the domain of the last event's seal, if there is one.
pub(crate) fn check_end(
    path: &Path,
    connection: &Connection,
    key: &VerifyingKey,
) -> Result<Option<Domain>, LedgerError> {
    let last = last_event(path, connection)?;
    let sequence = last.as_ref().map_or(0, |stored| stored.sequence);
    // The last event first: where the key is another, no head can be right either.
    let seal = last.as_ref().map(|stored| verify::seal_of_last(stored, key)).transpose();
    let seal = seal.map_err(|reason| match reason {
        verify::OTHER_SEAL => LedgerError::OtherKey { path: path.to_owned(), sequence },
        reason => touched(path, sequence, reason),
    })?;
    let known = head::read(path, key)?.map_err(|reason| touched(path, sequence + 1, reason))?;
    if known.head.sequence > sequence {
        return Err(touched(path, sequence + 1, verify::CUT_OFF));
    }
    let Some(seal) = seal else { return Ok(None) };
    match known.fault_beside(seal) {
        Some(reason) => Err(touched(path, sequence + 1, reason)),
        None => Ok(Some(seal)),
    }
}

/// That the ledger is not what it was.
pub(crate) fn touched(path: &Path, sequence: u64, reason: &str) -> LedgerError {
    LedgerError::Touched { path: path.to_owned(), sequence, reason: reason.to_owned() }
}
