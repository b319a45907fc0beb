//! The check of the whole chain: which event, if any, is not as it was appended.

use std::path::Path;

use hornero_model::EventBody;
use rusqlite::Connection;

use crate::{
    Head, LedgerError, VerifyingKey,
    chain::{Domain, event_hash},
    genesis,
    head::KnownHead,
    read::{COLUMNS, StoredEvent, parse_body},
    schema, verify_receipt,
};

/// What is said of an event that was sealed once and is not there.
pub(crate) const CUT_OFF: &str = "is missing: events were cut off the end";

/// What is said of a last event that another key sealed.
pub(crate) const OTHER_SEAL: &str = "carries a seal that is not this home's";

/// The outcome of a check of the whole ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditVerdict {
    /// Every event is as it was appended, and none is missing.
    Intact {
        /// Where the chain ends.
        head: Head,
    },
    /// Something was changed, removed, moved or cut off.
    Touched {
        /// The first event that is not as it was appended.
        sequence: u64,
        /// What is wrong with it; reads on after "event `7`".
        reason: String,
    },
}

/// Checks every event in order. `known` is what the head file said before `connection` was read.
pub(crate) fn verify(
    path: &Path,
    connection: &Connection,
    key: &VerifyingKey,
    known: Result<KnownHead, &'static str>,
) -> Result<AuditVerdict, LedgerError> {
    let storage = |source| schema::failed(path, source);
    if let Some(reason) = schema::fault(path, connection)? {
        return Ok(touched(1, &reason));
    }
    let sql = format!("SELECT {COLUMNS} FROM events ORDER BY sequence");
    let mut statement = connection.prepare(&sql).map_err(storage)?;
    let mut rows = statement.query([]).map_err(storage)?;
    let mut walk = Walk {
        key,
        known,
        head: Head { sequence: 0, hash: genesis() },
        first_unsealed: None,
        last_seal: None,
    };
    loop {
        let row = match rows.next() {
            Ok(None) => break,
            Ok(Some(row)) => row,
            // A page that SQLite can't make sense of: what it holds is lost, and that is the finding.
            Err(error) if is_corrupt(&error) => {
                return Ok(touched(walk.head.sequence + 1, "cannot be read: the file is corrupt"));
            }
            Err(error) => return Err(storage(error)),
        };
        let step = StoredEvent::from_row(row)
            .map_err(|(sequence, reason)| (sequence.max(1), reason.to_owned()))
            .and_then(|stored| walk.step(&stored));
        if let Err((sequence, reason)) = step {
            return Ok(touched(sequence.min(walk.head.sequence + 1), &reason));
        }
    }
    Ok(walk.finish())
}

/// The domain of the last event's seal, or what is wrong with the event taken by itself.
pub(crate) fn seal_of_last(
    stored: &StoredEvent,
    key: &VerifyingKey,
) -> Result<Domain, &'static str> {
    if recomputed(stored) != stored.hash {
        return Err("was changed: its hash does not fit what it says");
    }
    let seal = stored.seal.as_ref().ok_or("ends the ledger without a seal")?;
    key.seals(stored.sequence, &stored.hash, seal).ok_or(OTHER_SEAL)
}

struct Walk<'a> {
    key: &'a VerifyingKey,
    known: Result<KnownHead, &'static str>,
    head: Head,
    /// The first event since the last good seal.
    first_unsealed: Option<u64>,
    last_seal: Option<Domain>,
}

impl Walk<'_> {
    fn step(&mut self, stored: &StoredEvent) -> Result<(), (u64, String)> {
        let expected = self.head.sequence + 1;
        let fault = |reason: &str| Err((expected, reason.to_owned()));
        if stored.sequence != expected {
            return fault("is missing");
        }
        if stored.previous != self.head.hash {
            return fault("does not follow the event before it: its previous hash is another");
        }
        if recomputed(stored) != stored.hash {
            return fault("was changed: its hash does not fit what it says");
        }
        if let Ok(known) = self.known
            && known.head.sequence == stored.sequence
            && known.head.hash != stored.hash
        {
            return fault("was rewritten: a different event was sealed under its number");
        }
        let first = *self.first_unsealed.get_or_insert(expected);
        if let Some(seal) = &stored.seal {
            match self.key.seals(stored.sequence, &stored.hash, seal) {
                // Seals of format 1 come before those of format 2: nobody appends with an older version any more.
                Some(domain) if Some(domain) >= self.last_seal => self.last_seal = Some(domain),
                Some(_) | None => return Err((first, seal_fault(first, expected))),
            }
            self.first_unsealed = None;
        }
        self.check_receipt(stored)?;
        self.head = Head { sequence: stored.sequence, hash: stored.hash };
        Ok(())
    }

    fn check_receipt(&self, stored: &StoredEvent) -> Result<(), (u64, String)> {
        // A kind that a newer version wrote is hashed and sealed all the same; only its meaning is unknown here.
        let body = match parse_body(stored.sequence, &stored.body) {
            Ok(body) => body,
            Err(LedgerError::UnknownKind { .. }) => return Ok(()),
            Err(error) => return Err((stored.sequence, format!("holds no event: {error}"))),
        };
        if let EventBody::Switched { receipt } = &body {
            verify_receipt(receipt, self.key)
                .map_err(|error| (stored.sequence, format!("holds a false receipt: {error}")))?;
        }
        Ok(())
    }

    fn finish(self) -> AuditVerdict {
        let end = self.head.sequence;
        match self.known {
            _ if self.first_unsealed.is_some() => {
                touched(end, "ends the ledger without a seal: events after it were cut off")
            }
            Err(reason) => touched(end + 1, reason),
            Ok(known) if known.head.sequence > end => touched(end + 1, CUT_OFF),
            Ok(known) => match self.last_seal.and_then(|seal| known.fault_beside(seal)) {
                Some(reason) => touched(end + 1, reason),
                None => AuditVerdict::Intact { head: self.head },
            },
        }
    }
}

fn recomputed(stored: &StoredEvent) -> hornero_model::Digest {
    event_hash(&stored.previous, stored.sequence, stored.time, &stored.by, &stored.body)
}

fn seal_fault(first: u64, last: u64) -> String {
    if first == last {
        "was rewritten: its seal does not fit".to_owned()
    } else {
        format!("or a later one up to `{last}` was rewritten: the seal of `{last}` does not fit")
    }
}

fn touched(sequence: u64, reason: &str) -> AuditVerdict {
    AuditVerdict::Touched { sequence, reason: reason.to_owned() }
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}
