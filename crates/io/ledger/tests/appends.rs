//! What was acknowledged is there: after a reopen, beside readers, after `kill -9`.

mod support;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hornero_ledger::{
    AuditVerdict, Head, Keys, Ledger as _, LedgerError, MAX_BATCH_EVENTS, MAX_BODY_BYTES,
    ReadOnlyLedger, SqliteLedger, genesis,
};
use hornero_model::EventBody;
use support::{Home, event};

#[test]
fn events_come_back_as_they_were_appended_and_chained() {
    let home = Home::new();
    let appended = {
        let ledger = home.open();
        assert_eq!(ledger.head().unwrap(), Head { sequence: 0, hash: genesis() });
        let mut appended = ledger.append(vec![event(1)]).unwrap();
        appended.extend(ledger.append(vec![event(2), event(3)]).unwrap());
        appended
    };
    let ledger = home.open();
    assert_eq!(ledger.read(1, 100).unwrap(), appended);
    assert_eq!(ledger.read(2, 1).unwrap(), appended[1..2]);
    assert_eq!(ledger.read(4, 100).unwrap(), []);
    assert_eq!(ledger.read(u64::MAX, 100).unwrap(), []);
    for (index, pair) in appended.windows(2).enumerate() {
        assert_eq!(pair[1].previous, pair[0].hash, "{index}");
    }
    assert_eq!(appended.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    let head = Head { sequence: 3, hash: appended[2].hash };
    assert_eq!(ledger.head().unwrap(), head);
    assert_eq!(ledger.verify().unwrap(), AuditVerdict::Intact { head });
    assert_eq!(ledger.append(vec![]).unwrap(), []);
}

#[test]
fn a_batch_over_a_limit_leaves_nothing() {
    let home = Home::with_events(1);
    let ledger = home.open();
    let mut large = event(3);
    large.body = EventBody::ControlStarted {
        version: String::new(),
        detail: "x".repeat(MAX_BODY_BYTES),
        boot: None,
        term: None,
    };
    let mut long_who = event(3);
    long_who.by.who = "x".repeat(10_000);
    let mut late = event(3);
    late.time.0 = u64::MAX;
    for bad in [vec![event(2), large], vec![event(2), long_who]] {
        assert!(matches!(ledger.append(bad), Err(LedgerError::TooLarge { .. })));
    }
    let many = (0..=MAX_BATCH_EVENTS as u64).map(event).collect();
    assert!(matches!(ledger.append(many), Err(LedgerError::TooLarge { .. })));
    // Only the database notices this one, in the middle of its transaction.
    assert!(matches!(ledger.append(vec![event(2), late]), Err(LedgerError::Storage { .. })));
    assert_eq!(ledger.head().unwrap().sequence, 1);
    ledger.append(vec![event(2)]).unwrap();
    assert!(matches!(home.audit(), AuditVerdict::Intact { head } if head.sequence == 2));
}

#[test]
fn the_database_itself_refuses_changes() {
    let home = Home::with_events(2);
    let connection = rusqlite::Connection::open(home.path()).unwrap();
    for sql in ["UPDATE events SET who = 'x'", "DELETE FROM events WHERE sequence = 2"] {
        let error = connection.execute(sql, []).unwrap_err().to_string();
        assert!(error.contains("the ledger is append-only"), "{error}");
    }
}

#[test]
fn one_writer_at_a_time() {
    let home = Home::new();
    let first = home.open();
    let second = SqliteLedger::open(&home.path(), Arc::new(home.keys()));
    assert!(matches!(second, Err(LedgerError::InUse { .. })));
    drop(first);
    home.open();
}

/// A writer that stopped, and whose locks were taken away: what it appends later would tear the chain.
#[test]
fn a_writer_that_was_taken_over_from_appends_nothing() {
    let home = Home::with_events(2);
    let older = home.open();
    let moved = home.head_path().with_extension("moved");
    std::fs::copy(home.head_path(), &moved).unwrap();
    std::fs::rename(&moved, home.head_path()).unwrap();
    let newer = home.open();
    newer.append(vec![event(3)]).expect("append");
    let refused = older.append(vec![event(4)]).unwrap_err();
    assert!(matches!(refused, LedgerError::TakenOver { found: 3, expected: 2, .. }), "{refused}");
    newer.append(vec![event(5)]).expect("append");
    assert!(older.append(vec![event(6)]).is_err());
    drop((older, newer));
    assert!(matches!(home.audit(), AuditVerdict::Intact { head } if head.sequence == 4));
}

/// How often this process has a file open.
fn open_count(path: &std::path::Path) -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    files.filter(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == path)).count()
}

#[test]
fn a_lock_that_a_forked_child_still_holds_for_a_moment_is_waited_for() {
    let home = Home::new();
    drop(home.open());
    // The same open file in another hand, as in a child between its fork and its own program.
    let held = std::fs::File::open(home.head_path()).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    thread::scope(|scope| {
        let opening = scope.spawn(|| home.open());
        // Held until the other has the file open, too, and so is about to find it locked.
        let deadline = Instant::now() + Duration::from_secs(60);
        while open_count(&home.head_path()) < 2 {
            assert!(Instant::now() < deadline, "the other never opened it");
            thread::yield_now();
        }
        drop(held);
        drop(opening.join().unwrap());
    });
}

#[test]
fn concurrent_appends_and_readers_see_whole_batches_in_one_order() {
    let home = Home::new();
    let ledger = home.open();
    let (writers, batches) = (4_u64, 20_u64);
    thread::scope(|scope| {
        for writer in 0..writers {
            let ledger = &ledger;
            scope.spawn(move || {
                for batch in 0..batches {
                    let number = writer * 1_000 + batch * 2;
                    let events = ledger.append(vec![event(number), event(number + 1)]).unwrap();
                    assert_eq!(events[1].sequence, events[0].sequence + 1);
                    assert!(ledger.head().unwrap().sequence >= events[1].sequence);
                }
            });
        }
        let auditor = ReadOnlyLedger::open(&home.path(), home.public()).unwrap();
        scope.spawn(move || {
            let total = writers * batches * 2;
            // Ends when the writers have: each append is durable once they return.
            let deadline = Instant::now() + Duration::from_secs(60);
            while auditor.head().unwrap().sequence < total {
                assert!(Instant::now() < deadline, "the writers never got there");
                let events = auditor.read(1, 10_000).unwrap();
                assert_eq!(events.len() % 2, 0, "half a batch was visible");
                assert!(matches!(auditor.verify().unwrap(), AuditVerdict::Intact { .. }));
            }
        });
    });
    assert_eq!(ledger.read(1, 10_000).unwrap().len() as u64, writers * batches * 2);
    assert!(matches!(home.audit(), AuditVerdict::Intact { .. }));
}

const CHILD: &str = "HORNERO_TEST_APPEND_TO";

/// Run as a child of [`kill_9_loses_nothing_acknowledged`]: appends without end and says what was acknowledged.
#[test]
fn child_that_appends() {
    let Some(directory) = std::env::var_os(CHILD) else {
        return;
    };
    let directory = std::path::Path::new(&directory);
    let keys = Arc::new(Keys::open_or_create(&directory.join("keys")).unwrap());
    let ledger = SqliteLedger::open(&directory.join("ledger.db"), keys).unwrap();
    for number in 0.. {
        let events = ledger.append(vec![event(number), event(number)]).unwrap();
        println!("acknowledged {} {}", events[1].sequence, events[1].hash);
    }
}

#[test]
fn kill_9_loses_nothing_acknowledged() {
    let home = Home::new();
    home.keys();
    for round in 1..=5_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends", "--nocapture"])
            .env(CHILD, home.path().parent().unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = usize::try_from(round * 7).unwrap();
        let acknowledged = |line: &String| line.contains("acknowledged ").then(|| line.clone());
        let mut seen: Vec<String> = lines
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| acknowledged(&line))
            .take(wanted)
            .collect();
        child.kill().unwrap();
        child.wait().unwrap();
        // The last line may have been cut short.
        seen.extend(lines.map_while(Result::ok).filter(|line| line.len() > 80));
        assert!(seen.len() >= wanted, "the child ended early");

        let ledger = home.open();
        let verdict = ledger.verify().unwrap();
        assert!(matches!(verdict, AuditVerdict::Intact { .. }), "{verdict:?}");
        for line in seen {
            let mut words = line.split_whitespace().rev();
            let (hash, sequence) = (words.next().unwrap(), words.next().unwrap());
            let event = &ledger.read(sequence.parse().unwrap(), 1).unwrap()[0];
            assert_eq!(event.hash.to_string(), hash, "event {sequence} after round {round}");
        }
    }
}
