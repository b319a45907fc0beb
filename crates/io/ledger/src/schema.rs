//! The tables of the ledger and how a database is opened.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, OpenFlags};

use crate::LedgerError;

/// Marks the file as a ledger: `hrno`.
const APPLICATION_ID: i32 = 0x6872_6e6f;
/// The newest format known here; kept in `user_version`. It is the number of the home's format: a ledger has it once an
/// event was appended by a version that may write what versions before it do not know.
pub const FORMAT: u32 = 2;
/// How long a reader waits while a writer recovers the log; longer means that something hangs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS events (
    sequence  INTEGER PRIMARY KEY,
    time_ms   INTEGER NOT NULL,
    who       TEXT NOT NULL,
    why       TEXT NOT NULL,
    commit_id TEXT,
    body      TEXT NOT NULL,
    previous  BLOB NOT NULL,
    hash      BLOB NOT NULL,
    seal      BLOB
) STRICT;
CREATE TRIGGER IF NOT EXISTS events_never_change BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_never_go BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
";

/// Opens the database for writing and makes its tables where there are none.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, LedgerError> {
    let storage = |source| failed(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(storage)?;
    prepare(path, &connection)?;
    let empty: bool = connection
        .query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
        .map_err(storage)?;
    if !empty {
        check_format(path, &connection)?;
    }
    connection.pragma_update(None, "journal_mode", "wal").map_err(storage)?;
    connection.pragma_update(None, "synchronous", "full").map_err(storage)?;
    // Format and tables appear together: a crash in between leaves an empty database.
    let begin = format!(
        "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; {TABLES} COMMIT;"
    );
    let sql = match empty {
        true => begin.as_str(),
        false => {
            if let Some(reason) = fault(path, &connection)? {
                return Err(LedgerError::Touched { path: path.to_owned(), sequence: 1, reason });
            }
            ""
        }
    };
    connection.execute_batch(sql).map_err(storage)?;
    Ok(connection)
}

/// Whether no version of this format has appended to it yet.
pub(crate) fn is_older(connection: &Connection) -> rusqlite::Result<bool> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(found < FORMAT)
}

/// What is wrong with the tables, if anything: a view in the place of the events, a trigger that nobody here made, or one
/// of ours gone shows other events than those that were appended, or lets them be changed.
pub(crate) fn fault(path: &Path, connection: &Connection) -> Result<Option<String>, LedgerError> {
    let sql = "SELECT type || ' ' || name, ifnull(sql, '') FROM sqlite_schema ORDER BY name";
    let read = || -> rusqlite::Result<BTreeMap<String, String>> {
        let mut statement = connection.prepare(sql)?;
        let rows =
            statement.query_map([], |row| Ok((row.get(0)?, words(&row.get::<_, String>(1)?))))?;
        rows.collect()
    };
    let found = read().map_err(|source| failed(path, source))?;
    let ours = Connection::open_in_memory().and_then(|memory| {
        memory.execute_batch(TABLES)?;
        let mut statement = memory.prepare(sql)?;
        let rows =
            statement.query_map([], |row| Ok((row.get(0)?, words(&row.get::<_, String>(1)?))))?;
        rows.collect::<rusqlite::Result<BTreeMap<String, String>>>()
    });
    let ours = ours.map_err(|source| failed(path, source))?;
    let short = |name: &str| name.chars().take(80).collect::<String>();
    for (name, text) in &ours {
        match found.get(name) {
            Some(same) if same == text => {}
            Some(_) => return Ok(Some(format!("can't be trusted: the {name} was changed"))),
            None => return Ok(Some(format!("can't be trusted: the {name} is missing"))),
        }
    }
    let foreign = found.keys().find(|name| !ours.contains_key(*name));
    Ok(foreign.map(|name| format!("can't be trusted: the {} is not the ledger's", short(name))))
}

/// A statement with one space wherever there is any.
fn words(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Says in a transaction's database that this version appended to it, so that an older one refuses it from then on.
pub(crate) fn raise_format(connection: &Connection) -> rusqlite::Result<()> {
    if is_older(connection)? {
        connection.pragma_update(None, "user_version", FORMAT)
    } else {
        Ok(())
    }
}

/// Opens the database for reading only.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|source| failed(path, source))?;
    prepare(path, &connection)?;
    check_format(path, &connection)?;
    Ok(connection)
}

fn prepare(path: &Path, connection: &Connection) -> Result<(), LedgerError> {
    // The file may be corrupt: SQLite then checks sizes before it trusts them, and runs no code from the schema.
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .and_then(|()| connection.pragma_update(None, "cell_size_check", true))
        .and_then(|()| connection.pragma_update(None, "trusted_schema", false))
        .map_err(|source| failed(path, source))
}

fn check_format(path: &Path, connection: &Connection) -> Result<(), LedgerError> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let storage = |source| failed(path, source);
    if pragma("application_id").map_err(storage)? != i64::from(APPLICATION_ID) {
        return Err(LedgerError::NotALedger { path: path.to_owned() });
    }
    let found = pragma("user_version").map_err(storage)?;
    match u32::try_from(found) {
        Ok(1..=FORMAT) => Ok(()),
        Ok(found) if found > FORMAT => {
            Err(LedgerError::NewerFormat { path: path.to_owned(), found, known: FORMAT })
        }
        _ => Err(LedgerError::NotALedger { path: path.to_owned() }),
    }
}

/// The error of a database call; a file that is no database at all is told apart.
pub(crate) fn failed(path: &Path, source: rusqlite::Error) -> LedgerError {
    if source.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) {
        return LedgerError::NotALedger { path: path.to_owned() };
    }
    LedgerError::Storage { path: path.to_owned(), source: Arc::new(source) }
}
