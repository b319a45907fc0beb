//! The ledger of one home in a SQLite database.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
};

use hornero_model::{Event, NewEvent};
use rusqlite::Connection;

use crate::{
    AuditVerdict, Head, Keys, Ledger, LedgerError, MAX_BATCH_EVENTS, MAX_BODY_BYTES,
    MAX_READ_EVENTS, MAX_WHO_BYTES, MAX_WHY_BYTES, VerifyingKey,
    chain::Domain,
    end::{check_end, last_head, touched},
    genesis,
    head::{self, HeadFile},
    read::{COLUMNS, StoredEvent},
    schema, verify,
    writer::{Prepared, Request, Writer, body_json},
};

/// Appends that may wait for the writer; more callers than that block, which bounds memory.
const QUEUE_REQUESTS: usize = 256;
/// Connections kept open between reads; more readers at once open more and close them again.
const IDLE_READERS: usize = 4;

/// A ledger open for reading only, beside the process that writes it.
pub struct ReadOnlyLedger {
    path: PathBuf,
    key: VerifyingKey,
    idle: Mutex<Vec<Connection>>,
}

/// A ledger open for writing; one process at a time.
pub struct SqliteLedger {
    reader: ReadOnlyLedger,
    /// None only while dropping.
    requests: Option<mpsc::SyncSender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl SqliteLedger {
    /// Opens the ledger `path` (such as `HOME/ledger.db`) for writing, and makes it where there is none.
    ///
    /// Checks the end of the chain, not all of it: that the last event is sealed and that nothing which was sealed
    /// later is missing. The whole is checked by [`Ledger::verify`].
    ///
    /// # Errors
    /// Where another process writes it, it is no ledger or a newer one, its end was touched, or the storage fails.
    pub fn open(path: &Path, keys: Arc<Keys>) -> Result<Self, LedgerError> {
        let (file, fresh) = HeadFile::lock(path)?;
        let connection = schema::open_writer(path)?;
        let head = last_head(path, &connection)?;
        if fresh && head.sequence == 0 {
            file.begin(&keys)?;
        } else if fresh {
            let head_path = head::head_path(path);
            return Err(LedgerError::HeadMissing { head: head_path, sequence: head.sequence });
        }
        let last_seal = check_end(path, &connection, &keys.public())?;
        // A head of format 1 stays until something is appended: an older version could still go on from here.
        if last_seal == Some(Domain::Seal) {
            file.write(head, &keys)?;
        }
        let reader =
            ReadOnlyLedger { path: path.to_owned(), key: keys.public(), idle: Mutex::default() };
        let writer = Writer {
            path: path.to_owned(),
            connection,
            keys,
            file,
            head,
            synced: head.sequence,
            is_raised: false,
        };
        let (requests, incoming) = mpsc::sync_channel(QUEUE_REQUESTS);
        let writer = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run(&incoming))
            .map_err(|source| LedgerError::File {
                action: "start the writer of",
                path: path.to_owned(),
                source: Arc::new(source),
            })?;
        Ok(Self { reader, requests: Some(requests), writer: Some(writer) })
    }
}

/// Takes a ledger as it is: checks all of it but for its head file, and writes that anew. What was cut off its end, if
/// anything, is given up for good.
///
/// # Errors
/// Where another process writes the ledger, or any event, hash or seal of it is not as it was appended.
pub fn accept_head(path: &Path, keys: &Keys) -> Result<Head, LedgerError> {
    let (file, _) = HeadFile::lock(path)?;
    let connection = schema::open_reader(path)?;
    let nothing = Head { sequence: 0, hash: genesis() };
    let known = Ok(head::KnownHead { head: nothing, domain: Domain::Head });
    match verify::verify(path, &connection, &keys.public(), known)? {
        AuditVerdict::Intact { head } => {
            file.write(head, keys)?;
            file.sync()?;
            Ok(head)
        }
        AuditVerdict::Touched { sequence, reason } => Err(touched(path, sequence, &reason)),
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        // Without senders the writer finishes what waits, syncs the head file and ends.
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Ledger for SqliteLedger {
    fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Event>, LedgerError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let events = prepare(events)?;
        let (answer, answered) = mpsc::sync_channel(1);
        let requests = self.requests.as_ref().ok_or(LedgerError::Closed)?;
        requests.send(Request { events, answer }).map_err(|_| LedgerError::Closed)?;
        answered.recv().map_err(|_| LedgerError::Closed)?
    }

    fn read(&self, from_sequence: u64, limit: usize) -> Result<Vec<Event>, LedgerError> {
        self.reader.read(from_sequence, limit)
    }

    fn head(&self) -> Result<Head, LedgerError> {
        self.reader.head()
    }

    fn verify(&self) -> Result<AuditVerdict, LedgerError> {
        self.reader.verify()
    }
}

impl ReadOnlyLedger {
    /// Opens the ledger `path` for reading; `key` is the one its seals and receipts must be signed with.
    ///
    /// # Errors
    /// Where it is missing, no ledger or a newer one, or the storage fails.
    pub fn open(path: &Path, key: VerifyingKey) -> Result<Self, LedgerError> {
        let connection = schema::open_reader(path)?;
        Ok(Self { path: path.to_owned(), key, idle: Mutex::new(vec![connection]) })
    }

    /// As [`Ledger::read`].
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub fn read(&self, from_sequence: u64, limit: usize) -> Result<Vec<Event>, LedgerError> {
        self.with_connection(|connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM events WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2"
            );
            let mut statement = connection.prepare_cached(&sql).map_err(self.storage())?;
            let from = i64::try_from(from_sequence).unwrap_or(i64::MAX);
            let limit = limit.min(MAX_READ_EVENTS) as i64;
            let mut rows = statement.query((from, limit)).map_err(self.storage())?;
            let mut events = Vec::new();
            while let Some(row) = rows.next().map_err(self.storage())? {
                let stored = StoredEvent::from_row(row).map_err(|(sequence, reason)| {
                    LedgerError::Unreadable { sequence, reason: format!("it {reason}") }
                })?;
                events.push(stored.into_event()?);
            }
            Ok(events)
        })
    }

    /// As [`Ledger::head`].
    ///
    /// # Errors
    /// As [`Ledger::head`].
    pub fn head(&self) -> Result<Head, LedgerError> {
        self.with_connection(|connection| last_head(&self.path, connection))
    }

    /// As [`Ledger::verify`].
    ///
    /// # Errors
    /// As [`Ledger::verify`].
    pub fn verify(&self) -> Result<AuditVerdict, LedgerError> {
        // The file first: the database, read after it, can only be further on.
        let known = head::read(&self.path, &self.key)?;
        self.with_connection(|connection| verify::verify(&self.path, connection, &self.key, known))
    }

    /// Copies the ledger as of one commit, and its head file, into a directory where neither is; other processes go on
    /// writing meanwhile. Gives where the copy ends.
    ///
    /// # Errors
    /// Where anything can't be read or written.
    pub fn copy_to(&self, directory: &Path) -> Result<Head, LedgerError> {
        // The head first: it may be older than the database beside it, never newer.
        let text = head::text(&self.path, &self.key)?;
        let copy = directory.join(self.path.file_name().unwrap_or_default());
        let name = copy.to_str().ok_or_else(|| LedgerError::File {
            action: "name",
            path: copy.clone(),
            source: Arc::new(std::io::ErrorKind::InvalidFilename.into()),
        })?;
        self.with_connection(|connection| {
            connection.execute("VACUUM INTO ?1", [name]).map_err(self.storage())
        })?;
        if let Some(text) = text {
            head::put(&copy, &text)?;
        }
        let made = schema::open_reader(&copy)?;
        // A copy that could not be opened for writing later is none.
        check_end(&copy, &made, &self.key)?;
        last_head(&copy, &made)
    }

    fn with_connection<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let idle = self.lock_idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.path)?,
        };
        let result = work(&connection);
        let mut idle = self.lock_idle();
        if result.is_ok() && idle.len() < IDLE_READERS {
            idle.push(connection);
        }
        result
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        // The list is whole between any two of its operations, also after a panic elsewhere.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn storage(&self) -> impl Fn(rusqlite::Error) -> LedgerError + '_ {
        |source| schema::failed(&self.path, source)
    }
}

fn prepare(events: Vec<NewEvent>) -> Result<Vec<Prepared>, LedgerError> {
    within("a batch of events", events.len(), MAX_BATCH_EVENTS)?;
    events
        .into_iter()
        .map(|event| {
            within("`who` of an event", event.by.who.len(), MAX_WHO_BYTES)?;
            within("`why` of an event", event.by.why.len(), MAX_WHY_BYTES)?;
            let commit = event.by.commit.as_ref().map_or(0, String::len);
            within("`commit` of an event", commit, MAX_WHO_BYTES)?;
            let json = body_json(&event.body)?;
            within("the body of an event", json.len(), MAX_BODY_BYTES)?;
            Ok(Prepared { event, json })
        })
        .collect()
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), LedgerError> {
    if size > limit { Err(LedgerError::TooLarge { what, size, limit }) } else { Ok(()) }
}
