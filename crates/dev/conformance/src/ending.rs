//! Checks of stopping and removing, and of starts that must fail.

use std::time::{Duration, Instant};

use hornero_engine_port::EngineError;
use hornero_model::{ExitCause, StopSignal};

use crate::subject::{
    DEADLINE, Script, Subject, TERM, fresh_id, is_listed, refusal, wait_for_exit, wait_for_line,
};

/// Stopping ends by the stop signal, and stopping again tells the same cause, also after removal.
pub fn stop_is_idempotent(subject: &dyn Subject) {
    let engine = subject.open();
    let id = fresh_id();
    assert!(matches!(engine.stop(TERM, &id, DEADLINE), Err(EngineError::NotFound { .. })));
    engine.start(TERM, &subject.spec(id.clone(), &Script::Sleep)).expect("start");
    assert_eq!(engine.stop(TERM, &id, DEADLINE).expect("stop"), ExitCause::Signal(15));
    assert_eq!(engine.stop(TERM, &id, DEADLINE).expect("stop again"), ExitCause::Signal(15));
    engine.remove(TERM, &id).expect("remove");
    assert_eq!(engine.stop(TERM, &id, DEADLINE).expect("stop once more"), ExitCause::Signal(15));
}

/// Stopping sends the signal that the specification names.
pub fn stop_sends_the_declared_signal(subject: &dyn Subject) {
    let engine = subject.open();
    for (signal, number) in [
        (StopSignal::Interrupt, 2),
        (StopSignal::Quit, 3),
        (StopSignal::Hangup, 1),
        (StopSignal::User1, 10),
        (StopSignal::User2, 12),
    ] {
        let id = fresh_id();
        let mut spec = subject.spec(id.clone(), &Script::Sleep);
        spec.stop_signal = Some(signal);
        engine.start(TERM, &spec).expect("start");
        let cause = engine.stop(TERM, &id, DEADLINE).expect("stop");
        assert_eq!(cause, ExitCause::Signal(number), "{signal:?}");
        engine.remove(TERM, &id).expect("remove");
    }
}

/// After the grace time everything is killed.
pub fn stop_kills_what_ignores_its_signal(subject: &dyn Subject) {
    let engine = subject.open();
    let id = fresh_id();
    engine.start(TERM, &subject.spec(id.clone(), &Script::IgnoreStop)).expect("start");
    wait_for_line(&*engine, &id, "ready");
    let grace = Duration::from_millis(200);
    let begun = Instant::now();
    assert_eq!(engine.stop(TERM, &id, grace).expect("stop"), ExitCause::Signal(9));
    assert!(begun.elapsed() >= grace, "killed before its time");
    engine.remove(TERM, &id).expect("remove");
    subject.assert_nothing_left(&id);
}

/// Removing ends what runs, leaves nothing but record and logs, and may be repeated.
pub fn removal_is_idempotent(subject: &dyn Subject) {
    let engine = subject.open();
    let id = fresh_id();
    engine.remove(TERM, &id).expect("what never was is removed");
    engine.start(TERM, &subject.spec(id.clone(), &Script::IgnoreStop)).expect("start");
    wait_for_line(&*engine, &id, "ready");
    engine.remove(TERM, &id).expect("remove");
    engine.remove(TERM, &id).expect("remove again");
    assert!(!is_listed(&*engine, &id));
    subject.assert_nothing_left(&id);
    wait_for_line(&*engine, &id, "ready");
}

/// Specifications that can't be right fail with an error, not a panic, and leave nothing.
pub fn bad_input_is_refused(subject: &dyn Subject) {
    let engine = subject.open();
    let spoil: [fn(&mut hornero_engine_port::InstanceSpec); 8] = [
        |spec| spec.command.clear(),
        |spec| spec.command = vec!["nul\0byte".to_owned()],
        |spec| spec.workdir = "../up".to_owned(),
        |spec| spec.workdir = "/no/such/directory".to_owned(),
        |spec| spec.hostname = "two\nlines".to_owned(),
        |spec| spec.env = [("a=b".to_owned(), "c".to_owned())].into(),
        |spec| spec.user.uid = u32::MAX,
        |spec| spec.resources.memory_bytes = 0,
    ];
    for (index, spoil) in spoil.into_iter().enumerate() {
        let id = fresh_id();
        let mut spec = subject.spec(id.clone(), &Script::Sleep);
        spoil(&mut spec);
        let error = refusal(&*engine, &spec);
        assert!(
            matches!(error, EngineError::Invalid { .. } | EngineError::NotStarted { .. }),
            "case {index}: {error}"
        );
        engine.remove(TERM, &id).expect("remove");
        subject.assert_nothing_left(&id);
    }
}

/// A command that can't be executed fails its start, naming the command; the cause is kept.
pub fn failed_start_names_its_step(subject: &dyn Subject) {
    let engine = subject.open();
    let id = fresh_id();
    let spec = subject.spec(id.clone(), &Script::Missing);
    let name = spec.command[0].clone();
    match refusal(&*engine, &spec) {
        EngineError::NotStarted { reason, .. } => {
            assert!(reason.contains(&format!("execute `{name}`")), "{reason}");
        }
        error => panic!("{error}"),
    }
    match wait_for_exit(&*engine, &id) {
        ExitCause::NotStarted(reason) => assert!(reason.contains(&name), "{reason}"),
        cause => panic!("{cause}"),
    }
    engine.remove(TERM, &id).expect("remove");
    subject.assert_nothing_left(&id);
}
