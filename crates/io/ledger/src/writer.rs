//! The one thread that writes: it joins waiting appends into one commit.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
};

use hornero_model::{Event, EventBody, NewEvent};
use rusqlite::{Connection, TransactionBehavior, params};

use crate::{
    Head, Keys, LedgerError, MAX_BATCH_EVENTS,
    chain::{Domain, event_hash},
    end,
    head::HeadFile,
    schema,
};

/// The head file is synced this often, in events: bounds what a cut-off after a power loss could hide.
const SYNC_HEAD_EVERY: u64 = 256;

/// An event with its body as JSON.
pub(crate) struct Prepared {
    pub(crate) event: NewEvent,
    pub(crate) json: String,
}

/// One append and where its answer goes.
pub(crate) struct Request {
    pub(crate) events: Vec<Prepared>,
    pub(crate) answer: SyncSender<Result<Vec<Event>, LedgerError>>,
}

/// The state of the writing thread.
pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) connection: Connection,
    pub(crate) keys: Arc<Keys>,
    pub(crate) file: HeadFile,
    pub(crate) head: Head,
    pub(crate) synced: u64,
    /// Whether the file is known to be of this version's format; that never goes back.
    pub(crate) is_raised: bool,
}

impl Writer {
    /// Serves appends until the last sender is gone, then closes the head file durably.
    pub(crate) fn run(mut self, requests: &Receiver<Request>) {
        let mut held = None;
        while let Some(first) = held.take().or_else(|| requests.recv().ok()) {
            let mut group = vec![first];
            let mut size = group[0].events.len();
            while let Ok(next) = requests.try_recv() {
                if size + next.events.len() > MAX_BATCH_EVENTS {
                    held = Some(next);
                    break;
                }
                size += next.events.len();
                group.push(next);
            }
            self.serve(group);
        }
        // Nobody is left to tell; the next open finds an older head in the file, which is allowed.
        let _ = self.file.sync();
    }

    fn serve(&mut self, group: Vec<Request>) {
        let (batches, answers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|request| (request.events, request.answer)).unzip();
        // Who asked may be gone; the events stand all the same.
        match self.commit(batches) {
            Ok(results) => {
                for (answer, events) in answers.into_iter().zip(results) {
                    let _ = answer.send(Ok(events));
                }
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    fn commit(&mut self, batches: Vec<Vec<Prepared>>) -> Result<Vec<Vec<Event>>, LedgerError> {
        let path = self.path.clone();
        let storage = |source| schema::failed(&path, source);
        let last = self.head.sequence + batches.iter().map(|batch| batch.len() as u64).sum::<u64>();
        let may_be_older =
            !self.is_raised && schema::is_older(&self.connection).map_err(storage)?;
        if may_be_older {
            // Before the first event that an older version can't read: a power cut may lose later writes of the file, and
            // a head of format 1 beside newer events looks like one that was forged.
            self.file.write(self.head, &self.keys)?;
            self.file.sync()?;
        }
        let mut head = self.head;
        let mut seal = None;
        let mut results = Vec::with_capacity(batches.len());
        // A transaction that is dropped before its commit is rolled back.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(storage)?;
        let found = end::last_head(&self.path, &transaction)?;
        if found != self.head {
            let (found, expected) = (found.sequence, self.head.sequence);
            return Err(LedgerError::TakenOver { path: self.path.clone(), found, expected });
        }
        if may_be_older {
            schema::raise_format(&transaction).map_err(storage)?;
        }
        for batch in batches {
            let mut events = Vec::with_capacity(batch.len());
            for prepared in batch {
                let (event, json) = chain_onto(&mut head, prepared);
                if event.sequence == last {
                    seal = Some(self.keys.sign_event(Domain::Seal, last, &event.hash));
                }
                insert(&transaction, &event, &json, seal.as_ref()).map_err(storage)?;
                events.push(event);
            }
            results.push(events);
        }
        if let Err(source) = transaction.commit() {
            // A failed commit may or may not have reached the disk: what the database says now is what holds.
            self.head = end::last_head(&self.path, &self.connection)?;
            return Err(storage(source));
        }
        (self.head, self.is_raised) = (head, true);
        // Durable from here on: a head file that can't be written must not turn an append into a failure.
        if self.file.write(head, &self.keys).is_ok()
            && head.sequence >= self.synced + SYNC_HEAD_EVERY
            && self.file.sync().is_ok()
        {
            self.synced = head.sequence;
        }
        Ok(results)
    }
}

fn chain_onto(head: &mut Head, prepared: Prepared) -> (Event, String) {
    let Prepared { event: NewEvent { time, by, body }, json } = prepared;
    let sequence = head.sequence + 1;
    let previous = head.hash;
    let hash = event_hash(&previous, sequence, time, &by, &json);
    *head = Head { sequence, hash };
    (Event { sequence, time, by, body, previous, hash }, json)
}

fn insert(
    connection: &Connection,
    event: &Event,
    json: &str,
    seal: Option<&[u8; 64]>,
) -> rusqlite::Result<()> {
    let columns = crate::read::COLUMNS;
    connection
        .prepare_cached(&format!(
            "INSERT INTO events ({columns}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
        ))?
        .execute(params![
            event.sequence,
            event.time.0,
            event.by.who,
            event.by.why,
            event.by.commit,
            json,
            event.previous.as_bytes(),
            event.hash.as_bytes(),
            seal.map(<[u8; 64]>::as_slice),
        ])
        .map(|_| ())
}

/// The body of an event as it is stored and hashed.
pub(crate) fn body_json(body: &EventBody) -> Result<String, LedgerError> {
    serde_json::to_string(body).map_err(|error| LedgerError::Unwritable(error.to_string()))
}
