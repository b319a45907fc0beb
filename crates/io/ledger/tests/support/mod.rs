//! Ledgers in temporary directories, for every test of this crate.
#![allow(dead_code, missing_docs, reason = "each test file uses its part of this")]

use std::{path::PathBuf, sync::Arc};

use hornero_ledger::{AuditVerdict, Keys, Ledger as _, ReadOnlyLedger, SqliteLedger, VerifyingKey};
use hornero_model::{
    Actor, Digest, EventBody, NewEvent, ReceiptBody, ReleaseNumber, RolloutId, ServiceName,
    Timestamp,
};

/// A home with a key and, once written to, a ledger.
pub struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A home whose ledger holds `count` events, appended one by one.
    pub fn with_events(count: u64) -> Self {
        let home = Self::new();
        let ledger = home.open();
        for number in 1..=count {
            ledger.append(vec![event(number)]).expect("append");
        }
        home
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("ledger.db")
    }

    pub fn head_path(&self) -> PathBuf {
        self.directory.path().join("ledger.head")
    }

    pub fn keys(&self) -> Keys {
        Keys::open_or_create(&self.directory.path().join("keys")).expect("keys")
    }

    pub fn public(&self) -> VerifyingKey {
        self.keys().public()
    }

    pub fn open(&self) -> SqliteLedger {
        SqliteLedger::open(&self.path(), Arc::new(self.keys())).expect("open the ledger")
    }

    pub fn audit(&self) -> AuditVerdict {
        ReadOnlyLedger::open(&self.path(), self.public()).expect("open").verify().expect("verify")
    }

    /// Runs SQL as someone with root rights and SQLite would: the triggers out of the way first, and back after it.
    pub fn tamper(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.path()).expect("open");
        let triggers: Vec<String> = connection
            .prepare("SELECT sql FROM sqlite_schema WHERE type = 'trigger'")
            .and_then(|mut found| found.query_map([], |row| row.get(0))?.collect())
            .expect("the triggers");
        let free = "DROP TRIGGER events_never_change; DROP TRIGGER events_never_go;";
        let again = triggers.join("; ");
        connection.execute_batch(&format!("{free} {sql}; {again};")).expect(sql);
    }
}

pub fn event(number: u64) -> NewEvent {
    let body = EventBody::ControlStarted {
        version: "0.1.0".to_owned(),
        detail: format!("start number {number}"),
        boot: None,
        term: None,
    };
    let by =
        Actor { who: "root".into(), why: format!("reason {number}"), commit: Some("c0".into()) };
    NewEvent { time: Timestamp(1_000 + number), by, body }
}

pub fn receipt_body(id: u64) -> ReceiptBody {
    ReceiptBody {
        id: RolloutId(id),
        service: ServiceName::new("site").expect("a name"),
        from: Some(ReleaseNumber(1)),
        to: ReleaseNumber(2),
        from_image: None,
        to_image: Digest::of(b"image"),
        generation: 7,
        switched: Timestamp(1_700_000_000_123),
        edges: None,
        skew_ms: None,
        switch_ms: 0.1 + 0.2,
        total_ms: 0.123_456_789_123_456_7 * 1e4,
        drained: 3,
        cut_off: 0,
        requests_failed: 0,
        warm: false,
        canary: Vec::new(),
        interventions: Vec::new(),
        held: None,
        unavailable_ms: None,
        snapshot: None,
        batched: None,
        taken_back: None,
        by: Actor { who: "root".into(), why: "a new page".into(), commit: None },
    }
}
