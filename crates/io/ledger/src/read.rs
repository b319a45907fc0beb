//! Rows of the database as events.

use hornero_model::{Actor, Digest, Event, EventBody, Timestamp};
use rusqlite::{Row, types::FromSql};

use crate::LedgerError;

/// The columns that [`StoredEvent::from_row`] expects, in order.
pub(crate) const COLUMNS: &str =
    "sequence, time_ms, who, why, commit_id, body, previous, hash, seal";

/// An event as it stands in the database, its body still text.
pub(crate) struct StoredEvent {
    pub(crate) sequence: u64,
    pub(crate) time: Timestamp,
    pub(crate) by: Actor,
    pub(crate) body: String,
    pub(crate) previous: Digest,
    pub(crate) hash: Digest,
    pub(crate) seal: Option<Vec<u8>>,
}

impl StoredEvent {
    /// Reads a row; the error names the sequence, as far as that can be read, and the column.
    pub(crate) fn from_row(row: &Row<'_>) -> Result<Self, (u64, &'static str)> {
        let sequence = number(row, 0).ok_or((0, "has no valid number"))?;
        let at = |reason| move || (sequence, reason);
        let digest = |index: usize| {
            get::<Vec<u8>>(row, index)
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                .map(Digest::from_bytes)
        };
        Ok(Self {
            sequence,
            time: Timestamp(number(row, 1).ok_or_else(at("has no valid time"))?),
            by: Actor {
                who: get(row, 2).ok_or_else(at("has no valid `who`"))?,
                why: get(row, 3).ok_or_else(at("has no valid `why`"))?,
                commit: get(row, 4).ok_or_else(at("has no valid commit"))?,
            },
            body: get(row, 5).ok_or_else(at("has no valid body"))?,
            previous: digest(6).ok_or_else(at("has no valid previous hash"))?,
            hash: digest(7).ok_or_else(at("has no valid hash"))?,
            seal: get(row, 8).ok_or_else(at("has no valid seal"))?,
        })
    }

    /// Parses the body.
    pub(crate) fn into_event(self) -> Result<Event, LedgerError> {
        let body = parse_body(self.sequence, &self.body)?;
        let Self { sequence, time, by, previous, hash, .. } = self;
        Ok(Event { sequence, time, by, body, previous, hash })
    }
}

/// Parses the stored body of event `sequence`; tells an unknown kind from a broken text.
pub(crate) fn parse_body(sequence: u64, text: &str) -> Result<EventBody, LedgerError> {
    #[derive(serde::Deserialize)]
    struct Kind {
        kind: String,
    }
    match serde_json::from_str(text) {
        Ok(body) => Ok(body),
        Err(error) => match serde_json::from_str::<Kind>(text) {
            // Serde names the variant it does not know; anything else is wrong inside a kind that is known.
            Ok(Kind { kind }) if error.to_string().starts_with("unknown variant `") => {
                Err(LedgerError::UnknownKind { sequence, kind: kind.chars().take(80).collect() })
            }
            _ => Err(LedgerError::Unreadable { sequence, reason: error.to_string() }),
        },
    }
}

fn get<T: FromSql>(row: &Row<'_>, index: usize) -> Option<T> {
    row.get(index).ok()
}

fn number(row: &Row<'_>, index: usize) -> Option<u64> {
    get::<i64>(row, index).and_then(|value| u64::try_from(value).ok())
}
