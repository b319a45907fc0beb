//! Every way to touch a ledger is noticed, and the first event touched is named.

mod support;

use std::{fs, sync::Arc};

use hornero_ledger::{
    AuditVerdict, Ledger as _, LedgerError, ReadOnlyLedger, SqliteLedger, event_hash,
};
use hornero_model::{Event, EventBody, Receipt, ReleaseNumber};
use proptest::prelude::*;
use support::{Home, event, receipt_body};

/// Tampers with a ledger of six events and expects the verdict to name `sequence` with a reason like `reason`.
#[track_caller]
fn check(sql: &str, sequence: u64, reason: &str) {
    let home = Home::with_events(6);
    home.tamper(sql);
    let verdict = home.audit();
    let AuditVerdict::Touched { sequence: found, reason: why } = &verdict else {
        panic!("{sql}: not noticed");
    };
    assert!(*found == sequence && why.contains(reason), "{sql}: {verdict:?}");
}

#[test]
fn every_column_is_covered() {
    check("UPDATE events SET time_ms = time_ms + 1 WHERE sequence = 3", 3, "was changed");
    check("UPDATE events SET who = 'mallory' WHERE sequence = 3", 3, "was changed");
    check("UPDATE events SET why = '' WHERE sequence = 3", 3, "was changed");
    check("UPDATE events SET commit_id = NULL WHERE sequence = 3", 3, "was changed");
    check(
        "UPDATE events SET body = replace(body, 'start', 'halt') WHERE sequence = 3",
        3,
        "was changed",
    );
    check("UPDATE events SET previous = zeroblob(32) WHERE sequence = 3", 3, "previous hash");
    check("UPDATE events SET hash = zeroblob(32) WHERE sequence = 3", 3, "was changed");
    check("UPDATE events SET hash = x'00' WHERE sequence = 3", 3, "no valid hash");
    check("UPDATE events SET seal = zeroblob(64) WHERE sequence = 3", 3, "seal");
    check("UPDATE events SET seal = NULL WHERE sequence = 6", 6, "seal");
    check("UPDATE events SET time_ms = -1 WHERE sequence = 3", 3, "no valid time");
    check("UPDATE events SET sequence = 9 WHERE sequence = 6", 6, "is missing");
}

#[test]
fn missing_moved_and_cut_off_events_are_named() {
    check("DELETE FROM events WHERE sequence = 1", 1, "is missing");
    check("DELETE FROM events WHERE sequence = 4", 4, "is missing");
    check("DELETE FROM events WHERE sequence > 4", 5, "cut off");
    check("DELETE FROM events", 1, "cut off");
    let swap = "UPDATE events SET sequence = -1 WHERE sequence = 2;
        UPDATE events SET sequence = 2 WHERE sequence = 3;
        UPDATE events SET sequence = 3 WHERE sequence = -1;";
    check(swap, 2, "previous hash");
    let add = "INSERT INTO events SELECT 7, time_ms, who, why, commit_id, body, hash, hash, seal
        FROM events WHERE sequence = 6;";
    check(add, 7, "was changed");
}

#[test]
fn a_missing_or_changed_head_file_is_noticed() {
    for change in [None, Some("1 00000000000000000001 nonsense\n"), Some("")] {
        let home = Home::with_events(6);
        match change {
            None => fs::remove_file(home.head_path()).unwrap(),
            Some(text) => fs::write(home.head_path(), text).unwrap(),
        }
        assert!(matches!(home.audit(), AuditVerdict::Touched { sequence: 7, .. }), "{change:?}");
        let opened = SqliteLedger::open(&home.path(), Arc::new(home.keys()));
        // A file that is gone or empty has its own name and its own way back; what is in its place is somebody's doing.
        match change {
            None | Some("") => {
                assert!(matches!(opened, Err(LedgerError::HeadMissing { sequence: 6, .. })))
            }
            Some(_) => assert!(matches!(opened, Err(LedgerError::Touched { .. })), "{change:?}"),
        }
    }
}

/// Everything needed stands in the database: an event's number, hash and seal.
#[test]
fn a_head_made_of_an_event_after_the_end_was_cut_is_noticed() {
    let home = Home::with_events(6);
    let connection = rusqlite::Connection::open(home.path()).unwrap();
    let (hash, seal): (String, String) = connection
        .query_row(
            "SELECT lower(hex(hash)), lower(hex(seal)) FROM events WHERE sequence = 4",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    home.tamper("DELETE FROM events WHERE sequence > 4");
    for mark in [1, 2] {
        fs::write(home.head_path(), format!("{mark} {:020} {hash} {seal}\n", 4)).unwrap();
        assert!(
            matches!(home.audit(), AuditVerdict::Touched { sequence: 5, .. }),
            "{:?}",
            home.audit()
        );
        let opened = SqliteLedger::open(&home.path(), Arc::new(home.keys()));
        assert!(matches!(opened, Err(LedgerError::Touched { .. })));
    }
}

#[test]
fn tables_that_show_or_allow_something_else_are_noticed() {
    for (sql, reason) in [
        (
            "ALTER TABLE events RENAME TO kept; CREATE VIEW events AS SELECT * FROM kept WHERE sequence < 4;",
            "the table events is missing",
        ),
        (
            "CREATE TRIGGER quiet AFTER INSERT ON events BEGIN SELECT 1; END;",
            "trigger quiet is not the ledger's",
        ),
        ("DROP TRIGGER events_never_go;", "trigger events_never_go is missing"),
        ("CREATE TABLE notes (a);", "table notes is not the ledger's"),
    ] {
        let home = Home::with_events(6);
        let connection = rusqlite::Connection::open(home.path()).unwrap();
        connection.execute_batch(sql).unwrap();
        drop(connection);
        let verdict = home.audit();
        let AuditVerdict::Touched { reason: found, .. } = &verdict else {
            panic!("{sql}: not noticed")
        };
        assert!(found.contains(reason), "{sql}: {found}");
        let opened = SqliteLedger::open(&home.path(), Arc::new(home.keys()));
        assert!(matches!(opened, Err(LedgerError::Touched { .. })), "{sql}");
    }
}

/// Rewrites the chain from event 3 on, hashes and all, as someone without the key would.
#[test]
fn a_rewritten_chain_is_noticed_at_its_first_event() {
    let home = Home::with_events(6);
    let events = home.open().read(1, 10).unwrap();
    let mut previous = events[1].hash;
    let mut sql = String::new();
    for event in &events[2..] {
        let mut by = event.by.clone();
        by.who = "mallory".to_owned();
        let body = serde_json::to_string(&event.body).unwrap();
        let hash = event_hash(&previous, event.sequence, event.time, &by, &body);
        sql += &format!(
            "UPDATE events SET who = 'mallory', previous = x'{}', hash = x'{}' WHERE sequence = {};",
            previous.hex(),
            hash.hex(),
            event.sequence
        );
        previous = hash;
    }
    home.tamper(&sql);
    let AuditVerdict::Touched { sequence: 3, reason } = home.audit() else {
        panic!("{:?}", home.audit());
    };
    assert!(reason.contains("rewritten"), "{reason}");
    let opened = SqliteLedger::open(&home.path(), Arc::new(home.keys()));
    // Its end carries a seal of other bytes, as one of another key would be.
    assert!(matches!(opened, Err(LedgerError::OtherKey { sequence: 6, .. })));
}

#[test]
fn a_key_that_was_replaced_is_noticed() {
    let home = Home::with_events(2);
    let other = Home::new().public();
    let ledger = ReadOnlyLedger::open(&home.path(), other).unwrap();
    assert!(matches!(ledger.verify().unwrap(), AuditVerdict::Touched { sequence: 1, .. }));
}

#[test]
fn a_receipt_that_this_home_did_not_sign_is_noticed() {
    let home = Home::with_events(1);
    let mut receipt = home.keys().sign_receipt(receipt_body(1)).unwrap();
    let append = |receipt: &Receipt| -> Vec<Event> {
        let mut new = event(2);
        new.body = EventBody::Switched { receipt: Box::new(receipt.clone()) };
        home.open().append(vec![new]).unwrap()
    };
    append(&receipt);
    assert!(matches!(home.audit(), AuditVerdict::Intact { head } if head.sequence == 2));
    receipt.body.to = ReleaseNumber(9);
    append(&receipt);
    assert!(
        matches!(home.audit(), AuditVerdict::Touched { sequence: 3, reason } if reason.contains("receipt"))
    );
}

#[test]
fn a_newer_format_is_refused_and_another_database_too() {
    let home = Home::with_events(1);
    home.tamper("PRAGMA user_version = 3;");
    let error = SqliteLedger::open(&home.path(), Arc::new(home.keys())).err().unwrap();
    assert!(matches!(error, LedgerError::NewerFormat { found: 3, known: 2, .. }), "{error}");

    let home = Home::new();
    rusqlite::Connection::open(home.path()).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let error = SqliteLedger::open(&home.path(), Arc::new(home.keys())).err().unwrap();
    assert!(matches!(error, LedgerError::NotALedger { .. }), "{error}");
}

#[test]
fn an_unknown_kind_is_told_from_a_broken_event() {
    let home = Home::with_events(1);
    home.tamper(
        r#"UPDATE events SET body = '{"kind":"moon_landed","where":"sea"}' WHERE sequence = 1"#,
    );
    let ledger = ReadOnlyLedger::open(&home.path(), home.public()).unwrap();
    let error = ledger.read(1, 1).unwrap_err();
    assert!(
        matches!(&error, LedgerError::UnknownKind { sequence: 1, kind } if kind == "moon_landed"),
        "{error}"
    );
    drop(ledger);
    home.tamper(r#"UPDATE events SET body = '{"kind":"release_proven"}'"#);
    let ledger = ReadOnlyLedger::open(&home.path(), home.public()).unwrap();
    assert!(matches!(ledger.read(1, 1), Err(LedgerError::Unreadable { sequence: 1, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is done to the bytes of the file, opening, reading and verifying end with an answer.
    #[test]
    fn corrupt_files_give_errors(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let home = Home::with_events(12);
        // Everything into the main file, so that the changes below hit it.
        rusqlite::Connection::open(home.path()).unwrap()
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        let mut bytes = fs::read(home.path()).unwrap();
        let original = bytes.clone();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(original.len()));
        }
        fs::write(home.path(), &bytes).unwrap();
        if let Ok(ledger) = ReadOnlyLedger::open(&home.path(), home.public()) {
            let read = ledger.read(1, 100);
            let _ = ledger.head();
            // What verifies is what was appended.
            if let Ok(AuditVerdict::Intact { head }) = ledger.verify() {
                prop_assert_eq!(head.sequence, 12);
                let events = read.unwrap();
                for (number, stored) in (1..).zip(&events) {
                    prop_assert_eq!(&stored.body, &event(number).body);
                }
            }
        }
        let _ = SqliteLedger::open(&home.path(), Arc::new(home.keys()));
    }
}
