//! Checks of what outlives a process: logs, exits, and the instances themselves.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use hornero_engine_port::{
    Exit, InstanceStatus,
    log::{LogFilter, LogFrom, LogQuery, LogStream},
};
use hornero_model::{ExitCause, InstanceId};

use crate::subject::{DEADLINE, Script, Subject, TERM, fresh_id, wait_for_exit};

/// Everything a command writes is in its log, from the first byte, by stream, and can be followed by cursor.
pub fn logs_begin_with_the_first_byte(subject: &dyn Subject) {
    let engine = subject.open();
    let id = fresh_id();
    engine.start(TERM, &subject.spec(id.clone(), &Script::WriteAndExit(0))).expect("start");
    wait_for_exit(&*engine, &id);
    let page = |from, lines| engine.logs(&id, &LogQuery::all(from, lines)).expect("logs");
    let all = page(LogFrom::Start, 100);
    let lines: Vec<_> = all.lines.iter().map(|line| (line.stream, line.text.as_str())).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.contains(&(LogStream::Stdout, "first")), "{lines:?}");
    assert!(lines.contains(&(LogStream::Stderr, "second")), "{lines:?}");
    assert!(all.finished);
    let one = page(LogFrom::Start, 1);
    assert_eq!(one.lines, all.lines[..1]);
    assert_eq!(page(LogFrom::Cursor(one.next), 100).lines, all.lines[1..]);
    assert_eq!(page(LogFrom::Tail, 1).lines, all.lines[1..]);
    let since = Some(hornero_model::Timestamp(all.lines[1].time.0 + 1));
    let filter = LogFilter { since, ..LogFilter::default() };
    let none = engine.logs(&id, &LogQuery { from: LogFrom::Start, lines: 100, filter });
    assert_eq!(none.expect("logs").lines, []);
    engine.remove(TERM, &id).expect("remove");
    assert_eq!(page(LogFrom::Start, 100).lines, all.lines, "logs outlive their instance");
}

fn next(exits: &Receiver<Exit>, id: &InstanceId) -> ExitCause {
    loop {
        let exit = exits.recv_timeout(DEADLINE).expect("an exit in time");
        if exit.id == *id {
            return exit.cause;
        }
    }
}

fn no_more(exits: &Receiver<Exit>, id: &InstanceId) {
    loop {
        match exits.recv_timeout(Duration::from_millis(200)) {
            Ok(exit) => assert_ne!(exit.id, *id, "told twice"),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Each exit comes once over an engine's channels, also one that happened while no engine was open.
pub fn exits_are_told_once(subject: &dyn Subject) {
    let engine = subject.open();
    let exits = engine.exits();
    let id = fresh_id();
    engine.start(TERM, &subject.spec(id.clone(), &Script::WriteAndExit(3))).expect("start");
    assert_eq!(next(&exits, &id), ExitCause::Code(3));
    no_more(&exits, &id);
    drop(exits);
    no_more(&engine.exits(), &id);

    let late = fresh_id();
    let started = engine.start(TERM, &subject.spec(late.clone(), &Script::Sleep)).expect("start");
    drop(engine);
    subject.kill(&started.handle);
    let engine = subject.open();
    let exits = engine.exits();
    assert_eq!(next(&exits, &late), ExitCause::Signal(9));
    no_more(&exits, &late);
    for id in [id, late] {
        engine.remove(TERM, &id).expect("remove");
        subject.assert_nothing_left(&id);
    }
}

/// What runs goes on without its engine, and the next engine finds it, can stop it, and has its log.
pub fn instances_outlive_their_engine(subject: &dyn Subject) {
    let engine = subject.open();
    let id = fresh_id();
    let spec = subject.spec(id.clone(), &Script::Sleep);
    let started = engine.start(TERM, &spec).expect("start");
    drop(engine);
    let engine = subject.open();
    let listed = engine.list().expect("list");
    let instance = listed.iter().find(|instance| instance.id == id).expect("listed");
    assert_eq!(instance.status, InstanceStatus::Running(started.clone()));
    assert_eq!(engine.start(TERM, &spec).expect("start again"), started);
    assert_eq!(engine.stop(TERM, &id, DEADLINE).expect("stop"), ExitCause::Signal(15));
    engine.remove(TERM, &id).expect("remove");
    subject.assert_nothing_left(&id);
    drop(engine);
    let engine = subject.open();
    assert!(!engine.list().expect("list").iter().any(|instance| instance.id == id));
}
